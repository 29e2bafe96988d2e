"""What a server asks for with `/v1/chat`, as its row keeps it: messages and parameters, as JSON in one column."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(min_length=1, max_length=256)]


class CalledFunction(msgspec.Struct, frozen=True, kw_only=True):
    """What a model wants called; `arguments` is JSON text."""

    name: Name
    arguments: str


class DirectToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a model made, as an answer's `tool_calls` has it."""

    id: Name
    type: Literal["function"] = "function"
    function: CalledFunction


class DirectMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn. Only an assistant's with `tool_calls` may be without `content`; a tool's names its call."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: list[DirectToolCall] | None = None
    tool_call_id: str | None = None


class ToolFunction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`parameters` is the JSON Schema of its arguments."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """What a model may call."""

    type: Literal["function"]
    function: ToolFunction


class JsonSchema(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The JSON Schema of the answer."""

    name: Name
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the answer is written; `json_schema` goes with the type of that name."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class DirectRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of it. `metadata` is the caller's own: it is kept with the row, and no model sees it."""

    messages: list[DirectMessage]
    system: str | None = None
    temperature: float | None = None
    max_output_tokens: int | None = None
    tools: list[Tool] | None = None
    response_format: ResponseFormat | None = None
    metadata: dict[str, Any] | None = None


def encode(request: DirectRequest) -> str:
    """What the column holds."""
    return msgspec.json.encode(request).decode()


def decode(stored: str) -> DirectRequest:
    """What was stored."""
    return msgspec.json.decode(stored, type=DirectRequest)
