"""Whether the process lives, and whether it can do its work: told in words that name what is missing."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from peewee import Database

from models.api_key import create_key
from models.database_threads import DatabaseThreads
from models.errors import Unavailable
from models.periodic import Worker, beat
from models.secret import Secret
from models.settings import Settings
from streamer import health
from streamer.app import running_services
from streamer.services import Services
from tests.streamer.answers import Answer
from tests.streamer.conftest import bearer, client_of
from tests.streamer.eventually import eventually


@pytest.fixture
async def services(live: Settings, database: Database, api_key: str) -> AsyncIterator[Services]:
    async with running_services(live) as services:
        await eventually(lambda: services.hub._subscription.up)
        yield services


@pytest.fixture
async def client(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(health.routes, services) as client:
        yield client


@pytest.fixture
def worker(services: Services) -> None:
    """A worker has just said that it lives."""
    beat("w", "host", 1, 0)


async def test_a_process_that_answers_lives(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> None:
        raise Unavailable

    monkeypatch.setattr(DatabaseThreads, "run", away)
    response = await client.get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.usefixtures("worker")
async def test_all_is_ready_when_database_redis_and_a_worker_are_there(client: httpx.AsyncClient) -> None:
    response = await client.get("/readyz")

    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "checks": {"database": "ok", "redis": "ok", "worker": "ok", "web": "ok"},
        "oldest_queued_seconds": None,
    }


async def test_without_a_worker_it_is_not_ready(client: httpx.AsyncClient) -> None:
    response = await client.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (503, "not ready")
    assert "streamer worker" in response.json()["checks"]["worker"]

    beat("w", "host", 1, 0)
    assert (await client.get("/readyz")).status_code == 200
    Worker.update(heartbeat_at=Worker.heartbeat_at - 11).execute()
    assert (await client.get("/readyz")).status_code == 503
    beat("other", "host", 2, 0)
    assert (await client.get("/readyz")).status_code == 200


@pytest.mark.usefixtures("worker")
async def test_without_redis_it_is_not_ready(live: Settings, database: Database, api_key: str, tmp_path: Any) -> None:
    away = replace(live, redis_url=f"unix://{tmp_path}/nothing.sock")
    async with running_services(away) as services, client_of(health.routes, services) as client:
        response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"] == {
        "database": "ok",
        "redis": "away: see REDIS_URL",
        "worker": "ok",
        "web": "ok",
    }


@pytest.mark.usefixtures("worker")
async def test_without_its_database_it_is_not_ready(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> None:
        raise Unavailable

    monkeypatch.setattr(DatabaseThreads, "run", away)
    response = await client.get("/readyz")

    assert response.status_code == 503
    assert response.json()["checks"]["database"].startswith("away")
    assert response.json()["checks"]["worker"] == "unknown"
    assert response.json()["checks"]["redis"] == "ok"


@pytest.mark.usefixtures("worker")
async def test_a_process_that_stops_is_not_ready(client: httpx.AsyncClient, services: Services) -> None:
    services.hub.drain()
    response = await client.get("/readyz")

    assert (response.status_code, response.json()["checks"]["web"]) == (503, "this process is stopping")
    assert (await client.get("/healthz")).status_code == 200


@pytest.mark.usefixtures("worker")
async def test_counts_are_for_an_admin_key_alone(
    client: httpx.AsyncClient, services: Services, tenant: Any, secret: Secret, api_key: str, threads: Any, log: Any
) -> None:
    _, admin = create_key(tenant.id, "operator", ["admin"], secret=secret)
    answer = await Answer.begun(services.settings, threads, log)
    viewer = await services.hub.join(answer.id, None)
    counts = (await client.get("/readyz", headers=bearer(admin))).json()["counts"]
    services.hub.leave(viewer)

    assert (counts["viewers"], counts["channels"]) == (1, 1)
    assert counts["tasks"] > 2
    assert (await client.get("/readyz", headers=bearer(admin))).json()["counts"]["viewers"] == 0
    assert "counts" not in (await client.get("/readyz")).json()
    assert (await client.get("/readyz", headers=bearer(api_key))).status_code == 403
    assert (await client.get("/readyz", headers=bearer("garbage"))).status_code == 401


@pytest.mark.usefixtures("worker")
async def test_health_is_read_alone(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await client.post(path)).status_code == 405
        assert (await client.head(path)).status_code == 200
