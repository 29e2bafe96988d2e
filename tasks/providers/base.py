"""What every provider is: a model's request in, normalised pieces of its answer out.

A provider turns one call to one upstream into pieces. It retries nothing, prices nothing and knows no generation:
those who call it do. Whatever goes wrong comes out as a kind of `models.errors.ProviderFailure`, which carries
`retry_after_seconds` and `should_retry` (see `tasks/providers/failures.py`).
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from models.event import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn; `role` is system, user, assistant or tool.

    An assistant's turn may have `tool_calls`, as `{"id", "type": "function", "function": {"name", "arguments"}}` with the
    arguments as JSON text; a tool's turn is the result of the call `tool_call_id`.
    """

    role: str
    content: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRequest:
    """What is asked of a model. What is None is left to the provider's own default.

    `tools` and `response_format` are in OpenAI's shapes, `{"type": "function", "function": {…}}` and
    `{"type": "json_schema", "json_schema": {"name", "schema"}}`; an adapter of another API translates them, or refuses
    what it can't.
    """

    model: str
    messages: tuple[Message, ...]
    max_output_tokens: int | None = None
    temperature: float | None = None
    tools: tuple[dict[str, Any], ...] = ()
    response_format: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A piece of the answer: never empty, and safe to store (see `models.event.storable`)."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningPiece:
    """A piece of the model's reasoning: never empty, and safe to store."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallPiece:
    """A piece of the tool call number `index`; `arguments` is partial JSON, safe to store, perhaps empty."""

    index: int
    id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class UsagePiece:
    """The tokens of this call so far: cumulative, so the last one counts."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class FinishPiece:
    """The answer is complete: `reason` is stop, length, tool_calls, content_filter or refusal.

    It is the last piece of a stream, and each stream that ends without an exception has exactly one.
    """

    reason: str


Piece = TextPiece | ReasoningPiece | ToolCallPiece | UsagePiece | FinishPiece


class Provider(Protocol):
    """One upstream, or an imitation of one. It belongs to the event loop that first streams from it."""

    name: str

    def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """One call. `aclose()` of the generator, or cancelling its reader, closes the upstream's socket at once.

        A reader that may stop early must close it (`contextlib.aclosing`). Raises a kind of ProviderFailure.
        """
        ...

    async def aclose(self) -> None:
        """Closes what is kept open between calls; no stream may be running."""
        ...
