"""An imitation of OpenAI's Chat Completions, exact in its wire format, that misbehaves as it is told.

    with FakeOpenAI() as fake:
        fake.script(refused(429, "rate_limit_exceeded", {"retry-after": "1"}), Answer(fault="reset", at=3), Answer())
        ...  # three calls to fake.url
        assert fake.words("the prompt")[:3] == [...]

Its answers are numbered tokens of the prompt's hash, so that what a viewer sees can be compared to the byte.
"""

import asyncio
import hashlib
import itertools
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.fakes.http_server import Exchange, FakeServer

Fault = Literal["", "reset", "close", "end", "hang", "hold", "error", "malformed", "unknown", "line", "endless"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one call is answered.

    `fault` comes after `at` tokens; at -1 it comes instead of the response's head, and at `tokens` + 1, 2, 3 after the
    finish reason, the usage, [DONE]. It is a `reset` by TCP, the connection's `close` in the middle of the HTTP body, the
    body's `end` without a finish marker, a `hang` until the caller leaves, a `hold` until `release`, an `error` object in a
    chunk, `malformed` JSON, a `line` of 10 MB, an `endless` repetition of its last text, or an `unknown` event after which it
    goes on.
    """

    tokens: int = 20
    texts: tuple[str, ...] | None = None
    """Contents of the chunks, instead of numbered tokens; lone surrogates are escaped."""
    chunks: tuple[Mapping[str, Any], ...] = ()
    """Whole chunks that come after the texts."""
    delay_seconds: float = 0.0
    fault: Fault = ""
    at: int = 0
    error: Any = field(default_factory=lambda: {"message": "secret prompt", "type": "server_error", "code": None})
    """What stands under `error`, in the fault `error` and where the status is not 200."""
    finish_reason: str | None = "stop"
    usage: Mapping[str, Any] | None = None
    """Instead of the tokens' count; sent only to who asks for it, as OpenAI does."""
    done: bool = True
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """The whole body, instead of all of that."""
    raw: bytes = b""
    """Bytes that go out before anything else, a response's head for instance, where `at` is -1."""
    bytes_a_write: int = 0
    """Cuts the body into chunks of so many bytes; 0 leaves one chunk an event."""
    seconds_a_write: float = 0.0
    chunked: bool = True


def refused(status: int, code: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """An error in OpenAI's shape."""
    error = {"message": "secret prompt", "type": "invalid_request_error", "param": None, "code": code}
    return Answer(status=status, error=error, headers=headers or {})


def html(status: int = 200) -> Answer:
    """A proxy's page instead of a stream."""
    return Answer(status=status, headers={"content-type": "text/html"}, body=b"<html><h1>secret prompt</h1></html>")


def redirect(to: str) -> Answer:
    """A redirect to another address."""
    return Answer(status=307, headers={"location": to}, body=b"")


class FakeOpenAI(FakeServer):
    """The server. Calls are answered by what is scripted for their prompt, by the script, then by `usually`.

    `seen` and `headers_seen` are what they sent.
    """

    def __init__(self, usually: Answer | None = None) -> None:
        self.usually = usually or Answer()
        self.seen: list[dict[str, Any]] = []
        self.headers_seen: list[dict[str, str]] = []
        self._script: deque[Answer] = deque()
        self._scripts: dict[str, deque[Answer]] = {}
        self._released = asyncio.Event()
        super().__init__()

    @property
    def url(self) -> str:
        """The base address, with /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, *answers: Answer) -> None:
        """The answers to the next calls, in their order."""
        self._script.extend(answers)

    def script_for(self, prompt: str, *answers: Answer) -> None:
        """The answers to the next calls with this prompt, whatever is asked beside them."""
        self._scripts[prompt] = deque(answers)

    def release(self) -> None:
        """Lets every call that a `hold` holds go on, and later holds too."""
        self.in_thread(self._released.set)

    @staticmethod
    def words(prompt: str, tokens: int = 20) -> list[str]:
        """The tokens of the answer to `prompt`."""
        mark = hashlib.sha256(prompt.encode()).hexdigest()[:6]
        return [f"{mark}·{number:04d} " for number in range(tokens)]

    async def answer(self, exchange: Exchange) -> None:
        if exchange.path == "/v1/models":
            model = {"id": "gpt-4o-mini", "object": "model", "created": 1, "owned_by": "fake"}
            await exchange.json(200, {"object": "list", "data": [model]})
        elif exchange.path != "/v1/chat/completions":
            await exchange.json(404, {"error": {"message": "no such address", "type": "invalid_request_error"}})
        else:
            self.seen.append(exchange.body)
            self.headers_seen.append(exchange.headers)
            self.count(calls=1)
            script = self._scripts.get(_prompt(exchange.body)) or self._script
            await self._chat(exchange, script.popleft() if script else self.usually)

    async def _chat(self, exchange: Exchange, answer: Answer) -> None:
        if answer.at == -1:
            await exchange.write(answer.raw)
            if await self._broken(exchange, answer):
                return
        if answer.status != 200 and answer.body is None:
            await exchange.json(answer.status, {"error": answer.error}, answer.headers)
        elif answer.body is None and not exchange.body.get("stream"):
            await exchange.json(200, _whole(exchange.body, self.words(_prompt(exchange.body), answer.tokens)))
        else:
            headers = {"content-type": "text/event-stream; charset=utf-8"} | dict(answer.headers)
            await exchange.start(answer.status, headers, chunked=answer.chunked)
            await self._stream(exchange, answer)

    async def _stream(self, exchange: Exchange, answer: Answer) -> None:
        if answer.body is not None:
            await _send(exchange, answer, answer.body)
            await exchange.end()
            return
        texts = self.words(_prompt(exchange.body), answer.tokens) if answer.texts is None else answer.texts
        await _send(exchange, answer, _event(_chunk(exchange.body, {"role": "assistant", "content": ""})))
        for number, data in enumerate([*_events(exchange.body, answer, texts), None]):
            if number == answer.at and answer.fault in ("line", "endless"):
                await _flood(exchange, answer, texts)
            if number == answer.at and await self._broken(exchange, answer):
                return
            if data is None:
                await exchange.end()
            else:
                await _send(exchange, answer, data)
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
                await exchange.send(_event({"error": answer.error}))
                await exchange.end()
            case "malformed":
                await exchange.send(b'data: {"choices": [{"delta": {"content": "secret pro\n\n')
                await exchange.end()
            case "unknown":
                await exchange.send(b'event: surprise\ndata: {"object": "surprise"}\n\n')
                return False
            case _:
                return False
        return True


async def _flood(exchange: Exchange, answer: Answer, texts: Sequence[str]) -> None:
    """More than anybody wants: a line of 10 MB, or the last text again and again until the caller leaves."""
    if answer.fault == "line":
        await exchange.send(b'data: {"choices": "')
    piece = b"x" * 65536 if answer.fault == "line" else _event(_chunk(exchange.body, {"content": texts[-1]}))
    for _ in range(160) if answer.fault == "line" else itertools.count():
        await exchange.send(piece)
        await asyncio.sleep(0)


def _prompt(body: Mapping[str, Any]) -> str:
    content = next((turn["content"] for turn in reversed(body["messages"]) if turn["role"] == "user"), "")
    return content if isinstance(content, str) else json.dumps(content)


def _chunk(body: Mapping[str, Any], delta: Mapping[str, Any] | None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} | more]
    found = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body.get("model")}
    usage = {"usage": None} if (body.get("stream_options") or {}).get("include_usage") else {}
    return found | {"system_fingerprint": "fp_1", "choices": choices} | usage


def _events(body: Mapping[str, Any], answer: Answer, texts: Sequence[str]) -> Iterator[bytes]:
    for text in texts:
        yield _event(_chunk(body, {"content": text}))
    for chunk in answer.chunks:
        yield _event(chunk)
    if answer.finish_reason:
        yield _event(_chunk(body, {}, finish_reason=answer.finish_reason))
    chunk = _chunk(body, None)
    if "usage" in chunk:
        yield _event(chunk | {"usage": answer.usage or _usage(len(texts))})
    if answer.done:
        yield b"data: [DONE]\n\n"


def _usage(tokens: int) -> dict[str, Any]:
    return {"prompt_tokens": 11, "completion_tokens": tokens, "total_tokens": 11 + tokens}


def _whole(body: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "".join(texts)}, "finish_reason": "stop"}
    found = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body.get("model")}
    return found | {"choices": [choice], "usage": _usage(len(texts))}


def _event(chunk: Mapping[str, Any]) -> bytes:
    text = json.dumps(chunk, ensure_ascii=False)
    try:
        return b"data: " + text.encode() + b"\n\n"
    except UnicodeEncodeError:
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"


async def _send(exchange: Exchange, answer: Answer, data: bytes) -> None:
    size = answer.bytes_a_write or len(data)
    for start in range(0, len(data), size or 1):
        await exchange.send(data[start : start + size])
        if answer.seconds_a_write:
            await asyncio.sleep(answer.seconds_a_write)
