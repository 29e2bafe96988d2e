"""An imitation of Anthropic's Messages API, exact in its wire format, that misbehaves as it is told.

    with FakeAnthropic() as fake:
        fake.script(refused(529, "overloaded_error"), Answer(fault="error", at=3), Answer())
        ...  # three calls to fake.url
        assert fake.words("the prompt")[:3] == [...]

Its answers are numbered tokens of the prompt's hash, as those of `openai_server` are.
"""

import asyncio
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.fakes.http_server import Exchange, FakeServer
from tests.fakes.openai_server import FakeOpenAI

Fault = Literal["", "reset", "close", "end", "hang", "hold", "error", "malformed", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one call is answered.

    `fault` comes after `at` tokens; at -1 it comes instead of the response's head, and at `tokens` + 1, 2, 3 after
    `content_block_stop`, `message_delta`, `message_stop`. What each is stands at `openai_server.Answer`; an `error` is an
    `event: error`.
    """

    tokens: int = 20
    texts: tuple[str, ...] | None = None
    """Texts of the deltas, instead of numbered tokens; lone surrogates are escaped."""
    events: tuple[Mapping[str, Any], ...] = ()
    """Whole events that come after the first block; each has its `type`."""
    delay_seconds: float = 0.0
    fault: Fault = ""
    at: int = 0
    error: Any = field(default_factory=lambda: {"type": "overloaded_error", "message": "secret prompt"})
    """What stands under `error`, in the fault `error` and where the status is not 200."""
    stop_reason: str | None = "end_turn"
    usage: Mapping[str, Any] | None = None
    """That of `message_delta`, instead of the tokens' count."""
    input_usage: Mapping[str, Any] = field(default_factory=lambda: {"input_tokens": 11, "output_tokens": 1})
    """That of `message_start`, with its placeholder for the output."""
    stop: bool = True
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """The whole body, instead of all of that."""
    raw: bytes = b""
    """Bytes that go out before anything else, a response's head for instance, where `at` is -1."""
    bytes_a_write: int = 0
    """Cuts the body into chunks of so many bytes; 0 leaves one chunk an event."""
    chunked: bool = True


def refused(status: int, kind: str = "api_error", headers: Mapping[str, str] | None = None) -> Answer:
    """An error in Anthropic's shape."""
    return Answer(status=status, error={"type": kind, "message": "secret prompt"}, headers=headers or {})


class FakeAnthropic(FakeServer):
    """The server. Calls are answered by the script, then by `usually`; `seen` and `headers_seen` are what they sent."""

    def __init__(self, usually: Answer | None = None) -> None:
        self.usually = usually or Answer()
        self.seen: list[dict[str, Any]] = []
        self.headers_seen: list[dict[str, str]] = []
        self._script: deque[Answer] = deque()
        self._released = asyncio.Event()
        super().__init__()

    @property
    def url(self) -> str:
        """The base address, without /v1."""
        return f"http://127.0.0.1:{self.port}"

    def script(self, *answers: Answer) -> None:
        """The answers to the next calls, in their order."""
        self._script.extend(answers)

    def release(self) -> None:
        """Lets every call that a `hold` holds go on, and later holds too."""
        self.in_thread(self._released.set)

    words = staticmethod(FakeOpenAI.words)

    async def answer(self, exchange: Exchange) -> None:
        if exchange.path != "/v1/messages":
            await exchange.json(404, _error("not_found_error", "no such address"))
            return
        self.seen.append(exchange.body)
        self.headers_seen.append(exchange.headers)
        self.count(calls=1)
        fault = _request_fault(exchange)
        if fault:
            await exchange.json(400, _error("invalid_request_error", fault))
        else:
            await self._message(exchange, self._script.popleft() if self._script else self.usually)

    async def _message(self, exchange: Exchange, answer: Answer) -> None:
        if answer.at == -1:
            await exchange.write(answer.raw)
            if await self._broken(exchange, answer):
                return
        if answer.status != 200 and answer.body is None:
            content = {"type": "error", "error": answer.error, "request_id": "req_1"}
            await exchange.json(answer.status, content, {"request-id": "req_1"} | dict(answer.headers))
        else:
            headers = {"content-type": "text/event-stream; charset=utf-8", "request-id": "req_1"} | dict(answer.headers)
            await exchange.start(answer.status, headers, chunked=answer.chunked)
            await self._stream(exchange, answer)

    async def _stream(self, exchange: Exchange, answer: Answer) -> None:
        if answer.body is not None:
            await _send(exchange, answer, answer.body)
            await exchange.end()
            return
        texts = self.words(_prompt(exchange.body), answer.tokens) if answer.texts is None else answer.texts
        for first in _opening(exchange.body, answer):
            await _send(exchange, answer, _encoded(first))
        script: list[Mapping[str, Any] | None] = [*_events(answer, texts), None]
        for number, event in enumerate(script):
            if number == answer.at and await self._broken(exchange, answer):
                return
            if event is None:
                await exchange.end()
            else:
                await _send(exchange, answer, _encoded(event))
                await asyncio.sleep(answer.delay_seconds)

    async def _broken(self, exchange: Exchange, answer: Answer) -> bool:
        """Does what the fault says; whether the answer is over with that."""
        match answer.fault:
            case "reset":
                exchange.reset()
            case "close":
                exchange.close()
            case "end":
                await exchange.end()
            case "hang":
                await asyncio.Event().wait()
            case "hold":
                await self._released.wait()
                return False
            case "error":
                await exchange.send(_encoded({"type": "error", "error": answer.error, "request_id": "req_1"}))
                await exchange.end()
            case "malformed":
                await exchange.send(
                    b'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"tex\n\n'
                )
                await exchange.end()
            case "unknown":
                await exchange.send(_encoded({"type": "surprise", "x": 1}))
                return False
            case "":
                return False
        return True


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


def _prompt(body: Mapping[str, Any]) -> str:
    content = next((turn["content"] for turn in reversed(body["messages"]) if turn["role"] == "user"), "")
    return content if isinstance(content, str) else json.dumps(content)


def _opening(body: Mapping[str, Any], answer: Answer) -> Iterator[dict[str, Any]]:
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": [],
    }
    message |= {"stop_reason": None, "stop_sequence": None, "usage": dict(answer.input_usage)}
    yield {"type": "message_start", "message": message}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield {"type": "ping"}


def _events(answer: Answer, texts: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    for text in texts:
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    yield {"type": "content_block_stop", "index": 0}
    yield from answer.events
    if answer.stop_reason:
        delta = {"stop_reason": answer.stop_reason, "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": answer.usage or {"output_tokens": len(texts)}}
    if answer.stop:
        yield {"type": "message_stop"}


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def _encoded(event: Mapping[str, Any]) -> bytes:
    head = f"event: {event['type']}\ndata: ".encode()
    try:
        return head + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"
    except UnicodeEncodeError:
        return head + json.dumps(event).encode() + b"\n\n"


async def _send(exchange: Exchange, answer: Answer, data: bytes) -> None:
    size = answer.bytes_a_write or len(data)
    for start in range(0, len(data), size or 1):
        await exchange.send(data[start : start + size])
