"""A service on a loopback port that says what a test tells it to: what no real one does on demand."""

import asyncio
import contextlib
import json
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.fakes.closing import close_server
from tests.streamer.eventually import eventually

STATIC = Path(__file__).parents[2] / "static"

POLICY = "default-src 'self'; script-src 'self'; style-src 'self'"

PAGE = """<!doctype html><html lang="en"><title>A site</title><script type="module" src="/static/widget.js"></script>
<ai-chat token-url="/token"></ai-chat></html>"""

#: The same, with the conversations of before.
HISTORY_PAGE = PAGE.replace("<ai-chat ", "<ai-chat history ")


def links(id: str) -> dict[str, str]:
    path = f"/ai/v1/chat/{id}"
    return {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel", "feedback": f"{path}/feedback"}


LINKS = links("g1")

CONVERSATIONS = "/ai/v1/conversations"


@dataclass
class Reply:
    """An answer in its parts: an event among them holds back what comes after it, one in `when` everything.

    With status 0 the connection is closed without an answer.
    """

    parts: tuple[str | asyncio.Event, ...] = ()
    status: int = 200
    content_type: str = "application/json"
    when: asyncio.Event | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cursor(self) -> str | None:
        """What an event stream is to begin after."""
        return self.headers.get("last-event-id", self.query.get("after"))


def answer(body: Mapping[str, Any], status: int = 200, when: asyncio.Event | None = None) -> Reply:
    return Reply((json.dumps(body),), status, when=when)


def refusal(status: int, code: str, message: str = "No.", **more: Any) -> Reply:
    return answer({"error": code, "message": message, "request_id": "r1", **more}, status)


def accepted(when: asyncio.Event | None = None, id: str = "g1", conversation: str = "c1") -> Reply:
    body = {"id": id, "status": "queued", "conversation_id": conversation, "links": links(id), "ticket": "ticket-1"}
    return answer(body, 202, when)


def allowance(reply: Reply, remaining: int, *, reset_seconds: int = 120) -> Reply:
    """`reply` with what it says of the visitor's requests."""
    reply.headers = {
        "RateLimit-Limit": "30",
        "RateLimit-Remaining": str(remaining),
        "RateLimit-Reset": str(reset_seconds),
        "RateLimit-Policy": "30;w=300",
    }
    return reply


def struck(limit: str, retry_after: int) -> Reply:
    """The answer to a POST that a limit refuses."""
    message = f"Too much at once. Try again in {retry_after} s."
    refused = refusal(429, "rate_limited", message, limit=limit, retry_after=retry_after)
    return allowance(refused, 0, reset_seconds=retry_after)


def told(status: str, text: str = "", error: Mapping[str, Any] | None = None, id: str = "g1") -> dict[str, Any]:
    """What is told of a generation."""
    ended = status not in ("queued", "running")
    result = {"text": text, "finish_reason": "stop" if ended else None, "model": "m", "provider": "p"}
    return {
        "id": id,
        "status": status,
        "result": result if text else None,
        "tokens": {"in": 3, "out": 5} if ended else {"in": None, "out": None},
        "error": error,
        "cached": False,
        "last_event_id": None,
        "links": links(id),
    }


def state(status: str, text: str = "", error: Mapping[str, Any] | None = None) -> Reply:
    """What a poll gets."""
    return answer(told(status, text, error))


def turn(
    id: str, message: str, text: str, parent: str | None = None, status: str = "done", **more: Any
) -> dict[str, Any]:
    """A turn as a conversation tells it."""
    return {
        **told(status, text, id=id),
        "parent": parent,
        "message": message,
        "route": "chat",
        "created_at": "2025-01-01T12:00:00Z",
        "feedback": None,
        "history": {"turns": 0, "dropped": 0, "tokens": 0},
        **more,
    }


def entry(
    id: str, title: str, *, turns: int = 1, busy: bool = False, updated_at: str = "2025-01-01T12:00:00Z"
) -> dict[str, Any]:
    """A conversation as the list tells it."""
    times = {"created_at": "2025-01-01T11:00:00Z", "updated_at": updated_at}
    return {"id": id, "title": title, **times, "turns": turns, "busy": busy}


def listed(*entries: Mapping[str, Any], next: str | None = None) -> Reply:
    return answer({"conversations": entries, "next": next})


def conversation(id: str, *turns: Mapping[str, Any], next: str | None = None, title: str = "T") -> Reply:
    about = entry(id, title, busy=any(each["status"] in ("queued", "running") for each in turns))
    return answer(about | {"turns": turns, "next": next})


def stream(*frames: str | asyncio.Event, retry_ms: int = 20) -> Reply:
    """An event stream that ends after its last frame, as a cut connection does; an event among them is waited for."""
    return Reply((f"retry: {retry_ms}\n\n", *frames), content_type="text/event-stream")


def frame(kind: str, at: str = "", **data: Any) -> str:
    """An event with the id `at`."""
    head = f"id: {at}\n" if at else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n"


def started(run: int = 1) -> str:
    return frame("started", f"{run}-0", run=run, provider="p", model="m")


def delta(at: str, text: str) -> str:
    return frame("delta", at, text=text)


def done(at: str, text: str, status: str = "done", finish_reason: str = "stop", *, cached: bool = False) -> str:
    """The terminal event of an answer whose stored text is `text`."""
    usage = {"input": 3, "output": 5, "cached": 0, "cache_write": 0, "reasoning": 0, "source": "provider"}
    return frame(
        "done",
        at,
        status=status,
        finish_reason=finish_reason,
        provider="p",
        model="m",
        usage=usage,
        cost_micros=None,
        sha256=sha256(text.encode()).hexdigest(),
        length=len(text),
        cached=cached,
    )


def failed(at: str, text: str, code: str = "provider_timeout", *, retryable: bool = True) -> str:
    digest = sha256(text.encode()).hexdigest()
    return frame("failed", at, code=code, message="Too slow.", retryable=retryable, sha256=digest, length=len(text))


class FakeService:
    """Replies are used up in order; the last one of a kind is given again and again."""

    def __init__(self) -> None:
        self.posts = [accepted()]
        self.streams = [stream()]
        self.polls = [state("running")]
        self.cancels = [answer({"id": "g1", "status": "running", "links": LINKS}, 202)]
        self.tokens = [answer({"token": "token-1", "expires_in": 900}, 201)]
        self.lists = [listed()]
        self.conversations = [refusal(404, "not_found", "There is no such thing.")]
        self.renames = [answer(entry("c1", "Renamed"))]
        self.deletes = [Reply(status=204)]
        self.ratings = [answer({"id": "g1", "rating": "up", "comment": ""})]
        self.seen: list[Seen] = []
        self.origin = ""
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.origin = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exception: object) -> None:
        await close_server(self._server)
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def requests(self, method: str, path: str) -> list[Seen]:
        return [each for each in self.seen if (each.method, each.path) == (method, path)]

    async def nth(self, number: int, method: str, path: str) -> Seen:
        """The request of that kind with that number, from 1 on, once it has come: what a page shows may be ahead of it."""
        await eventually(lambda: len(self.requests(method, path)) >= number)
        return self.requests(method, path)[number - 1]

    def cursors(self) -> list[str | None]:
        """What each event stream was asked to begin after, in the order of the requests."""
        return [each.cursor for each in self.requests("GET", LINKS["events"])]

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection; a browser that hangs up, or asks for nothing at all, is no fault."""
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                request = await _request(reader)
                self.seen.append(request)
                await _give(self._reply(request.method, request.path), writer)
        finally:
            writer.close()

    def _reply(self, method: str, path: str) -> Reply:
        for pattern, replies in (
            ("POST /ai/v1/chat", self.posts),
            (r"GET /ai/v1/chat/\w+/events", self.streams),
            (r"GET /ai/v1/chat/\w+", self.polls),
            (r"POST /ai/v1/chat/\w+/cancel", self.cancels),
            (r"POST /ai/v1/chat/\w+/feedback", self.ratings),
            (f"GET {CONVERSATIONS}", self.lists),
            (rf"GET {CONVERSATIONS}/\w+", self.conversations),
            (rf"PATCH {CONVERSATIONS}/\w+", self.renames),
            (rf"DELETE {CONVERSATIONS}/\w+", self.deletes),
            ("POST /token", self.tokens),
        ):
            if re.fullmatch(pattern, f"{method} {path}"):
                return replies[0] if len(replies) == 1 else replies.pop(0)
        if path in ("/", "/history"):
            return Reply((PAGE if path == "/" else HISTORY_PAGE,), content_type="text/html")
        file = STATIC / path.removeprefix("/static/")
        if path.startswith("/static/") and file.is_file():
            return Reply((file.read_text(),), content_type=mimetypes.guess_type(file.name)[0] or "text/plain")
        return Reply(status=404)


async def _request(reader: asyncio.StreamReader) -> Seen:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, target, _ = first.split(" ")
    url = urlsplit(target)
    return Seen(method, url.path, {name: values[0] for name, values in parse_qs(url.query).items()}, headers, body)


async def _give(reply: Reply, writer: asyncio.StreamWriter) -> None:
    if reply.when:
        await reply.when.wait()
    if reply.status == 0:
        return
    head = (
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        f"Content-Type: {reply.content_type}; charset=utf-8",
        f"Content-Security-Policy: {POLICY}",
        "Cache-Control: no-store",
        "Connection: close",
        *(f"{name}: {value}" for name, value in reply.headers.items()),
    )
    writer.write("\r\n".join((*head, "", "")).encode())
    for part in reply.parts:
        if isinstance(part, asyncio.Event):
            await writer.drain()
            await part.wait()
        else:
            writer.write(part.encode())
    await writer.drain()
