"""`/v1/chat`: what a server may ask, how it is answered, and whose answers these are."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from peewee import Database

from models.api_key import create_key
from models.database_threads import DatabaseThreads
from models.direct_request import decode
from models.ending import Ending, finish
from models.errors import (
    DeadlineExceeded,
    GenerationFailure,
    InternalFailure,
    ProviderAuthFailed,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderTimeout,
)
from models.event import EventId
from models.event_log import EventLog
from models.generation import Generation, Status, find
from models.route import Route
from models.secret import Secret
from models.settings import Settings
from models.signing import rotate, signing_secret
from streamer.app import routes, running_services
from streamer.services import Services
from streamer.signature import signature
from tests.models.rows import other_tenant, tenant_id
from tests.streamer.answers import Answer
from tests.streamer.conftest import bearer, client_of
from tests.streamer.eventually import eventually

CHAT = "/v1/chat"
HI: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
NOBODYS = "019c0000-0000-7000-8000-000000000000"
ROUTES = {
    "chat": Route(model="demo:echo", models=("demo:short",), max_input_tokens=50),
    "own": Route(model="demo:echo", models={"fast": "demo:short"}),
    "quick": Route(model="demo:echo", response_seconds=1),
}

Call = Callable[..., Any]


@pytest.fixture
async def services(live: Settings, database: Database) -> AsyncIterator[Services]:
    async with running_services(live) as services:
        await eventually(lambda: services.hub._subscription.up)
        yield replace(services, routes=ROUTES)


@pytest.fixture
async def client(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(routes, services) as client:
        yield client


@pytest.fixture
def key(tenant: Any, secret: Secret) -> str:
    return create_key(tenant.id, "server", ["chat"], secret=secret)[1]


@pytest.fixture
def post(client: httpx.AsyncClient, key: str) -> Call:
    """Posts as a server of the first tenant. `more`: headers."""

    async def post(body: Any, **more: str) -> httpx.Response:
        headers = bearer(key) | {name.replace("_", "-"): value for name, value in more.items()}
        return await client.post(CHAT, json=body, headers=headers)

    return post


@pytest.fixture
def begin(post: Call, threads: DatabaseThreads, log: EventLog) -> Call:
    """The worker's hand on what was asked asynchronously."""

    async def begin(body: Any = HI, **more: str) -> Answer:
        response = await post(body, prefer="respond-async", **more)
        assert response.status_code == 202, response.text
        row = await threads.run(find, response.json()["id"])
        assert row is not None
        return Answer(row, threads, log)

    return begin


async def answered(posting: "asyncio.Task[httpx.Response]", threads: DatabaseThreads, log: EventLog) -> httpx.Response:
    """What a POST under way gets once a worker's hand has answered."""
    await eventually(lambda: Generation.select().count() > 0)
    row = Generation.select().get()
    await Answer(row, threads, log).begun_and_finished("The answer.")
    return await posting


async def failed(answer: Answer, threads: DatabaseThreads, failure: GenerationFailure) -> None:
    await answer.begin()
    ending = Ending(status=Status.ERROR, failure=failure)
    run = answer.last.run
    terminal = EventId(run, 1)
    await threads.run(finish, answer.id, run, ending, terminal=terminal, text="", reasoning="", tool_calls=None)


async def test_a_call_is_held_until_its_answer_is_there(post: Call, threads: DatabaseThreads, log: EventLog) -> None:
    response = await answered(asyncio.create_task(post(HI)), threads, log)

    body = response.json()
    assert response.status_code == 200
    assert list(body) == [
        "id",
        "text",
        "tool_calls",
        "finish_reason",
        "usage",
        "provider",
        "model",
        "cost_usd",
        "cached",
        "latency_ms",
    ]
    assert (body["text"], body["finish_reason"], body["tool_calls"]) == ("The answer.", "stop", [])
    assert (body["provider"], body["model"], body["cost_usd"], body["cached"]) == ("demo", "echo", None, False)
    assert body["usage"] == {
        "prompt_tokens": 11,
        "completion_tokens": 3,
        "total_tokens": 14,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
    }
    assert response.headers["x-generation-id"] == body["id"]
    assert response.headers["location"] == f"/v1/chat/{body['id']}"
    assert response.headers["ratelimit-policy"] == "600;w=60"


async def test_the_row_keeps_what_was_asked_and_no_visitor(begin: Call) -> None:
    asked = {**HI, "system": "Be short.", "temperature": 1, "metadata": {"post": 7}, "unknown": True, "provider": None}
    row = await (await begin(asked)).row()

    kept = decode(row.request)
    assert (row.conversation, row.visitor, row.message, row.on_provider_broken) == (None, "", "", "restart")
    assert (kept.system, kept.temperature, kept.metadata) == ("Be short.", 1, {"post": 7})
    assert [(each.role, each.content) for each in kept.messages] == [("user", "hi")]


async def test_a_stream_keeps_a_broken_answer(begin: Call) -> None:
    assert (await (await begin({**HI, "stream": True})).row()).on_provider_broken == "keep_partial"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "content"),
        ({"messages": [{"role": "user"}]}, "`messages[0]` has no `content`"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "`tool_call_id`"),
        ({**HI, "temperature": "1"}, "temperature"),
        ({**HI, "temperature": 3}, "temperature"),
        ({**HI, "max_output_tokens": 0}, "max_output_tokens"),
        ({**HI, "stream": 1}, "stream"),
        ({**HI, "metadata": []}, "metadata"),
        ({**HI, "response_format": {"type": "json_schema"}}, "json_schema"),
        ({**HI, "route": "none"}, "`route`"),
    ],
)
async def test_what_is_wrong_is_named(post: Call, body: Any, words: str) -> None:
    response = await post(body)

    assert response.status_code == 400
    assert response.json()["error"] == "bad_request"
    assert words in response.json()["message"]
    assert Generation.select().count() == 0


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        ({}, "echo"),
        ({"provider": "demo:echo"}, "echo"),
        ({"provider": "demo:short"}, "short"),
        ({"provider": "fast", "route": "own"}, "short"),
        ({"provider": "demo:echo", "route": "own"}, "echo"),
    ],
)
async def test_a_server_may_ask_for_the_models_that_the_route_allows(
    begin: Call, asked: dict[str, str], model: str
) -> None:
    assert (await (await begin({**HI, **asked})).row()).model == model


@pytest.mark.parametrize(("provider", "route"), [("openai:gpt-4o", "chat"), ("demo:short", "own"), ("demo", "chat")])
async def test_any_other_model_is_refused_with_the_routes_key(post: Call, provider: str, route: str) -> None:
    response = await post({**HI, "provider": provider, "route": route})

    assert response.status_code == 400
    assert f"`routes.{route}.models`" in response.json()["message"]


async def test_messages_beyond_the_routes_tokens_are_too_large(post: Call) -> None:
    response = await post({"messages": [{"role": "user", "content": "word " * 60}]})

    assert (response.status_code, response.json()["error"]) == (413, "payload_too_large")
    assert "`routes.chat.max_input_tokens`" in response.json()["message"]


async def test_metadata_has_a_limit(post: Call) -> None:
    response = await post({**HI, "metadata": {"a": "x" * 16_384}})

    assert (response.status_code, "`metadata`" in response.json()["message"]) == (413, True)


async def test_a_body_beyond_its_limit_is_too_large(post: Call, services: Services) -> None:
    response = await post({**HI, "metadata": {"a": "x" * services.settings.max_direct_body_bytes}})

    assert response.status_code == 413


async def test_a_key_without_the_scope_is_refused(client: httpx.AsyncClient, api_key: str) -> None:
    for method, path in [("POST", CHAT), ("GET", f"{CHAT}/x"), ("POST", f"{CHAT}/x/cancel")]:
        assert (await client.request(method, path, json=HI, headers=bearer(api_key))).status_code == 403
        assert (await client.request(method, path, json=HI)).status_code == 401


async def test_what_was_asked_asynchronously_is_polled_and_cancelled(
    begin: Call, client: httpx.AsyncClient, key: str
) -> None:
    answer = await begin()
    path = f"{CHAT}/{answer.id}"
    polled = await client.get(path, headers=bearer(key))

    assert polled.status_code == 202
    assert polled.headers["retry-after"] == "1"
    assert polled.json() == {
        "id": answer.id,
        "status": "queued",
        "links": {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel"},
    }
    cancelled = await client.post(f"{path}/cancel", headers=bearer(key))
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    ended = await client.get(path, headers=bearer(key))
    assert (ended.status_code, ended.json()["finish_reason"], ended.json()["text"]) == (200, "cancelled", "")


async def test_a_partial_answer_is_an_answer_that_says_so(begin: Call, client: httpx.AsyncClient, key: str) -> None:
    answer = await begin()
    await answer.begin()
    await answer.say("half")
    await answer.finish(status=Status.INCOMPLETE)
    Generation.update(finish_reason="interrupted").where(Generation.id == answer.id).execute()

    body = (await client.get(f"{CHAT}/{answer.id}", headers=bearer(key))).json()
    assert (body["text"], body["finish_reason"]) == ("half", "interrupted")


async def test_nobody_else_finds_it(
    begin: Call, client: httpx.AsyncClient, key: str, secret: Secret, services: Services
) -> None:
    answer = await begin()
    stranger = create_key(tenant_id(other_tenant()), "other", ["chat"], secret=secret)[1]
    for who, id_ in [(stranger, answer.id), (key, NOBODYS)]:
        found = await client.get(f"{CHAT}/{id_}", headers=bearer(who))
        cancelled = await client.post(f"{CHAT}/{id_}/cancel", headers=bearer(who))
        assert (found.status_code, cancelled.status_code) == (404, 404)
        assert found.json()["error"] == "not_found"
    assert (await answer.row()).cancel_requested_at is None


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (ProviderAuthFailed(), 502),
        (ProviderTimeout(), 504),
        (DeadlineExceeded(), 504),
        (ProviderRateLimited(), 429),
        (ProviderOverloaded(), 503),
        (InternalFailure(), 500),
    ],
)
async def test_a_failure_is_told_by_its_status(
    begin: Call, client: httpx.AsyncClient, key: str, threads: DatabaseThreads, failure: GenerationFailure, status: int
) -> None:
    answer = await begin()
    await failed(answer, threads, failure)

    response = await client.get(f"{CHAT}/{answer.id}", headers=bearer(key))

    body = response.json()
    assert (response.status_code, body["error"], body["message"]) == (status, failure.code, failure.message)
    assert (body["id"], body["links"]["self"]) == (answer.id, f"{CHAT}/{answer.id}")
    assert ("retry-after" in response.headers) == (status in (429, 503))
    assert "x-signature" not in response.headers


async def test_a_call_is_held_for_the_routes_time_and_its_answer_goes_on(post: Call) -> None:
    response = await post({**HI, "route": "quick"})

    body = response.json()
    assert (response.status_code, body["error"]) == (504, "response_timeout")
    row = find(body["id"])
    assert row is not None
    assert (row.status, row.cancel_requested_at) == (Status.QUEUED, None)
    assert body["links"]["events"] == f"{CHAT}/{row.id}/events"


async def test_one_key_and_body_is_one_generation(begin: Call, post: Call) -> None:
    first = await begin(idempotency_key="k")
    again = await begin(idempotency_key="k")
    other = await post({**HI, "temperature": 0}, idempotency_key="k")

    assert again.id == first.id
    assert (other.status_code, other.json()["error"]) == (422, "idempotency_mismatch")
    await first.begun_and_finished("The answer.")
    assert (await post(HI, idempotency_key="k")).json()["id"] == first.id


async def test_requests_are_counted_by_key(
    client: httpx.AsyncClient, services: Services, key: str, tenant: Any, secret: Secret
) -> None:
    settings = replace(services.settings, max_key_requests=1)
    second_key = create_key(tenant.id, "second", ["chat"], secret=secret)[1]
    async with client_of(routes, replace(services, settings=settings)) as client:
        found = [
            await client.post(CHAT, json=HI, headers=bearer(each) | {"prefer": "respond-async"})
            for each in (key, key, second_key)
        ]

    assert [each.status_code for each in found] == [202, 429, 202]
    assert found[1].json()["limit"] == "requests"
    assert found[1].headers["ratelimit-limit"] == "1"


async def test_no_cache_asks_anew(begin: Call) -> None:
    assert (await (await begin(cache_control="no-cache")).row()).bypass_cache
    assert not (await (await begin()).row()).bypass_cache


async def test_a_result_is_signed_with_each_live_secret(
    begin: Call, client: httpx.AsyncClient, key: str, secret: Secret, tenant: Any
) -> None:
    answer = await begin()
    await answer.begun_and_finished()
    rotate(tenant.id, 60.0)

    response = await client.get(f"{CHAT}/{answer.id}", headers=bearer(key))

    seconds = int(response.headers["x-signature"].partition(",")[0].removeprefix("t="))
    secrets = [signing_secret(secret, tenant.public_id, version) for version in (2, 1)]
    assert response.headers["x-signature"] == signature(secrets, answer.id, response.content, seconds)
    assert response.headers["x-signature"].count("v1=") == 2


async def test_only_so_many_are_held_as_there_may_be_viewers(services: Services, key: str) -> None:
    settings = replace(services.settings, max_viewers=0)
    async with client_of(routes, replace(services, settings=settings)) as client:
        response = await client.post(CHAT, json=HI, headers=bearer(key))

    assert (response.status_code, response.json()["error"]) == (503, "overloaded")
    assert Generation.select().count() == 0


async def test_tool_calls_come_as_they_go_back(begin: Call, client: httpx.AsyncClient, key: str) -> None:
    answer = await begin()
    await answer.begun_and_finished()
    calls = [{"index": 0, "id": "call_1", "name": "look_up", "arguments": "{}"}]
    Generation.update(tool_calls=json.dumps(calls)).where(Generation.id == answer.id).execute()

    (call,) = (await client.get(f"{CHAT}/{answer.id}", headers=bearer(key))).json()["tool_calls"]

    assert call == {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
