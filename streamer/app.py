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
from streamer import chat, conversations, event_stream, feedback, health, pages, proxy, session
from streamer.auth import Authenticator
from streamer.error_handlers import exception_handlers
from streamer.event_stream import PATH, EventStream
from streamer.hub import Hub
from streamer.middleware import middleware
from streamer.operation import routes_of
from streamer.papers import Papers
from streamer.services import Services
from streamer.signature import Signatures
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
            self.hub = services.hub
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
    )
    sweeper = Sweeper(settings, threads, queue, url)
    tasks = [asyncio.create_task(hub.listen_forever()), asyncio.create_task(hub.tick_forever())]
    sweeper.start()
    try:
        yield services
    finally:
        sweeper.stop()
        await end_tasks(*tasks)
        await hub.close()
        await asyncio.to_thread(sweeper.join, SWEEP_END_SECONDS)
        await client.aclose()
        await subscriber.aclose()
        await asyncio.to_thread(queue.close)
        await asyncio.to_thread(threads.close)
