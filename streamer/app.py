"""The web application's table of contents."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from models.database_threads import DatabaseThreads
from models.event_log import EventLog, connect_redis
from models.rate_limit import RateLimit
from models.redis_address import broker_url, redis_url
from models.route_file import load_routes
from models.secret import load_secret
from models.settings import Settings
from streamer import chat, conversations, event_stream, feedback, health, pages, proxy, session, sign_in, status
from streamer.auth import Authenticator
from streamer.error_handlers import exception_handlers
from streamer.event_stream import PATH, EventStream
from streamer.hub import Hub
from streamer.middleware import middleware
from streamer.operation import routes_of
from streamer.papers import Papers
from streamer.presence import Presence
from streamer.services import Services
from streamer.signature import Signatures
from streamer.status_board import StatusBoard
from streamer.status_report import Reporter
from streamer.unread_body import UnreadBodies
from tasks.broker import Queue
from tasks.end_tasks import end_tasks
from tasks.route_checks import load_checked_routes
from tasks.sweeper import Sweeper

#: Seconds that a stop waits for a sweep under way, which a Redis that hangs may hold up: its thread ends with the process then.
SWEEP_END_SECONDS = 2.0

papers = Papers(
    [
        *session.operations,
        *chat.operations,
        *event_stream.operations,
        *feedback.operations,
        *conversations.operations,
        *proxy.operations,
        *health.operations,
        *status.operations,
        *sign_in.operations,
    ]
)

routes = [*routes_of(papers.operations), *pages.routes]


def create_app(settings: Settings) -> "Application":
    """The whole web side. Its database is connected already; everything else begins with the lifespan.

    Raises SettingInvalid: what is wrong with the settings is told now, in one line, not by a lifespan that fails.
    """
    for check in (redis_url, broker_url, load_checked_routes, load_secret):
        check(settings)
    return Application(settings)


class Application:
    """Starlette for everything but the event streams, which skip its middleware."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._starlette = Starlette(
            routes=routes, middleware=middleware, exception_handlers=exception_handlers, lifespan=self._lifespan
        )
        # A redirect would carry the query, and so a ticket, into a header.
        self._starlette.router.redirect_slashes = False
        self._events: ASGIApp | None = None
        self._guarded = UnreadBodies(self._dispatch)
        self.hub: Hub | None = None
        self._board: StatusBoard | None = None

    def drain(self) -> None:
        """Tells whoever watches something to come back elsewhere."""
        if self.hub is not None:
            self.hub.drain()
        if self._board is not None:
            self._board.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._guarded(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._events is not None and PATH.fullmatch(scope["path"]):
            await self._events(scope, receive, send)
        else:
            await self._starlette(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with running_services(self._settings) as services:
            self.hub, self._board = services.hub, services.board
            self._events = EventStream(services)
            yield {"services": services}


@contextlib.asynccontextmanager
async def running_services(settings: Settings) -> AsyncIterator[Services]:
    """Everything that lives as long as the process, with its tasks under way."""
    url = redis_url(settings)
    threads = DatabaseThreads(settings.database_threads)
    client, subscriber = connect_redis(url), connect_redis(url, connections=4)
    log, queue = EventLog(client), Queue(broker_url(settings))
    hub = Hub(settings, threads, log, subscriber)
    presence = Presence(client, lambda: hub.viewers)
    reporter = Reporter(settings, threads, queue, presence, hub)
    board = StatusBoard(reporter.report, settings.status_seconds)
    secret = load_secret(settings)
    services = Services(
        settings=settings,
        routes=load_routes(settings),
        threads=threads,
        auth=Authenticator(settings, secret, threads),
        hub=hub,
        log=log,
        queue=queue,
        client=client,
        rate_limit=RateLimit(client),
        signatures=Signatures(secret, settings.signing_overlap_seconds),
        board=board,
    )
    sweeper = Sweeper(settings, threads, queue, url)
    works = (hub.listen_forever(), hub.tick_forever(), presence.beat_forever())
    tasks = [asyncio.create_task(each) for each in works]
    sweeper.start()
    try:
        yield services
    finally:
        sweeper.stop()
        await end_tasks(*tasks)
        await board.close()
        await reporter.close()
        await hub.close()
        await asyncio.to_thread(sweeper.join, SWEEP_END_SECONDS)
        await client.aclose()
        await subscriber.aclose()
        await asyncio.to_thread(queue.close)
        await asyncio.to_thread(threads.close)
