"""What a server is told of a generation that it began with `/v1/chat`."""

import msgspec

from models.errors import AnswerFailed, InternalFailure, generation_failures
from models.event import Usage
from models.generation import Generation, Status


class DirectLinks(msgspec.Struct, frozen=True, rename={"own": "self"}):
    """Where a generation can be polled, watched and cancelled, with the API key."""

    own: str
    events: str
    cancel: str


class DirectState(msgspec.Struct, frozen=True, kw_only=True):
    """A generation that has not ended, or whose cancelling was asked for."""

    id: str
    status: Status
    links: DirectLinks


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """What the model wants called; `arguments` is JSON text, as the model wrote it."""

    name: str
    arguments: str


class AnswerToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the model wants made, in the form in which it goes back in `messages`."""

    id: str
    type: str = "function"
    function: Function


class DirectUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens. `prompt_tokens` includes `cached_tokens`, `completion_tokens` `reasoning_tokens`; from the cache all are 0."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int
    reasoning_tokens: int


class DirectAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `finish_reason` is `interrupted`, `limit` or `cancelled` where `text` is not all of it.

    `cached`: it is that of an earlier, equal request. `latency_ms`: from the POST to the end. `cost_usd`: null where it is
    not known.
    """

    id: str
    text: str
    tool_calls: list[AnswerToolCall]
    finish_reason: str
    usage: DirectUsage
    provider: str
    model: str
    cost_usd: float | None
    cached: bool
    latency_ms: int


def links_of(generation_id: str) -> DirectLinks:
    path = f"/v1/chat/{generation_id}"
    return DirectLinks(own=path, events=f"{path}/events", cancel=f"{path}/cancel")


def state_of(row: Generation) -> DirectState:
    return DirectState(id=row.id, status=Status(row.status), links=links_of(row.id))


def answer_of(row: Generation) -> DirectAnswer:
    """What an ended generation came to. Raises AnswerFailed where it ended in an error."""
    if row.status == Status.ERROR:
        raise failure_of(row)
    finished = row.finished_at or row.created_at
    return DirectAnswer(
        id=row.id,
        text=row.text,
        tool_calls=[AnswerToolCall(id=each.get("id") or "", function=_function(each)) for each in row.tool_call_list],
        finish_reason=row.finish_reason or "stop",
        usage=_usage(row.usage or Usage()),
        provider=row.provider,
        model=row.model,
        cost_usd=None if row.cost_micros is None else row.cost_micros / 1_000_000,
        cached=row.cached,
        latency_ms=max(0, round((finished - row.created_at) * 1000)),
    )


def failure_of(row: Generation) -> AnswerFailed:
    """Why it ended, with its id and links."""
    kind = generation_failures().get(row.error_code or "", InternalFailure)
    return AnswerFailed(kind(row.error_message or ""), id=row.id, links=links_of(row.id))


def _function(call: dict[str, object]) -> Function:
    return Function(name=str(call.get("name") or ""), arguments=str(call.get("arguments") or ""))


def _usage(usage: Usage) -> DirectUsage:
    return DirectUsage(
        prompt_tokens=usage.input,
        completion_tokens=usage.output,
        total_tokens=usage.input + usage.output,
        cached_tokens=usage.cached,
        reasoning_tokens=usage.reasoning,
    )
