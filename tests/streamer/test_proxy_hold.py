"""A caller of `/v1/chat` that is held, and what becomes of the answer where it hangs up, before the real server."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from peewee import Database

from models.api_key import create_key
from models.database_threads import DatabaseThreads
from models.event_log import EventLog, channel_name
from models.generation import Generation, Status
from models.secret import Secret
from models.settings import Settings
from tests.streamer.answers import Answer
from tests.streamer.conftest import bearer
from tests.streamer.eventually import eventually
from tests.streamer.frames import parse, shown
from tests.streamer.web_server import WebServer, web_server

HI: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def web(live: Settings, database: Database) -> AsyncIterator[WebServer]:
    async with web_server(replace(live, hang_up_seconds=0.2)) as web:
        yield web


@pytest.fixture
async def client(web: WebServer, tenant: Any, secret: Secret) -> AsyncIterator[httpx.AsyncClient]:
    key = create_key(tenant.id, "server", ["chat"], secret=secret)[1]
    async with httpx.AsyncClient(base_url=web.url, headers=bearer(key), timeout=10) as client:
        yield client


async def held(web: WebServer, posting: "asyncio.Task[httpx.Response]") -> Generation:
    """What a POST under way began, once the call is held."""
    await eventually(lambda: web.hub.viewers == 1 or posting.done())
    row: Generation = Generation.select().get()
    return row


async def hang_up(posting: "asyncio.Task[httpx.Response]") -> None:
    posting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await posting


@pytest.fixture
def left(caplog: pytest.LogCaptureFixture) -> Callable[[], bool]:
    """Whether a call whose caller hung up is over, the grace included."""
    caplog.set_level(logging.INFO, "streamer.access")
    return lambda: any(" 499 " in record.getMessage() for record in caplog.records)


def cancel_asked(row: Generation) -> bool:
    return Generation.get_by_id(row.id).cancel_requested_at is not None


@pytest.mark.parametrize("body", [HI, {**HI, "stream": True}])
async def test_hanging_up_cancels(web: WebServer, client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    posting = asyncio.create_task(client.post("/v1/chat", json=body))
    row = await held(web, posting)
    await hang_up(posting)

    await eventually(lambda: cancel_asked(row))
    assert Generation.get_by_id(row.id).status == Status.CANCELLED


async def test_what_ends_within_the_grace_is_kept(
    web: WebServer, client: httpx.AsyncClient, threads: DatabaseThreads, log: EventLog
) -> None:
    posting = asyncio.create_task(client.post("/v1/chat", json=HI))
    row = await held(web, posting)
    await Answer(row, threads, log).begun_and_finished("The answer.")
    await hang_up(posting)
    await eventually(lambda: web.hub.viewers == 0)

    found = await client.get(f"/v1/chat/{row.id}")
    assert (found.json()["text"], found.json()["finish_reason"]) == ("The answer.", "stop")


async def test_another_viewer_keeps_it(
    web: WebServer, client: httpx.AsyncClient, threads: DatabaseThreads, log: EventLog, left: Callable[[], bool]
) -> None:
    posting = asyncio.create_task(client.post("/v1/chat", json=HI))
    row = await held(web, posting)
    async with client.stream("GET", f"/v1/chat/{row.id}/events") as watching:
        await eventually(lambda: web.hub.viewers == 2)
        await hang_up(posting)
        await eventually(left)

        assert not cancel_asked(row)
        await Answer(row, threads, log).begun_and_finished("The answer.")
        assert shown(parse(b"".join([piece async for piece in watching.aiter_raw()]))) == "The answer."


async def test_a_viewer_of_another_process_keeps_it(
    web: WebServer, client: httpx.AsyncClient, log: EventLog, left: Callable[[], bool]
) -> None:
    posting = asyncio.create_task(client.post("/v1/chat", json=HI))
    row = await held(web, posting)
    async with log.client.pubsub() as elsewhere:
        await elsewhere.subscribe(channel_name(row.id))
        await eventually(lambda: web.hub.viewers == 1)
        assert await log.listeners(row.id) == 2
        await hang_up(posting)
        await eventually(left)

    assert not cancel_asked(row)


async def test_nobody_has_to_stay_for_an_asynchronous_answer(web: WebServer, client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/chat", json=HI, headers={"prefer": "respond-async", "connection": "close"})

    assert web.hub.viewers == 0
    assert not cancel_asked(Generation.get_by_id(response.json()["id"]))


async def test_a_process_that_stops_lets_its_callers_go_and_the_answers_on(
    web: WebServer, client: httpx.AsyncClient
) -> None:
    posting = asyncio.create_task(client.post("/v1/chat", json=HI))
    row = await held(web, posting)
    web.hub.drain()
    response = await posting

    assert (response.status_code, response.json()["id"]) == (504, row.id)
    assert not cancel_asked(row)
