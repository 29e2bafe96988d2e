"""What is told of a generation: to whoever polls it, and wherever else it is listed."""

from typing import Any

import msgspec

from models.errors import is_retryable
from models.generation import Generation, Status


class Links(msgspec.Struct, frozen=True, rename={"own": "self"}):
    """Where a generation can be polled, watched, cancelled and rated."""

    own: str
    events: str
    cancel: str
    feedback: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The answer so far, or whole."""

    text: str
    finish_reason: str | None
    model: str
    provider: str


class Tokens(msgspec.Struct, frozen=True, kw_only=True, rename={"input": "in", "output": "out"}):
    """What was read and written, null until it is known."""

    input: int | None
    output: int | None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a generation ended as `error`, and whether the same request may succeed when it is sent anew."""

    code: str | None
    message: str | None
    retryable: bool


class ChatState(msgspec.Struct, frozen=True, kw_only=True):
    """What a poller sees. `result` is null until the first text, `tokens` until they are known.

    `last_event_id`: the event that the text reaches, from which a stream can go on (`?after=`); null before the first text.
    `cached`: the answer is that of an earlier, equal request.
    """

    id: str
    status: Status
    result: Result | None
    tokens: Tokens
    error: Failure | None
    last_event_id: str | None
    cached: bool
    links: Links


def links_of(generation_id: str) -> Links:
    """Relative, and without a ticket."""
    path = f"/ai/v1/chat/{generation_id}"
    return Links(own=path, events=f"{path}/events", cancel=f"{path}/cancel", feedback=f"{path}/feedback")


def state_of(row: Generation) -> ChatState:
    """The row as its visitor may see it."""
    return ChatState(**fields_of(row))


def fields_of(row: Generation) -> dict[str, Any]:
    """The fields of a `ChatState`, for whatever has more."""
    usage = row.usage
    result = Result(text=row.text, finish_reason=row.finish_reason, model=row.model, provider=row.provider)
    failure = Failure(code=row.error_code, message=row.error_message, retryable=is_retryable(row.error_code))
    has_result = row.text or row.status in (Status.DONE, Status.INCOMPLETE, Status.CANCELLED)
    return {
        "id": row.id,
        "status": Status(row.status),
        "result": result if has_result else None,
        "tokens": Tokens(input=usage.input if usage else None, output=usage.output if usage else None),
        "error": failure if row.status == Status.ERROR else None,
        "last_event_id": row.terminal_id or row.checkpoint_id,
        "cached": row.cached,
        "links": links_of(row.id),
    }
