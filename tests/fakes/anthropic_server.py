"""An imitation of Anthropic's Messages API, exact in its wire format, that misbehaves as it is told.

with FakeAnthropic() as fake:
    fake.script(refused(529, "overloaded_error"), Answer(fault="error", at=3), Answer())
    ...  # three calls to fake.url
    assert fake.words("the prompt")[:3] == [...]
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import scripted_server
from tests.fakes.http_server import Exchange
from tests.fakes.scripted_server import ScriptedAnswer, ScriptedServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(ScriptedAnswer):
    """How one call is answered.

    Beyond the tokens, `at` + 1, 2, 3 is after `content_block_stop`, `message_delta`, `message_stop`. An `error` is an
    `event: error`.
    """

    events: tuple[Mapping[str, Any], ...] = ()
    """Whole events that come after the first block; each has its `type`."""
    error: Any = field(default_factory=lambda: {"type": "overloaded_error", "message": "secret prompt"})
    stop_reason: str | None = "end_turn"
    usage: Mapping[str, Any] | None = None
    """That of `message_delta`, instead of the tokens' count."""
    input_usage: Mapping[str, Any] = field(default_factory=lambda: {"input_tokens": 11, "output_tokens": 1})
    """That of `message_start`, with its placeholder for the output."""
    stop: bool = True


def refused(status: int, kind: str = "api_error", headers: Mapping[str, str] | None = None) -> Answer:
    """An error in Anthropic's shape."""
    return Answer(status=status, error={"type": kind, "message": "secret prompt"}, headers=headers or {})


def _event(data: Mapping[str, Any]) -> bytes:
    return scripted_server.event(data, f"event: {data['type']}\n")


class FakeAnthropic(ScriptedServer[Answer]):
    """The server."""

    HEADERS = {"request-id": "req_1"}
    MALFORMED = b'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"tex\n\n'
    UNKNOWN = _event({"type": "surprise", "x": 1})

    def __init__(self, usually: Answer | None = None) -> None:
        super().__init__(usually or Answer())

    @property
    def url(self) -> str:
        """The base address, without /v1."""
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, exchange: Exchange) -> None:
        if exchange.path != "/v1/messages":
            await exchange.json(404, _error({"type": "not_found_error", "message": "no such address"}))
            return
        self.take(exchange)
        fault = _request_fault(exchange)
        if fault:
            await exchange.json(400, _error({"type": "invalid_request_error", "message": fault}))
        else:
            await self.follow_script(exchange)

    def refusal(self, answer: Answer) -> object:
        return _error(answer.error)

    def opening(self, body: Mapping[str, Any], answer: Answer) -> Iterator[bytes]:
        message: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body.get("model"),
            "content": [],
        }
        message |= {"stop_reason": None, "stop_sequence": None, "usage": dict(answer.input_usage)}
        yield _event({"type": "message_start", "message": message})
        yield _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        yield _event({"type": "ping"})

    def events(self, body: Mapping[str, Any], answer: Answer, texts: Sequence[str]) -> Iterator[bytes]:
        for text in texts:
            yield _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
        yield _event({"type": "content_block_stop", "index": 0})
        for each in answer.events:
            yield _event(each)
        if answer.stop_reason:
            delta = {"stop_reason": answer.stop_reason, "stop_sequence": None}
            usage = answer.usage or {"output_tokens": len(texts)}
            yield _event({"type": "message_delta", "delta": delta, "usage": usage})
        if answer.stop:
            yield _event({"type": "message_stop"})

    def error(self, answer: Answer) -> bytes:
        return _event(_error(answer.error))


def _request_fault(exchange: Exchange) -> str:
    """What the API would refuse in a request; empty where nothing is wrong."""
    body = exchange.body
    if exchange.headers.get("anthropic-version") != "2023-06-01":
        return "anthropic-version: header is required"
    if not isinstance(body.get("max_tokens"), int):
        return "max_tokens: Field required"
    if any(turn.get("role") not in ("user", "assistant") for turn in body["messages"]):
        return "messages: Unexpected role"
    if any(not turn["content"] for turn in body["messages"]):
        return "messages: all messages must have non-empty content"
    return "" if body.get("stream") is True else "stream: this imitation streams only"


def _error(error: Any) -> dict[str, Any]:
    return {"type": "error", "error": error, "request_id": "req_1"}
