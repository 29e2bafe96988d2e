"""The limits as a client of POST meets them: counted, told in headers, and refused with a time at which to come back."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from peewee import Database

from models.generation import Generation, Status
from models.route import Route
from models.settings import Settings
from streamer import chat, session
from streamer.app import running_services
from streamer.auth import Authenticator, Server
from streamer.services import Services
from tests.streamer.conftest import bearer, client_of

CHAT = "/ai/v1/chat"

Post = Callable[..., Any]


@pytest.fixture
def live(live: Settings) -> Settings:
    return dataclasses.replace(live, max_requests=3, request_window_seconds=60.0)


@pytest.fixture
async def services(live: Settings, database: Database, api_key: str) -> AsyncIterator[Services]:
    async with running_services(live) as services:
        yield dataclasses.replace(
            services, routes={"chat": Route(model="demo:echo"), "one": Route(model="demo:echo", max_requests=1)}
        )


@pytest.fixture
async def client(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of([*session.routes, *chat.routes], services) as client:
        yield client


@pytest.fixture
async def server(auth: Authenticator, api_key: str) -> Server:
    return await auth.server(bearer(api_key))


@pytest.fixture
def post(client: httpx.AsyncClient, auth: Authenticator, server: Server) -> Post:
    """Posts, as visitor u1 unless another is named."""

    async def post(message: str = "hello", *, user: str = "u1", key: str = "", **body: Any) -> httpx.Response:
        headers = bearer(auth.mint_token(server, user, (), 900)[0]) | ({"idempotency-key": key} if key else {})
        return await client.post(CHAT, json={"message": message, **body}, headers=headers)

    return post


def told(response: httpx.Response) -> tuple[int, str, str, str]:
    """Status, limit, what remains, policy."""
    headers = response.headers
    assert 1 <= int(headers["ratelimit-reset"]) <= 60
    return (
        response.status_code,
        headers["ratelimit-limit"],
        headers["ratelimit-remaining"],
        headers["ratelimit-policy"],
    )


async def test_every_answer_tells_what_is_left_until_one_is_refused_with_the_time_to_wait(post: Post) -> None:
    assert [told(await post()) for _ in range(3)] == [(202, "3", str(left), "3;w=60") for left in (2, 1, 0)]

    refused = await post()

    assert told(refused) == (429, "3", "0", "3;w=60")
    body = refused.json()
    assert (body["error"], body["limit"], body["retry_after"]) == (
        "rate_limited",
        "requests",
        int(refused.headers["ratelimit-reset"]),
    )
    assert refused.headers["retry-after"] == refused.headers["ratelimit-reset"]
    assert body["message"] == f"3 requests in 60 s are allowed here; try again in {body['retry_after']} s."
    assert Generation.select().count() == 3


async def test_visitors_and_routes_have_windows_of_their_own(post: Post) -> None:
    for _ in range(3):
        await post()

    assert (await post()).status_code == 429
    assert (await post(user="u2")).status_code == 202
    assert told(await post(route="one")) == (202, "1", "0", "1;w=60")
    assert told(await post(route="one")) == (429, "1", "0", "1;w=60")


async def test_of_many_at_once_exactly_the_limit_is_let_in(post: Post) -> None:
    responses = await asyncio.gather(*(post() for _ in range(20)))

    assert sorted(response.status_code for response in responses) == [202] * 3 + [429] * 17
    assert Generation.select().count() == 3


async def test_a_known_idempotency_key_is_answered_with_its_generation_when_the_window_is_full(post: Post) -> None:
    first = await post(key="k")
    for _ in range(2):
        await post()

    again = await post(key="k")

    assert told(again) == (202, "3", "0", "3;w=60")
    assert again.json()["id"] == first.json()["id"]
    assert (await post("another", key="k")).status_code == 422
    assert (await post(key="new")).status_code == 429


async def test_a_repeated_request_takes_no_place(post: Post) -> None:
    first = await post(key="k")

    assert [told(await post(key="k")) for _ in range(4)] == [(202, "3", "2", "3;w=60")] * 4
    assert told(first) == (202, "3", "2", "3;w=60")


async def test_what_is_refused_for_another_reason_takes_no_place(post: Post) -> None:
    await post(conversation_id="c", key="k")

    assert (await post(conversation_id="c")).status_code == 409
    assert (await post("another", key="k")).status_code == 422
    assert told(await post()) == (202, "3", "1", "3;w=60")


class TestAnswersUnderWay:
    @pytest.fixture
    def live(self, live: Settings) -> Settings:
        return dataclasses.replace(live, max_requests=30, max_open_per_visitor=2, max_open_per_tenant=3)

    async def test_of_a_visitor_are_limited(self, post: Post) -> None:
        for _ in range(2):
            await post()

        refused = await post()

        assert told(refused) == (429, "30", "28", "30;w=60")
        assert (refused.json()["limit"], refused.headers["retry-after"]) == ("visitor_generations", "5")
        Generation.update(status=Status.DONE).execute()
        assert told(await post()) == (202, "30", "27", "30;w=60")

    async def test_of_a_tenant_are_limited(self, post: Post) -> None:
        for user in ("a", "b", "c"):
            await post(user=user)

        refused = await post(user="d")

        assert told(refused) == (429, "30", "30", "30;w=60")
        assert refused.json()["limit"] == "tenant_generations"
