"""Whether the process lives (`/healthz`) and whether the service can do its work (`/readyz`)."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from models.errors import StreamerError, Unavailable
from models.periodic import worker_age
from streamer.services import Services

#: The scope that an API key needs to see counts.
ADMIN = "admin"


async def healthz(request: Request) -> JSONResponse:
    """200 as long as the process answers at all."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> JSONResponse:
    """200 where database, Redis and a worker are there, else 503 with what is missing. An admin key is told counts, too."""
    services: Services = request.state.services
    checks = {"database": "ok", "redis": "ok", "worker": "ok", "web": "ok"}
    try:
        age = await services.threads.run(worker_age)
        if age is None or age > services.settings.heartbeat_seconds:
            checks["worker"] = "no worker has given a sign of life: start `streamer worker`"
    except Unavailable:
        checks["database"] = "away: see DATABASE_URL and the data folder"
        checks["worker"] = "unknown"
    try:
        await services.require_redis()
    except StreamerError:
        checks["redis"] = "away: see REDIS_URL"
    if services.hub.draining:
        checks["web"] = "this process is stopping"
    answer: dict[str, object] = {"checks": checks}
    if "authorization" in request.headers:
        (await services.auth.server(request.headers)).require(ADMIN)
        answer["counts"] = {
            "viewers": services.hub.viewers,
            "channels": services.hub.channels,
            "tasks": len(asyncio.all_tasks()),
        }
    ready = all(each == "ok" for each in checks.values())
    return JSONResponse({"status": "ready" if ready else "not ready", **answer}, 200 if ready else 503)


routes = [Route("/healthz", healthz, methods=["GET"]), Route("/readyz", readyz, methods=["GET"])]
