"""`/admin/session`: in with an API key, out again; and how often one may fail."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from peewee import Database

from models.api_key import create_key, public_id_of
from models.database_threads import DatabaseThreads
from models.errors import Unavailable
from models.secret import Secret
from models.settings import Settings
from streamer import sign_in
from streamer.app import running_services
from streamer.services import Services
from tests.streamer.conftest import bearer, client_of

SESSION = "/admin/session"


@pytest.fixture
async def services(live: Settings, database: Database, api_key: str) -> AsyncIterator[Services]:
    async with running_services(replace(live, max_sign_ins=3)) as services:
        yield services


@pytest.fixture
async def client(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(sign_in.routes, services) as client:
        yield client


@pytest.fixture
def admin_key(tenant: Any, secret: Secret) -> str:
    return create_key(tenant.id, "operator", ["admin"], secret=secret)[1]


async def test_a_key_is_changed_for_a_cookie_that_opens_the_pages(
    client: httpx.AsyncClient, services: Services, admin_key: str
) -> None:
    response = await client.post(SESSION, headers=bearer(admin_key))

    assert (response.status_code, response.json()) == (201, {"expires_in": 14400})
    assert response.headers["cache-control"] == "no-store"
    session = response.cookies["streamer_admin"]
    assert admin_key.split("-", 2)[2] not in response.headers["set-cookie"]
    assert (await services.auth.admin({}, session)).key_id == public_id_of(admin_key)
    (cookie,) = client.cookies.jar
    assert cookie.path == "/admin"


async def test_signing_out_takes_the_cookie_away_with_or_without_one(client: httpx.AsyncClient, admin_key: str) -> None:
    assert (await client.delete(SESSION)).status_code == 204
    await client.post(SESSION, headers=bearer(admin_key))
    assert "streamer_admin" in client.cookies

    assert (await client.delete(SESSION)).status_code == 204
    assert "streamer_admin" not in client.cookies


async def test_another_sites_page_signs_nobody_out(client: httpx.AsyncClient, admin_key: str) -> None:
    await client.post(SESSION, headers=bearer(admin_key))

    response = await client.delete(SESSION, headers={"sec-fetch-site": "same-site"})

    assert (response.status_code, response.json()["error"]) == (403, "forbidden")
    assert "streamer_admin" in client.cookies


async def test_a_key_for_something_else_opens_nothing(client: httpx.AsyncClient, api_key: str) -> None:
    response = await client.post(SESSION, headers=bearer(api_key))

    assert (response.status_code, response.json()["error"]) == (403, "forbidden")
    assert "set-cookie" not in response.headers


async def test_failures_are_counted_and_successes_are_not(
    client: httpx.AsyncClient, admin_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = admin_key[:-1] + ("A" if admin_key[-1] != "A" else "B")
    for _ in range(4):
        assert (await client.post(SESSION, headers=bearer(admin_key))).status_code == 201
    for _ in range(3):
        assert (await client.post(SESSION, headers=bearer(wrong))).status_code == 401

    response = await client.post(SESSION, headers=bearer(admin_key))

    assert (response.status_code, response.json()["error"], response.json()["limit"]) == (
        429,
        "rate_limited",
        "sign_ins",
    )
    assert response.headers["ratelimit-policy"] == "3;w=60"
    assert 0 < int(response.headers["retry-after"]) <= 60
    assert admin_key[-20:-1] not in caplog.text


async def test_another_sites_page_uses_up_no_tries(client: httpx.AsyncClient, admin_key: str) -> None:
    for _ in range(4):  # as any page can make a browser ask: without a key
        assert (await client.post(SESSION, headers={"sec-fetch-site": "cross-site"})).status_code == 401
    assert (await client.post(SESSION, headers=bearer(admin_key))).status_code == 201


async def test_a_database_that_is_away_uses_up_no_tries(
    client: httpx.AsyncClient, admin_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise Unavailable("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(DatabaseThreads, "run", away)
        for _ in range(4):
            assert (await client.post(SESSION, headers=bearer(admin_key))).status_code == 503
    assert (await client.post(SESSION, headers=bearer(admin_key))).status_code == 201


async def test_while_redis_is_away_an_operator_gets_in(
    live: Settings, database: Database, api_key: str, admin_key: str, tmp_path: Any
) -> None:
    away = replace(live, redis_url=f"unix://{tmp_path}/nothing.sock")
    async with running_services(away) as services, client_of(sign_in.routes, services) as client:
        assert (await client.post(SESSION, headers=bearer(admin_key))).status_code == 201
        assert (await client.post(SESSION, headers=bearer("sk-x"))).status_code == 401
