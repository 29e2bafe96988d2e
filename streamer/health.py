"""Whether the process lives (`/healthz`) and whether the service can do its work (`/readyz`)."""

import asyncio
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from models.dispatch import oldest_seconds
from models.errors import StreamerError, Unavailable
from models.periodic import worker_age
from streamer.operation import Answer, Credential, Operation, routes_of
from streamer.services import Services
from streamer.struct_response import StructResponse

#: The scope that an API key needs to see counts.
ADMIN = "admin"


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Checks(msgspec.Struct, kw_only=True):
    """`ok`, else what is missing."""

    database: str = "ok"
    redis: str = "ok"
    worker: str = "ok"
    web: str = "ok"

    @property
    def passed(self) -> bool:
        return all(each == "ok" for each in msgspec.structs.astuple(self))


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What this process holds."""

    viewers: int
    channels: int
    tasks: int


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the service can do its work; an admin key is told `counts`, too."""

    status: Literal["ready", "not ready"]
    checks: Checks
    oldest_queued_seconds: float | None = None
    """For how long the oldest answer that nobody works on has waited."""
    counts: Counts | UnsetType = UNSET


async def healthz(request: Request) -> StructResponse:
    """200 as long as the process answers at all."""
    return StructResponse(Alive())


async def readyz(request: Request) -> StructResponse:
    """200 where database, Redis and a worker are there, else 503 with what is missing. An admin key is told counts, too."""
    services: Services = request.state.services
    checks, oldest = await _checks(services)
    counts: Counts | UnsetType = UNSET
    if "authorization" in request.headers:
        (await services.auth.server(request.headers)).require(ADMIN)
        counts = Counts(viewers=services.hub.viewers, channels=services.hub.channels, tasks=len(asyncio.all_tasks()))
    ready = checks.passed
    answer = Readiness(
        status="ready" if ready else "not ready", checks=checks, oldest_queued_seconds=oldest, counts=counts
    )
    return StructResponse(answer, 200 if ready else 503)


async def _checks(services: Services) -> tuple[Checks, float | None]:
    checks, oldest = Checks(), None
    try:
        age = await services.threads.run(worker_age)
        if age is None or age > services.settings.heartbeat_seconds:
            checks.worker = "no worker has given a sign of life: start `streamer worker`"
        oldest = await services.threads.run(oldest_seconds)
    except Unavailable:
        checks.database = "away: see DATABASE_URL and the data folder"
        checks.worker = "unknown"
    try:
        await services.require_redis()
    except StreamerError:
        checks.redis = "away: see REDIS_URL"
    if services.hub.draining:
        checks.web = "this process is stopping"
    return checks, oldest


operations = [
    Operation(
        id="healthz",
        method="GET",
        path="/healthz",
        endpoint=healthz,
        group="Operation",
        summary="Whether the process lives",
        credentials=[Credential.NONE],
        answers={200: Answer("It answers.", Alive)},
    ),
    Operation(
        id="readyz",
        method="GET",
        path="/readyz",
        endpoint=readyz,
        group="Operation",
        summary="Whether the service can do its work",
        description="An API key with the scope `admin` is told counts as well.",
        credentials=[Credential.NONE, Credential.ADMIN_KEY],
        answers={
            200: Answer("Database, Redis and a worker are there.", Readiness),
            503: Answer("Something is missing; `checks` says what.", Readiness),
        },
    ),
]

routes = routes_of(operations)
