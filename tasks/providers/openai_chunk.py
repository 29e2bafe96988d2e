"""One `chat.completion.chunk` of OpenAI's Chat Completions, and of the many servers that imitate it, as pieces.

https://platform.openai.com/docs/api-reference/chat-streaming. Unknown fields are ignored, null stands for absent.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from models.errors import ProviderProtocolBroken
from models.event import Usage, storable
from tasks.providers.base import FinishPiece, Piece, ReasoningPiece, TextPiece, ToolCallPiece, UsagePiece
from tasks.providers.event_json import EventJson, token_count
from tasks.providers.failures import failure, from_error_event
from tasks.providers.text_joiner import TextJoiner

#: Tool calls in one answer; each costs memory here.
MAX_TOOL_CALLS = 128


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | list[Any] | None = None  # a list with Mistral: parts of text and of thinking
    reasoning_content: str | None = None
    reasoning: Any = None  # a string with some servers, an object with others
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None
    usage: Any = None  # with Moonshot


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    x_groq: Any = None  # holds the usage with Groq
    error: Any = None


_chunks = EventJson(_Chunk)

_FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "refusal",
    "function_call": "tool_calls",
    "max_tokens": "length",
    "model_length": "length",
}
"""What is said in our words; any other reason (eos, end_turn, …) is a stop."""


class ChunkReader:
    """Reads the chunks of one answer; keeps what spans them: half emoji, a refusal, the finish reason."""

    def __init__(self) -> None:
        self.finished = False
        """Whether a finish reason was seen."""
        self.skipped = 0
        """Chunks that had none of what is known here."""
        self._reason = "stop"
        self._refused = False
        self._text = TextJoiner()
        self._reasoning = TextJoiner()
        self._arguments: dict[int, TextJoiner] = {}

    def read(self, data: str) -> Iterator[Piece]:
        """The pieces in one event's data. Raises ProviderProtocolBroken, and what an error object in it means."""
        chunk = _chunks.read(data)
        if chunk.error:
            raise from_error_event(chunk.error)
        usage = _usage_in(chunk)
        if not chunk.choices and not usage:
            self.skipped += 1
        for choice in chunk.choices or ():
            if not choice.index:  # one answer was asked for: it is number 0
                yield from self._choice(choice)
        if usage:
            yield UsagePiece(_usage(usage))

    def end(self) -> Iterator[Piece]:
        """The last pieces, once the stream has ended as it should."""
        if reasoning := self._reasoning.end():
            yield ReasoningPiece(reasoning)
        if text := self._text.end():
            yield TextPiece(text)
        for index, joiner in self._arguments.items():
            if arguments := joiner.end():
                yield ToolCallPiece(index, None, None, arguments)
        yield FinishPiece("refusal" if self._refused else self._reason)

    def _choice(self, choice: _Choice) -> Iterator[Piece]:
        delta = choice.delta
        if delta is not None:
            raw = delta.reasoning_content or delta.reasoning
            if isinstance(raw, str):
                yield from self._think(raw)
            content = delta.content
            if isinstance(content, list):
                for part in content:
                    yield from self._part(part)
            elif content and (text := self._text.push(content)):  # here and not in _say: it is the hot path
                yield TextPiece(text)
            if delta.refusal:
                self._refused = True
                yield from self._say(delta.refusal)
            for number, call in enumerate(delta.tool_calls or ()):
                yield self._tool_call(number, call)
        if choice.finish_reason == "error":  # as OpenRouter ends an answer that its own upstream broke off
            raise from_error_event("error")
        if choice.finish_reason:
            self.finished = True
            self._reason = _FINISH_REASONS.get(choice.finish_reason, "stop")

    def _say(self, raw: str) -> Iterator[Piece]:
        if raw and (text := self._text.push(raw)):
            yield TextPiece(text)

    def _think(self, raw: str) -> Iterator[Piece]:
        if raw and (reasoning := self._reasoning.push(raw)):
            yield ReasoningPiece(reasoning)

    def _part(self, part: object) -> Iterator[Piece]:
        """A part of a content that is a list. What is neither text nor thinking, such as a reference, says nothing here."""
        if isinstance(part, str):
            yield from self._say(part)
        elif isinstance(part, dict) and part.get("type") == "text":
            yield from self._say(_text(part.get("text")))
        elif isinstance(part, dict) and part.get("type") == "thinking":
            yield from self._think(_text(part.get("thinking")))

    def _tool_call(self, number: int, call: _ToolCall) -> ToolCallPiece:
        index = number if call.index is None else call.index
        if not 0 <= index < MAX_TOOL_CALLS:
            raise failure(ProviderProtocolBroken, f"The provider sent a tool call of number {MAX_TOOL_CALLS} or above")
        function = call.function or _Function()
        joiner = self._arguments.setdefault(index, TextJoiner())
        return ToolCallPiece(index, _storable(call.id), _storable(function.name), joiner.push(function.arguments or ""))


def _text(value: object) -> str:
    """A text, or those of a list of parts, joined."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _usage_in(chunk: _Chunk) -> dict[str, Any] | None:
    """The chunk's usage, wherever the server puts it."""
    if isinstance(chunk.usage, dict):
        return chunk.usage
    if isinstance(chunk.x_groq, dict) and isinstance(chunk.x_groq.get("usage"), dict):
        return dict(chunk.x_groq["usage"])
    for choice in chunk.choices or ():
        if isinstance(choice.usage, dict):
            return choice.usage
    return None


def _storable(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _usage(usage: dict[str, Any]) -> Usage:
    """Some servers leave reasoning tokens out of `completion_tokens`, but none leaves them out of `total_tokens`."""
    prompt = token_count(usage, "prompt_tokens")
    cached = token_count(usage.get("prompt_tokens_details"), "cached_tokens")
    return Usage(
        input=prompt,
        cached=min(cached or token_count(usage, "prompt_cache_hit_tokens"), prompt),  # the latter with DeepSeek
        output=max(token_count(usage, "completion_tokens"), token_count(usage, "total_tokens") - prompt),
        reasoning=token_count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )
