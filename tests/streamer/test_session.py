"""`POST /ai/v1/session` and `POST /ai/v1/session/grant`."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from models.api_key import create_key, public_id_of, revoke_key
from models.database import read_now
from models.secret import Secret
from models.settings import Settings
from streamer.auth import Authenticator
from streamer.session import routes
from tests.streamer.conftest import FewServices, bearer, client_of

SESSION = "/ai/v1/session"
GRANT = "/ai/v1/session/grant"


@pytest.fixture
async def client(services: FewServices) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(routes, services) as client:
        yield client


async def test_an_api_key_mints_a_visitor_token(client: httpx.AsyncClient, auth: Authenticator, api_key: str) -> None:
    body = {"user": "u1", "roles": ["read"], "ttl_seconds": 900}
    response = await client.post(SESSION, json=body, headers=bearer(api_key))

    assert response.status_code == 201
    assert sorted(response.json()) == ["expires_in", "token"]
    assert response.json()["expires_in"] == 900
    assert response.headers["cache-control"] == "no-store"
    visitor = await auth.visitor(bearer(response.json()["token"]))
    assert (visitor.user, visitor.roles, visitor.key_id) == ("u1", ("read",), public_id_of(api_key))


async def test_roles_and_life_may_be_left_out(
    client: httpx.AsyncClient, auth: Authenticator, api_key: str, settings: Settings
) -> None:
    response = await client.post(SESSION, json={"user": "u1"}, headers=bearer(api_key))

    assert response.json()["expires_in"] == settings.session_seconds
    assert (await auth.visitor(bearer(response.json()["token"]))).roles == ()


@pytest.mark.parametrize(
    "body",
    [
        {"user": "u"},
        {"user": "x" * 128},
        {"user": "🙂" * 128},
        {"user": "Zoë Müller <zoe@example.org>"},
        {"user": "42"},
        {"user": "u1", "roles": []},
        {"user": "u1", "roles": [f"role-{number}" for number in range(16)]},
        {"user": "u1", "roles": ["shop_manager", "a:b.c-d", "X" * 64]},
        {"user": "u1", "ttl_seconds": 1},
        {"user": "u1", "ttl_seconds": 86400},
        {"user": "u1", "ttl_seconds": None},
    ],
)
async def test_all_that_is_allowed_is_taken(
    client: httpx.AsyncClient, auth: Authenticator, api_key: str, body: Any
) -> None:
    response = await client.post(SESSION, json=body, headers=bearer(api_key))

    assert response.status_code == 201
    assert (await auth.visitor(bearer(response.json()["token"]))).user == body["user"]


async def test_a_role_that_is_named_twice_is_one(client: httpx.AsyncClient, auth: Authenticator, api_key: str) -> None:
    response = await client.post(SESSION, json={"user": "u1", "roles": ["b", "a", "b"]}, headers=bearer(api_key))

    assert (await auth.visitor(bearer(response.json()["token"]))).roles == ("b", "a")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "`user`"),
        ({"user": ""}, "`user` must have"),
        ({"user": " "}, "`user` must have"),
        ({"user": " u1"}, "`user` must have"),
        ({"user": "u1\n"}, "`user` must have"),
        ({"user": "a\u2028b"}, "`user` must have"),
        ({"user": "a\u202eb"}, "`user` must have"),
        ({"user": "a\x00b"}, "U+0000"),
        ({"user": "x" * 129}, "`user` must have"),
        ({"user": 1}, "$.user"),
        ({"user": None}, "$.user"),
        ({"user": ["u1"]}, "$.user"),
        ({"user": "u1", "roles": "admin"}, "$.roles"),
        ({"user": "u1", "roles": [1]}, "$.roles[0]"),
        ({"user": "u1", "roles": None}, "$.roles"),
        ({"user": "u1", "roles": [""]}, "`roles` must be"),
        ({"user": "u1", "roles": ["two words"]}, "`roles` must be"),
        ({"user": "u1", "roles": ["-x"]}, "`roles` must be"),
        ({"user": "u1", "roles": ["é"]}, "`roles` must be"),
        ({"user": "u1", "roles": ["x\n"]}, "`roles` must be"),
        ({"user": "u1", "roles": ["x" * 65]}, "`roles` must be"),
        ({"user": "u1", "roles": ["x"] * 17}, "`roles` must be"),
        ({"user": "u1", "ttl_seconds": 0}, "`ttl_seconds` must be between 1 and 86400"),
        ({"user": "u1", "ttl_seconds": -1}, "`ttl_seconds` must be between"),
        ({"user": "u1", "ttl_seconds": 86401}, "`ttl_seconds` must be between"),
        ({"user": "u1", "ttl_seconds": 2**62}, "`ttl_seconds` must be between"),
        ({"user": "u1", "ttl_seconds": 1.5}, "$.ttl_seconds"),
        ({"user": "u1", "ttl_seconds": "900"}, "$.ttl_seconds"),
        ({"user": "u1", "ttl_seconds": True}, "$.ttl_seconds"),
        ({"user": "u1", "tenant": "ten_x"}, "`tenant`"),
        ({"user": "u1", "scopes": ["admin"]}, "`scopes`"),
    ],
)
async def test_a_bad_body_is_refused_with_the_field(
    client: httpx.AsyncClient, api_key: str, body: Any, reason: str
) -> None:
    response = await client.post(SESSION, json=body, headers=bearer(api_key))

    assert (response.status_code, response.json()["error"]) == (400, "bad_request")
    assert reason in response.json()["message"]


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"user": "a", "user": "b"}', "application/json", 400),
        (b'{"user": "\\ud800"}', "application/json", 400),
        (b'{"user": "\xff"}', "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b'{"ttl_seconds": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b'{"user": "u1"}', "text/plain", 415),
        (b"user=u1", "application/x-www-form-urlencoded", 415),
        (b'{"user": "' + b"x" * 70_000 + b'"}', "application/json", 413),
    ],
)
async def test_a_body_that_is_none_is_refused(
    client: httpx.AsyncClient, api_key: str, content: bytes, media_type: str, status: int
) -> None:
    headers = bearer(api_key) | {"content-type": media_type}

    assert (await client.post(SESSION, content=content, headers=headers)).status_code == status
    assert (await client.post(GRANT, content=content, headers=headers)).status_code == status


async def test_without_an_api_key_nothing_is_read_and_nothing_minted(client: httpx.AsyncClient, api_key: str) -> None:
    token = (await client.post(SESSION, json={"user": "u1"}, headers=bearer(api_key))).json()["token"]

    for headers in ({}, bearer(token), bearer("x"), {"authorization": "Basic dTpw"}):
        response = await client.post(SESSION, content=b"no JSON", headers=headers)
        assert (response.status_code, response.json()["error"]) == (401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"


async def test_a_key_without_the_scope_mints_nothing(client: httpx.AsyncClient, tenant: Any, secret: Secret) -> None:
    _, plain = create_key(tenant.id, "chat only", ["chat"], secret=secret)

    response = await client.post(SESSION, json={"user": "u1"}, headers=bearer(plain))

    assert (response.status_code, response.json()["error"]) == (403, "forbidden")


async def test_a_revoked_or_expired_key_mints_nothing(
    client: httpx.AsyncClient, tenant: Any, secret: Secret, api_key: str
) -> None:
    revoke_key(str(public_id_of(api_key)))
    _, expired = create_key(tenant.id, "expired", ["session"], read_now() - 1, secret=secret)

    for plain in (api_key, expired):
        assert (await client.post(SESSION, json={"user": "u1"}, headers=bearer(plain))).status_code == 401


async def test_a_grant_is_changed_for_the_owners_token_as_often_as_the_page_is_loaded(
    client: httpx.AsyncClient, auth: Authenticator, api_key: str
) -> None:
    grant = auth.mint_grant()

    for _ in range(2):
        response = await client.post(GRANT, json={"grant": grant})
        assert response.status_code == 201
        assert response.json()["expires_in"] == 900
        assert (await auth.visitor(bearer(response.json()["token"]))).user == "owner"


async def test_a_grant_of_a_revoked_key_is_worth_nothing(
    client: httpx.AsyncClient, auth: Authenticator, api_key: str
) -> None:
    grant = auth.mint_grant()
    revoke_key(str(public_id_of(api_key)))

    assert (await client.post(GRANT, json={"grant": grant})).status_code == 401


@pytest.mark.parametrize("grant", ["", "x", "a.b", "é", "x" * 10_000, "\U0001f642"])
async def test_a_forged_grant_is_refused(client: httpx.AsyncClient, api_key: str, grant: str) -> None:
    response = await client.post(GRANT, json={"grant": grant})

    assert (response.status_code, response.json()["error"]) == (401, "unauthorized")


@pytest.mark.parametrize("body", [{}, {"grant": 1}, {"grant": None}, {"grant": "x", "user": "admin"}])
async def test_a_bad_grant_body_is_refused(client: httpx.AsyncClient, body: Any) -> None:
    assert (await client.post(GRANT, json=body)).status_code == 400


@pytest.mark.parametrize("path", [SESSION, GRANT])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_sessions_are_posted(client: httpx.AsyncClient, path: str, method: str) -> None:
    response = await client.request(method, path)

    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


async def test_no_log_holds_a_key_a_token_or_a_grant(
    client: httpx.AsyncClient, auth: Authenticator, api_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    grant = auth.mint_grant()
    answers = [
        await client.post(SESSION, json={"user": "u1"}, headers=bearer(api_key)),
        await client.post(GRANT, json={"grant": grant}),
        await client.post(
            GRANT, content=json.dumps({"grant": grant + "x"}), headers={"content-type": "application/json"}
        ),
    ]
    secrets = [api_key, grant, *(answer.json()["token"] for answer in answers[:2])]

    assert [answer.status_code for answer in answers] == [201, 201, 401]
    assert not any(secret[-20:] in caplog.text for secret in secrets)
