"""One installation for each test that asks for it: settings, database, API keys, and a client of an app's routes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from peewee import Database
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from models.api_key import create_key
from models.database_threads import DatabaseThreads
from models.event_log import EventLog, connect_redis
from models.secret import Secret
from models.settings import Settings
from models.tenant import Tenant, first_tenant
from streamer.auth import Authenticator
from streamer.error_handlers import exception_handlers
from streamer.middleware import middleware


@pytest.fixture
def secret() -> Secret:
    return Secret("s" * 40)


@pytest.fixture
def tenant(database: Database) -> Tenant:
    return first_tenant()


@pytest.fixture
def api_key(tenant: Any, secret: Secret, settings: Settings) -> str:
    """The first API key, which stands in the data folder too."""
    _, plain = create_key(tenant.id, "first", ["session"], secret=secret)
    (settings.data_path / "api_key").write_text(plain + "\n")
    return plain


@pytest.fixture
def auth(settings: Settings, secret: Secret, threads: DatabaseThreads) -> Authenticator:
    return Authenticator(settings, secret, threads)


@dataclass(frozen=True, slots=True)
class FewServices:
    """What the endpoints under test find in `request.state.services`."""

    settings: Settings
    threads: DatabaseThreads
    auth: Authenticator


@pytest.fixture
def services(settings: Settings, threads: DatabaseThreads, auth: Authenticator) -> FewServices:
    return FewServices(settings, threads, auth)


def with_services(app: ASGIApp, services: object) -> ASGIApp:
    """Does what the lifespan does in the server."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"services": services}
        await app(scope, receive, send)

    return wrapped


def bearer(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


@asynccontextmanager
async def client_of(routes: Sequence[BaseRoute], services: object = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a small app with these routes; an exception that leaves the app fails the test."""
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=exception_handlers)
    transport = httpx.ASGITransport(with_services(app, services))
    async with httpx.AsyncClient(transport=transport, base_url="http://streamer") as client:
        yield client


@pytest.fixture
def idle_check_seconds() -> float:
    """So long that no idle check helps; a test about those says less."""
    return 60.0


@pytest.fixture
def live(settings: Settings, redis_url: str, idle_check_seconds: float) -> Settings:
    """Settings with a Redis and the secret of `auth`; no sweeper puts a hand in."""
    return replace(
        settings,
        redis_url=redis_url,
        secret="s" * 40,
        idle_check_seconds=idle_check_seconds,
        keepalive_seconds=5.0,
        sweep_seconds=3600.0,
        web_drain_seconds=1.0,
    )


@pytest.fixture
async def log(live: Settings) -> AsyncIterator[EventLog]:
    """The event log as a worker has it, on a connection of its own."""
    client = connect_redis(live.redis_url)
    yield EventLog(client)
    await client.aclose()
