"""A report: all parts of it, and each that is away is a null that the checks name."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from peewee import Database

from models.errors import Unavailable
from models.periodic import beat
from models.settings import Settings
from streamer import status_report
from streamer.app import running_services
from streamer.presence import Presence
from streamer.services import Services
from streamer.status_report import Look
from tasks.broker import Queue
from tests.streamer.answers import Answer
from tests.streamer.eventually import eventually


@pytest.fixture
async def services(live: Settings, database: Database, api_key: str) -> AsyncIterator[Services]:
    async with running_services(live) as services:
        await eventually(lambda: services.hub._subscription.up)
        yield services


async def test_everything_is_told(services: Services, log: Any) -> None:
    beat("worker_a", "host", 1, 1)
    answer = await Answer.begun(services.settings, services.threads, log)
    await services.enqueue(answer.id)
    other = Presence(services.client, lambda: 4)
    await other.beat()
    viewer = await services.hub.join(answer.id, None)
    await eventually(lambda: _said(services))

    report = await services.board._report()

    services.hub.leave(viewer)
    assert (report.checks.database, report.checks.redis, report.checks.queue) == ("ok", "ok", "ok")
    assert report.answers is not None
    assert (report.answers.queued, report.answers.running) == (0, 1)
    assert report.queue_messages == 1
    assert (report.viewers.here, report.viewers.everywhere, report.viewers.processes) == (1, 5, 2)
    assert report.failures is not None
    assert report.workers is not None
    assert [each.id for each in report.workers.listed] == ["worker_a"]


async def _said(services: Services) -> bool:
    return bool(await services.client.scard("web") == 2)


async def test_what_is_away_is_null(
    live: Settings, database: Database, api_key: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_services(replace(live, redis_url=f"unix://{tmp_path}/nothing.sock")) as services:

        async def away(*_: Any) -> None:
            raise Unavailable

        monkeypatch.setattr(type(services.threads), "run", away)
        report = await services.board._report()

    assert (report.checks.database, report.checks.redis, report.checks.queue) == ("away", "away", "away")
    assert (report.answers, report.failures, report.workers, report.queue_messages) == (None, None, None, None)
    assert (report.viewers.here, report.viewers.everywhere, report.viewers.processes) == (0, None, None)


async def test_a_part_that_hangs_is_asked_once_and_waited_for_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_report, "LOOK_SECONDS", 0.01)
    gate, asked = asyncio.Event(), 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await gate.wait()
        return asked

    look = Look(ask)
    assert await look.result() is None
    assert await look.result() is None
    gate.set()
    monkeypatch.setattr(status_report, "LOOK_SECONDS", 60.0)
    assert await look.result() == 1
    assert await look.result() == 2


async def test_what_hangs_ends_with_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_report, "LOOK_SECONDS", 0.01)
    look = Look(asyncio.Event().wait)
    assert await look.result() is None
    asking = look._asking
    await look.close()
    assert asking is not None
    assert asking.cancelled()


async def test_the_queue_is_asked_in_its_own_threads(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Queue) -> int:
        raise Unavailable

    monkeypatch.setattr(Queue, "length", away)
    report = await services.board._report()

    assert (report.checks.queue, report.queue_messages, report.checks.redis) == ("away", None, "ok")
