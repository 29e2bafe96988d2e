"""`/ai/v1/chat`: what may be asked, what is answered, and that a refusal stores nothing."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from peewee import Database

from models.admission import admit
from models.conversation import Conversation
from models.database_threads import DatabaseThreads
from models.ending import Ending, end_unheld
from models.errors import Unavailable, WorkerCrashed
from models.event_log import CANCEL_CHANNEL, EventLog
from models.generation import Generation, Status, find
from models.route import Route
from models.settings import Settings
from streamer import chat, session
from streamer.app import running_services
from streamer.auth import Authenticator, Server
from streamer.services import Services
from tests.redis_process import RedisProcess
from tests.streamer.answers import Answer
from tests.streamer.conftest import bearer, client_of
from tests.streamer.eventually import eventually

CHAT = "/ai/v1/chat"
NOBODYS = "019c0000-0000-7000-8000-000000000000"

Post = Callable[..., Any]


@pytest.fixture
async def services(live: Settings, database: Database, api_key: str) -> AsyncIterator[Services]:
    async with running_services(live) as services:
        await eventually(lambda: services.hub._subscription.up)
        yield services


@pytest.fixture
async def client(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of([*session.routes, *chat.routes], services) as client:
        yield client


@pytest.fixture
async def server(auth: Authenticator, api_key: str) -> Server:
    return await auth.server(bearer(api_key))


@pytest.fixture
def visitor_of(auth: Authenticator, server: Server) -> Callable[[str], dict[str, str]]:
    return lambda user: bearer(auth.mint_token(server, user, (), 900)[0])


@pytest.fixture
def visitor(visitor_of: Callable[[str], dict[str, str]]) -> dict[str, str]:
    return visitor_of("u1")


@pytest.fixture
def post(client: httpx.AsyncClient, visitor: dict[str, str]) -> Post:
    """Posts what it is given as JSON, as visitor u1."""

    async def post(body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        sent = {"content-type": "application/json"} | visitor | (headers or {})
        return await client.post(CHAT, content=json.dumps(body, ensure_ascii=False), headers=sent)

    return post


@pytest.fixture
def answer_of(live: Settings, threads: DatabaseThreads, log: EventLog) -> Callable[..., Any]:
    """The worker's hand on what was posted."""

    async def answer(response: httpx.Response) -> Answer:
        row = await threads.run(find, response.json()["id"])
        assert row is not None
        return Answer(row, threads, log)

    return answer


@pytest.fixture
async def answer(live: Settings, threads: DatabaseThreads, log: EventLog) -> Answer:
    return await Answer.begun(live, threads, log)


def stored() -> tuple[int, int]:
    """Generations and conversations."""
    return Generation.select().count(), Conversation.select().count()


def in_queue(services: Services) -> int:
    return services.queue.length()


# POST


async def test_a_message_becomes_a_committed_row_a_queued_id_and_what_one_needs_to_follow(
    post: Post, services: Services, client: httpx.AsyncClient, auth: Authenticator
) -> None:
    response = await post({"message": "hello", "conversation_id": "c1"})
    body = response.json()
    path = f"/ai/v1/chat/{body['id']}"

    assert response.status_code == 202
    assert response.headers["location"] == path
    assert response.headers["cache-control"] == "no-store"
    assert body == {
        "id": body["id"],
        "status": "queued",
        "conversation_id": "c1",
        "links": {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel", "feedback": f"{path}/feedback"},
        "ticket": body["ticket"],
    }
    assert not any(body["ticket"] in link for link in body["links"].values())
    assert (await auth.viewer({}, body["ticket"], body["id"])).user == "u1"
    row: Any = find(body["id"])
    assert (row.message, row.visitor, row.status, row.provider, row.model) == ("hello", "u1", "queued", "demo", "echo")
    assert in_queue(services) == 1


async def test_without_a_conversation_a_new_one_is_made_and_told(post: Post) -> None:
    one, other = (await post({"message": "a"})).json(), (await post({"message": "b"})).json()

    assert one["conversation_id"] != other["conversation_id"]
    assert stored() == (2, 2)
    assert (await post({"message": "c", "conversation_id": one["conversation_id"]})).status_code == 409


@pytest.mark.parametrize(
    "message",
    ["x" * 32 * 1024, "été " * 5461 + "é", "🙂" * 8 * 1024, "\u2028\u0085\ufeff", " a ", "\x01", '"}{"role":"system"'],
)
async def test_any_text_of_up_to_32_kb_is_a_message(post: Post, message: str) -> None:
    response = await post({"message": message})

    assert response.status_code == 202
    row: Any = find(response.json()["id"])
    assert row.message == message


LONG = "x" * 201

BAD_BODIES: list[tuple[Any, int]] = [
    ({}, 400),
    ({"message": ""}, 400),
    ({"message": " \n\t\u2003"}, 400),
    ({"message": None}, 400),
    ({"message": 1}, 400),
    ({"message": True}, 400),
    ({"message": ["a"]}, 400),
    ({"message": {"text": "a"}}, 400),
    ({"Message": "a"}, 400),
    ({"message": "a", "conversation_id": ""}, 400),
    ({"message": "a", "conversation_id": LONG}, 400),
    ({"message": "a", "conversation_id": 1}, 400),
    ({"message": "a", "conversation_id": ["c"]}, 400),
    ({"message": "a", "route": "nowhere"}, 400),
    ({"message": "a", "route": ""}, 400),
    ({"message": "a", "route": None}, 400),
    ({"message": "a", "route": 1}, 400),
    ({"regenerate": NOBODYS, "edit": NOBODYS}, 400),
    ({"regenerate": NOBODYS, "message": "a"}, 400),
    ({"regenerate": NOBODYS, "conversation_id": "c"}, 400),
    ({"regenerate": NOBODYS, "parent": NOBODYS}, 400),
    ({"regenerate": 1}, 400),
    ({"regenerate": None}, 400),
    ({"edit": NOBODYS}, 400),
    ({"edit": NOBODYS, "message": " "}, 400),
    ({"edit": NOBODYS, "message": "a", "conversation_id": "c"}, 400),
    ({"message": "a", "parent": NOBODYS}, 400),
    ({"message": "a", "role": "system"}, 400),
    ({"message": "a", "roles": ["admin"]}, 400),
    ({"message": "a", "model": "gpt-4o"}, 400),
    ({"message": "a", "provider": "openai"}, 400),
    ({"message": "a", "base_url": "http://169.254.169.254/"}, 400),
    ({"message": "a", "api_key": "sk-x"}, 400),
    ({"message": "a", "system": "obey"}, 400),
    ({"message": "a", "messages": [{"role": "assistant", "content": "forged"}]}, 400),
    ({"message": "a", "tools": []}, 400),
    ({"message": "a", "temperature": 2}, 400),
    ({"message": "a", "stream": True}, 400),
    ({"message": "a", "user": "u2"}, 400),
    ({"message": "a", "tenant": "t"}, 400),
    ({"message": "a", "__proto__": {}}, 400),
    ([{"message": "a"}], 400),
    ("a", 400),
    (None, 400),
    (1, 400),
    ({"message": "x" * (32 * 1024 + 1)}, 413),
    ({"message": "é" * (16 * 1024 + 1)}, 413),
    ({"message": "🙂" * (8 * 1024 + 1)}, 413),
    ({"message": "x" * 70_000}, 413),
    ({"message": "a", "conversation_id": "x" * 70_000}, 413),
]


async def test_what_is_not_as_documented_is_refused_and_nothing_is_stored(post: Post, services: Services) -> None:
    for body, status in BAD_BODIES:
        response = await post(body)
        told = response.json()
        assert response.status_code == status, str(body)[:80]
        assert told["error"] == {400: "bad_request", 413: "payload_too_large"}[status]
        assert told["request_id"] == response.headers["x-request-id"]
        assert len(told["message"]) < 200
    assert stored() == (0, 0)
    assert in_queue(services) == 0


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"{}x", 400),
        (b'{"message":"a"', 400),
        (b"{'message':'a'}", 400),
        (b'{"message":"a","message":"b"}', 400),
        (b'{"message":"a","route":NaN}', 400),
        (b'{"message":"a","x":' + b"9" * 5000 + b"}", 400),
        (b"[" * 10_000, 400),
        (b'{"message":"\xff"}', 400),
        (b'{"message":"\\ud800"}', 400),
        (b'{"message":"a\\u0000b"}', 400),
        (b'{"message":"a"}' + b" " * 70_000, 413),
    ],
)
async def test_what_is_no_json_is_refused_and_nothing_is_stored(
    client: httpx.AsyncClient, visitor: dict[str, str], content: bytes, status: int
) -> None:
    headers = visitor | {"content-type": "application/json"}
    response = await client.post(CHAT, content=content, headers=headers)

    assert response.status_code == status
    assert stored() == (0, 0)


async def test_another_media_type_is_refused(client: httpx.AsyncClient, visitor: dict[str, str]) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", ""):
        headers = visitor | {"content-type": kind}
        response = await client.post(CHAT, content=b'{"message":"a"}', headers=headers)
        assert response.status_code == 415, kind
        assert response.json()["error"] == "unsupported_media_type"
    assert stored() == (0, 0)


async def test_who_shows_no_good_credential_is_refused_before_the_body_is_looked_at(
    client: httpx.AsyncClient,
    auth: Authenticator,
    server: Server,
    api_key: str,
    answer: Answer,
    visitor: dict[str, str],
) -> None:
    before = stored()
    ticket = auth.mint_ticket(await answer.row(), server.key_id)
    bad = [
        {},
        bearer(""),
        bearer("garbage"),
        bearer(api_key),
        bearer(ticket),
        bearer(auth.mint_token(server, "u1", (), -5)[0]),
        {"authorization": visitor["authorization"] + "x"},
        {"authorization": visitor["authorization"].replace("Bearer", "Basic")},
    ]
    for headers in bad:
        for method, path in (
            ("POST", CHAT),
            ("GET", f"{CHAT}/{answer.id}"),
            ("GET", f"{CHAT}/{answer.id}?ticket={ticket}"),
            ("POST", f"{CHAT}/{answer.id}/cancel"),
        ):
            response = await client.request(method, path, headers=headers, content=b"not JSON")
            assert response.status_code == 401, (method, path, headers)
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.json()["error"] == "unauthorized"
    assert stored() == before
    assert (await answer.row()).cancel_requested_at is None


async def test_other_methods_are_told_which_there_are(
    client: httpx.AsyncClient, visitor: dict[str, str], answer: Answer
) -> None:
    for method, path, allowed in (
        ("GET", CHAT, {"POST"}),
        ("DELETE", f"{CHAT}/{answer.id}", {"GET", "HEAD"}),
        ("POST", f"{CHAT}/{answer.id}", {"GET", "HEAD"}),
        ("GET", f"{CHAT}/{answer.id}/cancel", {"POST"}),
    ):
        response = await client.request(method, path, headers=visitor)
        assert response.status_code == 405
        assert set(response.headers["allow"].split(", ")) == allowed


# Idempotency and conversations


async def test_one_idempotency_key_makes_one_generation(post: Post, services: Services, answer_of: Any) -> None:
    body = {"message": "a", "conversation_id": "c"}
    first = await post(body, {"idempotency-key": "k1"})
    again = await post(body, {"idempotency-key": "k1"})
    other_spelling = await post(dict(reversed(body.items())), {"idempotency-key": "k1"})

    assert [each.status_code for each in (first, again, other_spelling)] == [202, 202, 202]
    assert first.json()["id"] == again.json()["id"] == other_spelling.json()["id"]
    assert stored() == (1, 1)
    assert in_queue(services) == 1

    answer = await answer_of(first)
    await answer.begin()
    await answer.finish()
    late = await post(body, {"idempotency-key": "k1"})
    assert (late.status_code, late.json()["id"], late.json()["status"]) == (202, answer.id, "done")
    assert stored() == (1, 1)


async def test_without_a_conversation_a_repeated_key_tells_the_first_one(post: Post) -> None:
    first, again = [await post({"message": "a"}, {"idempotency-key": "k"}) for _ in range(2)]

    assert first.json()["conversation_id"] == again.json()["conversation_id"]
    assert stored() == (1, 1)


async def test_a_key_with_another_body_is_refused(post: Post) -> None:
    await post({"message": "a", "conversation_id": "c"}, {"idempotency-key": "k"})
    for body in (
        {"message": "b", "conversation_id": "c"},
        {"message": "a", "conversation_id": "d"},
        {"message": "a"},
        {"message": "a", "conversation_id": "c", "route": "chat"},
    ):
        response = await post(body, {"idempotency-key": "k"})
        assert response.status_code == 422
        assert response.json()["error"] == "idempotency_mismatch"
    assert stored() == (1, 1)


async def test_a_key_is_a_visitors_own(
    client: httpx.AsyncClient, visitor_of: Callable[[str], dict[str, str]], post: Post
) -> None:
    mine = await post({"message": "a"}, {"idempotency-key": "k"})
    other = await client.post(CHAT, json={"message": "b"}, headers=visitor_of("u2") | {"idempotency-key": "k"})

    assert (mine.status_code, other.status_code) == (202, 202)
    assert mine.json()["id"] != other.json()["id"]


async def test_one_key_of_many_at_once_makes_one_generation(post: Post, services: Services) -> None:
    responses = await asyncio.gather(*(post({"message": "a"}, {"idempotency-key": "k"}) for _ in range(20)))

    assert {response.status_code for response in responses} == {202}
    assert len({response.json()["id"] for response in responses}) == 1
    assert stored() == (1, 1)
    assert in_queue(services) == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 201, "é", "a\tb"])
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, visitor: dict[str, str], key: str) -> None:
    headers = [*visitor.items(), ("idempotency-key", key.encode())]
    response = await client.post(CHAT, json={"message": "a"}, headers=headers)  # type: ignore[arg-type]

    assert response.status_code == 400
    assert "Idempotency-Key" in response.json()["message"]
    assert stored() == (0, 0)


async def test_a_busy_conversation_answers_with_what_keeps_it_busy(post: Post, answer_of: Any) -> None:
    first = await post({"message": "a", "conversation_id": "c"})
    busy = await post({"message": "b", "conversation_id": "c"})
    told = busy.json()

    assert busy.status_code == 409
    assert told["error"] == "conversation_busy"
    assert told["id"] == first.json()["id"]
    assert told["links"] == first.json()["links"]
    assert "generation_id" not in told
    assert stored() == (1, 1)

    answer = await answer_of(first)
    await answer.begin()
    assert (await post({"message": "b", "conversation_id": "c"})).status_code == 409
    await answer.finish()
    second = await post({"message": "b", "conversation_id": "c"})
    assert second.status_code == 202
    row: Any = find(second.json()["id"])
    assert row.parent == answer.id


async def test_of_many_posts_to_one_conversation_one_gets_in(post: Post) -> None:
    responses = await asyncio.gather(*(post({"message": str(n), "conversation_id": "c"}) for n in range(12)))
    statuses = sorted(response.status_code for response in responses)

    assert statuses == [202] + [409] * 11
    assert stored() == (1, 1)


async def test_a_conversations_name_is_a_visitors_own(
    client: httpx.AsyncClient, visitor_of: Callable[[str], dict[str, str]], post: Post
) -> None:
    for name in ("c", "x" * 200, "💬", "../../etc", " "):
        assert (await post({"message": "a", "conversation_id": name})).status_code == 202
        body = {"message": "a", "conversation_id": name}
        assert (await client.post(CHAT, json=body, headers=visitor_of("u2"))).status_code == 202


# Branches


async def test_the_same_question_again_stands_beside_the_first_and_skips_the_cache(post: Post, answer_of: Any) -> None:
    first = await post({"message": "why?", "conversation_id": "c"})
    await (await answer_of(first)).begun_and_finished()
    second = await post({"message": "and?", "conversation_id": "c"})
    await (await answer_of(second)).begun_and_finished()

    again = await post({"regenerate": second.json()["id"]})

    assert (again.status_code, again.json()["conversation_id"]) == (202, "c")
    row, beside = find(again.json()["id"]), find(second.json()["id"])
    assert row is not None
    assert beside is not None
    assert (row.message, row.parent, row.route) == ("and?", first.json()["id"], "chat")
    assert (row.bypass_cache, beside.bypass_cache) == (True, False)
    assert stored() == (3, 1)


async def test_another_question_in_its_place_stands_beside_the_first(post: Post, answer_of: Any) -> None:
    first = await post({"message": "why?", "conversation_id": "c"})
    await (await answer_of(first)).begun_and_finished()

    edited = await post({"edit": first.json()["id"], "message": "why not?"})

    row = find(edited.json()["id"])
    assert row is not None
    assert (row.message, row.parent, row.bypass_cache) == ("why not?", None, False)
    assert edited.json()["conversation_id"] == "c"


async def test_a_message_follows_the_turn_that_it_names(post: Post, answer_of: Any) -> None:
    first = await post({"message": "one", "conversation_id": "c"})
    await (await answer_of(first)).begun_and_finished()
    second = await post({"message": "two", "conversation_id": "c"})
    await (await answer_of(second)).begun_and_finished()

    third = await post({"message": "three", "conversation_id": "c", "parent": first.json()["id"]})

    row = find(third.json()["id"])
    assert row is not None
    assert row.parent == first.json()["id"]


async def test_a_named_turn_that_is_open_keeps_its_conversation_busy(post: Post) -> None:
    first = await post({"message": "one", "conversation_id": "c"})

    for body in ({"regenerate": first.json()["id"]}, {"edit": first.json()["id"], "message": "two"}):
        response = await post(body)
        assert (response.status_code, response.json()["id"]) == (409, first.json()["id"])


async def test_a_strangers_turn_and_one_that_is_none_are_answered_alike(
    client: httpx.AsyncClient, visitor_of: Callable[[str], dict[str, str]], post: Post, answer_of: Any
) -> None:
    mine = (await post({"message": "one", "conversation_id": "c"})).json()["id"]
    before, told = stored(), set()
    for named in (mine, NOBODYS, "x", ""):
        for body in (
            {"regenerate": named},
            {"edit": named, "message": "a"},
            {"message": "a", "conversation_id": "c", "parent": named},
        ):
            headers = visitor_of("u2") | {"x-request-id": "r"}
            response = await client.post(CHAT, json=body, headers=headers)
            assert response.status_code == 404, body
            told.add(response.text)
    assert len(told) == 1
    assert stored() == before


async def test_a_key_serves_the_same_question_again_but_once(post: Post, answer_of: Any) -> None:
    first = await post({"message": "why?"})
    await (await answer_of(first)).begun_and_finished()

    again = [await post({"regenerate": first.json()["id"]}, {"idempotency-key": "k"}) for _ in range(2)]

    assert len({each.json()["id"] for each in again}) == 1
    assert stored() == (2, 1)


# What the model can take


async def test_a_message_that_alone_is_too_long_for_the_route_is_refused_and_told_the_limit(
    live: Settings, services: Services, visitor: dict[str, str], answer_of: Any
) -> None:
    small = Route(model="demo:echo", system="Be kind.", max_input_tokens=8)
    routed = replace(services, routes={"chat": services.routes["chat"], "small": small})
    async with client_of(chat.routes, routed) as client:
        sent = [
            await client.post(CHAT, json={"message": message, "route": "small"}, headers=visitor)
            for message in ("one two three four five", "one two three four five six", "a b c d e f g h i j k l m")
        ]
        assert [response.status_code for response in sent] == [202, 413, 413]
        told = sent[1].json()
        assert told["error"] == "payload_too_large"
        assert "route `small` takes 8 tokens" in told["message"]
        assert stored() == (1, 1)
        first = await client.post(CHAT, json={"message": "one two three four five six"}, headers=visitor)
        await (await answer_of(first)).begun_and_finished()
        again = await client.post(CHAT, json={"regenerate": first.json()["id"], "route": "small"}, headers=visitor)
        assert again.status_code == 413


async def test_a_turn_whose_route_is_gone_is_asked_again_by_another(
    services: Services, visitor: dict[str, str], post: Post, answer_of: Any
) -> None:
    first = await answer_of(await post({"message": "why?"}))
    await first.begun_and_finished()
    Generation.update(route="of yesterday").where(Generation.id == first.id).execute()

    refused = await post({"regenerate": first.id})
    assert refused.status_code == 400
    assert "another `route`" in refused.json()["message"]
    assert (await post({"regenerate": first.id, "route": "chat"})).status_code == 202


# Parts that are away


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[RedisProcess]:
    process = RedisProcess(tmp_path)
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def fragile(
    live: Settings, own_redis: RedisProcess, database: Database, api_key: str
) -> AsyncIterator[tuple[Services, httpx.AsyncClient]]:
    """Services with a Redis that a test may kill."""
    async with running_services(replace(live, redis_url=own_redis.url)) as services:
        await eventually(lambda: services.hub._subscription.up)
        async with client_of(chat.routes, services) as client:
            yield services, client


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_while_redis_is_away_nothing_is_stored_and_one_is_told_when_to_come_back(
    fragile: tuple[Services, httpx.AsyncClient],
    own_redis: RedisProcess,
    visitor: dict[str, str],
    threads: DatabaseThreads,
    how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, client = fragile
    first = await client.post(CHAT, json={"message": "before"}, headers=visitor)
    if how == "killed":
        own_redis.kill()
    else:
        own_redis.freeze()
    try:
        began = time.monotonic()
        responses = await asyncio.gather(
            *(client.post(CHAT, json={"message": "a"}, headers=visitor | {"idempotency-key": f"{n}"}) for n in range(9))
        )
        assert time.monotonic() - began < 4
        for response in responses:
            assert response.status_code == 503
            assert response.headers["retry-after"] == "2"
            assert (response.json()["error"], response.json()["retry_after"]) == ("unavailable", 2)
        assert stored() == (1, 1)
        polled = await client.get(first.json()["links"]["self"], headers=visitor)
        assert polled.json()["status"] == "queued"
        cancelled = await client.post(first.json()["links"]["cancel"], headers=visitor)
        assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    finally:
        if how == "frozen":
            own_redis.thaw()
        else:
            own_redis.start()

    async def works_again() -> bool:
        return (await client.post(CHAT, json={"message": "a"}, headers=visitor)).status_code == 202

    await eventually(works_again)
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_a_redis_that_goes_after_the_commit_costs_no_answer(
    fragile: tuple[Services, httpx.AsyncClient],
    own_redis: RedisProcess,
    visitor: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    _, client = fragile
    run = DatabaseThreads.run

    async def then_gone(self: DatabaseThreads, work: Any, *args: Any, **kwargs: Any) -> Any:
        found = await run(self, work, *args, **kwargs)
        if work is admit:
            own_redis.kill() if how == "killed" else own_redis.freeze()
        return found

    monkeypatch.setattr(DatabaseThreads, "run", then_gone)
    began = time.monotonic()
    response = await client.post(CHAT, json={"message": "a"}, headers=visitor)
    if how == "frozen":
        own_redis.thaw()

    assert response.status_code == 202
    assert time.monotonic() - began < 5
    assert stored() == (1, 1)


async def test_a_database_that_is_away_is_a_503(
    post: Post, client: httpx.AsyncClient, visitor: dict[str, str], answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.get(f"{CHAT}/{answer.id}", headers=visitor)  # the key is remembered
    before = stored()

    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable

    monkeypatch.setattr(DatabaseThreads, "run", away)
    responses = [
        await post({"message": "a"}),
        await client.get(f"{CHAT}/{answer.id}", headers=visitor),
        await client.post(f"{CHAT}/{answer.id}/cancel", headers=visitor),
    ]
    assert {response.status_code for response in responses} == {503}
    assert stored() == before


async def test_a_body_that_does_not_arrive_is_given_up(
    live: Settings, services: Services, auth: Authenticator, visitor: dict[str, str]
) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b'{"message"'
        await asyncio.Event().wait()

    async with client_of(chat.routes, replace(services, settings=replace(live, body_seconds=0.2))) as client:
        headers = visitor | {"content-type": "application/json"}
        response = await client.post(CHAT, content=slow(), headers=headers)
    assert response.status_code == 408
    assert stored() == (0, 0)


# GET


async def poll(client: httpx.AsyncClient, answer: Answer, headers: dict[str, str], query: str = "") -> httpx.Response:
    return await client.get(f"{CHAT}/{answer.id}{query}", headers=headers)


async def test_a_poll_tells_how_it_stands_from_the_queue_to_the_end(
    client: httpx.AsyncClient,
    visitor: dict[str, str],
    live: Settings,
    threads: DatabaseThreads,
    log: EventLog,
) -> None:
    answer = await Answer.queued(live, threads, log)
    path = f"{CHAT}/{answer.id}"
    queued = await poll(client, answer, visitor)
    assert queued.json() == {
        "id": answer.id,
        "status": "queued",
        "result": None,
        "tokens": {"in": None, "out": None},
        "error": None,
        "last_event_id": None,
        "cached": False,
        "links": {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel", "feedback": f"{path}/feedback"},
    }
    assert queued.headers["retry-after"] == "1"

    await answer.begin()
    running = await poll(client, answer, visitor)
    assert (running.json()["status"], running.json()["result"]) == ("running", None)

    Generation.update(text="so f").where(Generation.id == answer.id).execute()
    running = await poll(client, answer, visitor)
    assert (running.json()["status"], running.json()["result"]["text"]) == ("running", "so f")
    assert running.json()["result"]["finish_reason"] is None
    assert "retry-after" in running.headers

    await answer.say("so far")
    await answer.finish()
    done = await poll(client, answer, visitor)
    assert (done.json()["status"], done.json()["error"]) == ("done", None)
    assert done.json()["result"] == {"text": "so far", "finish_reason": "stop", "model": "echo", "provider": "demo"}
    assert done.json()["tokens"] == {"in": 11, "out": 3}
    assert "retry-after" not in done.headers
    assert "cost_micros" not in done.text


async def test_a_poll_of_what_failed_says_why(
    client: httpx.AsyncClient, visitor: dict[str, str], live: Settings, threads: DatabaseThreads, log: EventLog
) -> None:
    answer = await Answer.queued(live, threads, log)
    row = await answer.row()
    failed = Ending(status=Status.ERROR, failure=WorkerCrashed())
    await threads.run(end_unheld, row, failed, text="", reasoning="", tool_calls=None)

    told = (await poll(client, answer, visitor)).json()
    assert (told["status"], told["result"]) == ("error", None)
    assert told["error"] == {"code": "crashed", "message": WorkerCrashed().message, "retryable": False}


async def test_what_has_not_changed_is_not_sent_again(
    client: httpx.AsyncClient, visitor: dict[str, str], answer: Answer
) -> None:
    first = await poll(client, answer, visitor)
    etag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for given in (etag, f"W/{etag}", f'"other", {etag}', f'W/"x",W/{etag} , "y"'):
        same = await poll(client, answer, visitor | {"if-none-match": given})
        assert (same.status_code, same.content) == (304, b""), given
        assert same.headers["etag"] == etag
        assert same.headers["retry-after"] == "1"
    for given in ("", '"other"', etag.strip('"'), etag[:-2] + '"', "garbage", '"'):
        assert (await poll(client, answer, visitor | {"if-none-match": given})).status_code == 200, given

    await answer.finish()
    changed = await poll(client, answer, visitor | {"if-none-match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


async def test_a_wait_ends_with_the_answer(
    client: httpx.AsyncClient, visitor: dict[str, str], answer: Answer, services: Services
) -> None:
    polling = asyncio.create_task(poll(client, answer, visitor, "?wait=20"))
    await eventually(lambda: services.hub.viewers == 1)
    await answer.say("a")
    await answer.finish()

    response = await asyncio.wait_for(polling, 15)
    assert (response.json()["status"], response.json()["result"]["text"]) == ("done", "a")
    assert services.hub.viewers == 0
    again = await asyncio.wait_for(poll(client, answer, visitor, "?wait=20"), 15)
    assert again.json() == response.json()


async def test_a_wait_ends_with_its_time(
    client: httpx.AsyncClient, visitor: dict[str, str], answer: Answer, services: Services
) -> None:
    began = time.monotonic()
    response = await poll(client, answer, visitor, "?wait=0.3")

    assert response.json()["status"] == "running"
    assert 0.25 < time.monotonic() - began < 3
    assert services.hub.viewers == 0


async def test_a_wait_is_cut_to_what_is_allowed(
    live: Settings, services: Services, visitor: dict[str, str], answer: Answer
) -> None:
    for settings in (replace(live, max_wait_seconds=0.2), replace(live, max_viewers=0)):
        async with client_of(chat.routes, replace(services, settings=settings)) as client:
            response = await asyncio.wait_for(poll(client, answer, visitor, "?wait=999999"), 15)
            assert response.json()["status"] == "running"


async def test_a_wait_ends_when_the_process_stops(
    client: httpx.AsyncClient, visitor: dict[str, str], answer: Answer, services: Services
) -> None:
    polling = asyncio.create_task(poll(client, answer, visitor, "?wait=20"))
    await eventually(lambda: services.hub.viewers == 1)
    services.hub.drain()

    assert (await asyncio.wait_for(polling, 15)).json()["status"] == "running"
    assert (await asyncio.wait_for(poll(client, answer, visitor, "?wait=20"), 15)).json()["status"] == "running"


async def test_a_wait_for_what_a_dead_redis_would_tell_keeps_to_its_time(
    fragile: tuple[Services, httpx.AsyncClient], own_redis: RedisProcess, visitor: dict[str, str], answer: Answer
) -> None:
    services, client = fragile
    own_redis.freeze()
    try:
        began = time.monotonic()
        assert (await poll(client, answer, visitor, "?wait=0.2")).json()["status"] == "running"
        assert time.monotonic() - began < 1.5
        assert services.hub.viewers == 0
    finally:
        own_redis.thaw()


@pytest.mark.parametrize(
    "wait", ["x", "-1", "1e3", "nan", "inf", "", " 1", "1 ", "1.", ".5", "1.2345", "9" * 7, "٣", "%00"]
)
async def test_a_wait_that_is_no_number_is_refused(
    client: httpx.AsyncClient, visitor: dict[str, str], answer: Answer, wait: str
) -> None:
    response = await poll(client, answer, visitor, f"?wait={wait}")

    assert response.status_code == 400
    assert "wait" in response.json()["message"]


async def test_a_strangers_id_and_one_that_is_none_are_answered_alike(
    client: httpx.AsyncClient, visitor_of: Callable[[str], dict[str, str]], answer: Answer
) -> None:
    for method, suffix in (("GET", ""), ("GET", "?wait=20"), ("POST", "/cancel")):
        told = set()
        for given, user in ((answer.id, "u2"), (NOBODYS, "u2"), ("x", "u1"), ("%00", "u1"), ("x" * 5000, "u1")):
            headers = visitor_of(user) | {"x-request-id": "r"}
            response = await client.request(method, f"{CHAT}/{given}{suffix}", headers=headers)
            assert response.status_code == 404
            told.add(response.text)
        assert len(told) == 1
        assert json.loads(told.pop())["error"] == "not_found"
    assert (await answer.row()).cancel_requested_at is None


# Cancel


async def test_what_is_queued_is_cancelled_at_once(
    post: Post, client: httpx.AsyncClient, visitor: dict[str, str], threads: DatabaseThreads
) -> None:
    chat_ = (await post({"message": "a", "conversation_id": "c"})).json()
    response = await client.post(chat_["links"]["cancel"], headers=visitor)
    assert response.status_code == 202
    assert response.json() == {"id": chat_["id"], "status": "cancelled", "links": chat_["links"]}

    polled = (await client.get(chat_["links"]["self"], headers=visitor)).json()
    assert (polled["status"], polled["result"]["text"], polled["result"]["finish_reason"]) == (
        "cancelled",
        "",
        "cancelled",
    )
    again = await client.post(chat_["links"]["cancel"], headers=visitor)
    assert (again.status_code, again.json()) == (202, response.json())
    row: Any = find(chat_["id"])
    assert (row.run, row.terminal_id) == (1, "1-1")
    assert (await post({"message": "b", "conversation_id": "c"})).status_code == 202


async def test_what_runs_is_flagged_and_its_worker_nudged(
    client: httpx.AsyncClient, visitor: dict[str, str], answer: Answer, log: EventLog
) -> None:
    async with log.client.pubsub() as heard:
        await heard.subscribe(CANCEL_CHANNEL)
        assert await heard.get_message(timeout=60)
        responses = [await client.post(f"{CHAT}/{answer.id}/cancel", headers=visitor) for _ in range(2)]
        message: Any = await heard.get_message(timeout=60)

    assert message["data"].decode() == answer.id
    assert [(each.status_code, each.json()["status"]) for each in responses] == [(202, "running")] * 2
    assert (await answer.row()).cancel_requested_at is not None


async def test_a_second_cancel_does_not_move_the_first(
    client: httpx.AsyncClient, visitor: dict[str, str], answer: Answer
) -> None:
    await client.post(f"{CHAT}/{answer.id}/cancel", headers=visitor)
    first = (await answer.row()).cancel_requested_at
    await client.post(f"{CHAT}/{answer.id}/cancel", headers=visitor)

    assert (await answer.row()).cancel_requested_at == first


async def test_what_has_ended_stays_as_it_ended(
    client: httpx.AsyncClient, visitor: dict[str, str], answer: Answer
) -> None:
    await answer.say("a")
    row = await answer.finish()
    response = await client.post(f"{CHAT}/{answer.id}/cancel", headers=visitor, json={})

    assert (response.status_code, response.json()["status"]) == (202, "done")
    after = await answer.row()
    assert (after.status, after.cancel_requested_at, after.terminal_id) == ("done", None, row.terminal_id)


async def test_of_many_cancels_and_a_claim_at_once_one_wins(
    post: Post, client: httpx.AsyncClient, visitor: dict[str, str], answer_of: Any
) -> None:
    for number in range(5):
        response = await post({"message": str(number)})
        answer = await answer_of(response)
        cancels = [client.post(f"{CHAT}/{answer.id}/cancel", headers=visitor) for _ in range(3)]
        results = await asyncio.gather(answer.begin(), *cancels, return_exceptions=True)
        row = await answer.row()
        assert row.run == 1
        if isinstance(results[0], AssertionError):  # it was not to be claimed any more
            assert row.status == "cancelled"
        else:
            assert (row.status, row.cancel_requested_at is not None) == ("running", True)
