"""`/admin/status`: the page, and the stream of reports that it shows."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import msgspec
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from models.event import Close, Kind
from streamer.auth import Viewer
from streamer.connection import break_off
from streamer.jitter import jittered_ms, shortened
from streamer.operation import Answer, Credential, Operation, routes_of
from streamer.pages import STATIC
from streamer.sse import close_frame, opening
from streamer.status_board import STATUS
from streamer.status_report import StatusReport

if TYPE_CHECKING:
    from streamer.services import Services

#: Streams in one web process at most.
MAX_WATCHERS = 50

#: Seconds between two looks at whether a stream's credential is still good, where no report comes.
CREDENTIAL_SECONDS = 5.0

#: Seconds that sse-starlette leaves us to say goodbye when it sees the server stop; we do so at once.
GOODBYE_SECONDS = 5.0

#: What the page may do: less than the others, and nobody may frame it.
POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self'; style-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


#: What each event says.
EVENTS: Mapping[str, type[msgspec.Struct]] = {STATUS: StatusReport, Kind.CLOSE: Close}


class StatusStream(EventSourceResponse):
    """A low-rate stream by sse-starlette. What it leaves to us: a reader that stalls must not keep its socket."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            await break_off(scope)


async def status_page(request: Request) -> FileResponse:
    """The page; it holds nothing that anybody may not see."""
    headers = {"cache-control": "no-cache", "content-security-policy": POLICY}
    return FileResponse(STATIC / "admin" / "status.html", headers=headers)


async def watch_status(request: Request) -> StatusStream:
    """The stream, for an API key or an admin session."""
    services: Services = request.state.services
    settings = services.settings
    credential = await services.auth.admin(request.headers, services.auth.session_of(request.headers.get("cookie", "")))
    return StatusStream(
        _frames(services, credential),
        headers={"cache-control": "no-store, no-transform"},
        ping=settings.keepalive_seconds,
        ping_message_factory=lambda: ServerSentEvent(comment="", sep="\n"),
        send_timeout=settings.send_timeout_seconds,
        shutdown_grace_period=GOODBYE_SECONDS,
    )


async def _frames(services: "Services", credential: Viewer) -> AsyncIterator[bytes]:
    """A frame for each report, and in the end why it ends."""
    board, loop = services.board, asyncio.get_running_loop()
    closes_at = loop.time() + shortened(services.settings.max_stream_seconds)
    number = 0
    yield opening()
    if board.watchers >= MAX_WATCHERS:
        yield close_frame("overloaded", reconnect=True, retry_ms=jittered_ms(2000))
        return
    with board.watching():
        while True:
            if board.draining or loop.time() >= closes_at:
                code = "draining" if board.draining else "max_age"
                break
            if not await services.auth.still_good(credential):
                code = "auth_expired"
                break
            left_seconds = min(CREDENTIAL_SECONDS, closes_at - loop.time(), credential.expires_at - time.time())
            notice = await board.newer(number, max(0.0, left_seconds))
            if notice is not None:
                number = notice.number
                yield notice.frame
    yield close_frame(code, reconnect=code != "auth_expired", retry_ms=jittered_ms(1000))


operations = [
    Operation(
        id="status_page",
        method="GET",
        path="/admin/status",
        endpoint=status_page,
        group="Operation",
        summary="What the service does now, for people",
        credentials=[Credential.NONE],
        answers={200: Answer("The page, which asks for an API key with the scope `admin`.", "text/html")},
    ),
    Operation(
        id="watch_status",
        method="GET",
        path="/admin/status/events",
        endpoint=watch_status,
        group="Operation",
        summary="What the service does now, for programs",
        description="Server-sent events: a `status` every 2 s, and a `close` where this connection ends.",
        credentials=[Credential.ADMIN_SESSION, Credential.ADMIN_KEY],
        answers={200: Answer("The stream.", "text/event-stream", events=EVENTS)},
    ),
]

routes = routes_of(operations)
