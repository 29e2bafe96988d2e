"""An imitation of OpenAI's Chat Completions, exact in its wire format, that misbehaves as it is told.

with FakeOpenAI() as fake:
    fake.script(refused(429, "rate_limit_exceeded", {"retry-after": "1"}), Answer(fault="reset", at=3), Answer())
    ...  # three calls to fake.url
    assert fake.words("the prompt")[:3] == [...]
"""

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.http_server import Exchange
from tests.fakes.scripted_server import ScriptedAnswer, ScriptedServer, event, prompt_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(ScriptedAnswer):
    """How one call is answered. Beyond the tokens, `at` + 1, 2, 3 is after the finish reason, the usage, [DONE]."""

    chunks: tuple[Mapping[str, Any], ...] = ()
    """Whole chunks that come after the texts."""
    error: Any = field(default_factory=lambda: {"message": "secret prompt", "type": "server_error", "code": None})
    finish_reason: str | None = "stop"
    usage: Mapping[str, Any] | None = None
    """Instead of the tokens' count; sent only to who asks for it, as OpenAI does."""
    done: bool = True


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


class FakeOpenAI(ScriptedServer[Answer]):
    """The server."""

    MALFORMED = b'data: {"choices": [{"delta": {"content": "secret pro\n\n'
    UNKNOWN = b'event: surprise\ndata: {"object": "surprise"}\n\n'

    def __init__(self, usually: Answer | None = None) -> None:
        super().__init__(usually or Answer())

    @property
    def url(self) -> str:
        """The base address, with /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def answer(self, exchange: Exchange) -> None:
        if exchange.path == "/v1/models":
            model = {"id": "gpt-4o-mini", "object": "model", "created": 1, "owned_by": "fake"}
            await exchange.json(200, {"object": "list", "data": [model]})
        elif exchange.path != "/v1/chat/completions":
            await exchange.json(404, {"error": {"message": "no such address", "type": "invalid_request_error"}})
        else:
            self.take(exchange)
            await self.follow_script(exchange)

    def refusal(self, answer: Answer) -> object:
        return {"error": answer.error}

    def opening(self, body: Mapping[str, Any], answer: Answer) -> Iterator[bytes]:
        yield event(_chunk(body, {"role": "assistant", "content": ""}))

    def events(self, body: Mapping[str, Any], answer: Answer, texts: Sequence[str]) -> Iterator[bytes]:
        for text in texts:
            yield event(_chunk(body, {"content": text}))
        for chunk in answer.chunks:
            yield event(chunk)
        if answer.finish_reason:
            yield event(_chunk(body, {}, finish_reason=answer.finish_reason))
        chunk = _chunk(body, None)
        if "usage" in chunk:
            yield event(chunk | {"usage": answer.usage or _usage(len(texts))})
        if answer.done:
            yield b"data: [DONE]\n\n"

    def error(self, answer: Answer) -> bytes:
        return event({"error": answer.error})

    async def flood(self, exchange: Exchange, answer: Answer, texts: Sequence[str]) -> None:
        """A line of 10 MB, or the last text again and again until the caller leaves."""
        if answer.fault not in ("line", "endless"):
            return
        if answer.fault == "line":
            await exchange.send(b'data: {"choices": "')
        piece = b"x" * 65536 if answer.fault == "line" else event(_chunk(exchange.body, {"content": texts[-1]}))
        for _ in range(160) if answer.fault == "line" else itertools.count():
            await exchange.send(piece)
            await asyncio.sleep(0)

    def whole(self, body: Mapping[str, Any], answer: Answer) -> object:
        texts = self.words(prompt_of(body), answer.tokens)
        choice = {"index": 0, "message": {"role": "assistant", "content": "".join(texts)}, "finish_reason": "stop"}
        found = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body.get("model")}
        return found | {"choices": [choice], "usage": _usage(len(texts))}


def _chunk(body: Mapping[str, Any], delta: Mapping[str, Any] | None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} | more]
    found = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body.get("model")}
    usage = {"usage": None} if (body.get("stream_options") or {}).get("include_usage") else {}
    return found | {"system_fingerprint": "fp_1", "choices": choices} | usage


def _usage(tokens: int) -> dict[str, Any]:
    return {"prompt_tokens": 11, "completion_tokens": tokens, "total_tokens": 11 + tokens}
