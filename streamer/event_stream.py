"""`…/chat/{id}/events`, of visitors and of servers: an event-stream response of our own, outside the middleware, fed by the hub.

Frames are shared by all viewers of a generation, so a viewer costs a cursor and the kernel's send.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Mapping

from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from models.dispatch import position
from models.errors import NotFound, Unavailable
from models.event import PAYLOADS, EventId, Frame, Kind, Started, Text, encode
from models.generation import Generation, Status, find_owned
from streamer import auth
from streamer.channel import WRITE_BYTES, Viewer
from streamer.chat import GENERATION_ID
from streamer.connection import break_off
from streamer.error_handlers import error_response, is_expected, log_unexpected
from streamer.jitter import jittered_ms, shortened
from streamer.middleware import log_access, security_headers
from streamer.operation import Answer, Credential, Operation, Parameter
from streamer.request_id import request_id_of
from streamer.services import Services
from streamer.sse import KEEP_ALIVE, close_frame, cursor_of, encode_frame, opening, queued_frame
from tasks.end_tasks import end_tasks

PATH = re.compile(r"(/ai)?/v1/chat/([^/]{1,64})/events")

_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
}

LAST_EVENT_ID = Parameter(
    name="Last-Event-ID", place="header", description="The last id seen: what is later comes, once."
)

_EXAMPLE = (
    opening(),
    queued_frame(),
    encode_frame(Frame(EventId(1, 0), Kind.STARTED, encode(Started(run=1, provider="demo", model="echo")))),
    encode_frame(Frame(EventId(1, 1), Kind.DELTA, encode(Text(text="A hash table ")))),
    encode_frame(Frame(EventId(1, 2), Kind.DELTA, encode(Text(text="is an array")))),
)

EXAMPLE = b"".join(_EXAMPLE).decode()

operations = [
    Operation(
        id="stream_chat",
        method="GET",
        path="/ai/v1/chat/{id}/events",
        endpoint=None,
        group="Chat",
        summary="Watch an answer",
        description=(
            "Server-sent events, from the first or from where you left. Ids strictly increase; `started` clears what is "
            "shown; exactly one `done` or `failed` ends it."
        ),
        credentials=[Credential.VISITOR, Credential.TICKET],
        parameters=[
            GENERATION_ID,
            LAST_EVENT_ID,
            Parameter(
                name="after", place="query", description="The same, where no header can be sent; the header wins."
            ),
        ],
        answers={
            200: Answer("The stream.", "text/event-stream", events=PAYLOADS, example=EXAMPLE),
            204: Answer("Nothing is left to say after that id."),
        },
        raises=[NotFound],
    )
]

#: Seconds between two looks at whether a stream's credential is still good.
CREDENTIAL_SECONDS = 5.0


class EventStream:
    """The ASGI application of the one hot path."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._open = 0
        """Requests under way, from before anything of them is read."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, request_id, status = time.monotonic(), request_id_of(scope), 0

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._answer(scope, receive, send_noting_status)
        except Exception as error:
            if status or not is_expected(error):
                log_unexpected(error, request_id)
            if not status:
                response = error_response(error, request_id)
                for name, value in security_headers(scope["path"]).items():
                    response.headers.setdefault(name, value)
                await response(scope, receive, send_noting_status)
        finally:
            log_access(scope, status, time.monotonic() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses what is too much before anything is read: a stream then costs nothing but its refusal."""
        if scope["method"] != "GET":
            raise HTTPException(405, headers={"Allow": "GET"})
        draining = self._services.hub.draining
        if draining or self._open >= self._services.settings.max_viewers:
            code = "draining" if draining else "overloaded"
            await start(scope, send, {})
            await _send_last(send, close_frame(code, reconnect=True, retry_ms=jittered_ms(2000)))
            return
        self._open += 1
        try:
            await self._admit(scope, receive, send)
        finally:
            self._open -= 1

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything that may fail comes before the first byte; then it only streams."""
        found = PATH.fullmatch(scope["path"])
        assert found is not None, "the application sends only such paths here"
        headers, query = Headers(scope=scope), QueryParams(scope["query_string"])
        services = self._services
        if found[1]:
            credential = await services.auth.viewer(headers, query.get("ticket"), found[2])
        else:
            credential = (await services.auth.chat_server(headers)).as_viewer()
        row = await services.threads.run(find_owned, found[2], credential.tenant_id, credential.user)
        if row is None:
            raise NotFound
        cursor = cursor_of(headers.get("last-event-id"), query.get("after"))
        if row.terminal is not None and cursor is not None and cursor >= row.terminal:
            await Response(status_code=204, headers=_common(scope))(scope, receive, send)
            return
        await start(scope, send, {})
        if not await self.stream(row, cursor, credential, receive, send):
            await break_off(scope)

    async def stream(
        self, row: Generation, cursor: EventId | None, credential: auth.Viewer, receive: Receive, send: Send
    ) -> bool:
        """Writes the events after `cursor`, behind a head that was sent.

        Returns whether all was said; else the viewer left, or hung, and its connection is to be broken off.
        """
        services = self._services
        await _send(send, opening() + (await self._queued(row) if row.status == Status.QUEUED else b""))
        viewer = await services.hub.join(row.id, cursor)
        viewer.closes_at = asyncio.get_running_loop().time() + shortened(services.settings.max_stream_seconds)
        leaving = asyncio.create_task(notice_leaving(receive, viewer))
        guarding = asyncio.create_task(self._guard(credential, viewer))
        try:
            return await self._feed(viewer, send)
        finally:
            services.hub.leave(viewer)
            await end_tasks(leaving, guarding)

    async def _queued(self, row: Generation) -> bytes:
        """With the place in line, unless the database is away: the stream goes on without it."""
        with contextlib.suppress(Unavailable):
            return queued_frame(await self._services.threads.run(position, row))
        return queued_frame()

    async def _feed(self, viewer: Viewer, send: Send) -> bool:
        """Writes what there is, then waits for more; a viewer that takes nothing for too long is left."""
        loop, keepalive_seconds = asyncio.get_running_loop(), self._services.settings.keepalive_seconds
        with contextlib.suppress(TimeoutError):
            while not viewer.gone:
                # Also before what is still to be read: a cursor resumes it, and who lost the right to it must not have it.
                if viewer.closing is not None:
                    code, reconnect = viewer.closing
                    data, last = close_frame(code, reconnect=reconnect, retry_ms=jittered_ms(1000)), True
                else:
                    data, last = viewer.take()
                if not (data or last) and loop.time() - viewer.quiet_since >= keepalive_seconds:
                    data = KEEP_ALIVE
                if not (data or last):
                    await viewer.wait()
                    continue
                await self._write(send, data, last)
                viewer.quiet_since = loop.time()
                if last:
                    return True
        return False

    async def _write(self, send: Send, data: bytes, last: bool) -> None:
        """In pieces, so that a reader that stalls holds no more of a large event than of others. TimeoutError where it does."""
        for begin in range(0, len(data), WRITE_BYTES) or (0,):
            rest = begin + WRITE_BYTES < len(data)
            async with asyncio.timeout(self._services.settings.send_timeout_seconds):
                await (_send if rest or not last else _send_last)(send, data[begin : begin + WRITE_BYTES])

    async def _guard(self, credential: auth.Viewer, viewer: Viewer) -> None:
        """Closes the stream when its credential expires or is revoked; the generation goes on."""
        while await self._services.auth.still_good(credential):  # noqa: ASYNC110 - nobody tells when a key is revoked
            await asyncio.sleep(min(CREDENTIAL_SECONDS, max(0.1, credential.expires_at - time.time())))
        viewer.close("auth_expired", reconnect=False)


async def notice_leaving(receive: Receive, viewer: Viewer) -> None:
    """Marks the viewer as gone, and wakes it, when its connection has ended."""
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.gone = True
    viewer.wake()


async def start(scope: Scope, send: Send, more: Mapping[str, str]) -> None:
    """The head of a stream. `more`: headers."""
    headers = {**_common(scope), **_HEADERS, **more}
    await send({"type": "http.response.start", "status": 200, "headers": _raw(headers)})


async def _send(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def _send_last(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": False})


def _common(scope: Scope) -> dict[str, str]:
    return {**security_headers(scope["path"]), "x-request-id": request_id_of(scope)}


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
