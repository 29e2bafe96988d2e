"""What waits for its tenant's turn goes to the queue when it is told that an answer has ended."""

import asyncio
import dataclasses

import pytest

from models.admission import admit
from models.database_threads import DatabaseThreads
from models.dispatch import WAITS
from models.errors import Unavailable
from models.generation import Status
from models.settings import Settings
from tasks.broker import Queue
from tasks.dispatcher import Dispatcher
from tasks.end_tasks import end_tasks
from tests.models.rows import changed, request, reread
from tests.tasks.waiting import until

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(settings, max_in_broker_per_tenant=1)


async def test_the_next_is_enqueued_when_one_has_ended_whatever_went_wrong_before(
    settings: Settings,
    threads: DatabaseThreads,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [admit(request(), settings).generation for _ in range(3)]
    dispatcher = Dispatcher(settings, threads, queue)
    working = asyncio.create_task(dispatcher.run())

    dispatcher.wake()
    changed(rows[0], status=Status.CANCELLED, finished_at=1.0, terminal_id="1-1", finish_reason="cancelled")
    dispatcher.wake()
    await until(lambda: queue.length() == 1)

    def away(generation_id: str) -> None:
        raise Unavailable("The queue is away.")

    with monkeypatch.context() as patch:
        patch.setattr(queue, "enqueue", away)
        changed(rows[1], status=Status.CANCELLED, finished_at=1.0, terminal_id="1-1", finish_reason="cancelled")
        dispatcher.wake()
        await until(lambda: "waits on: The queue is away." in caplog.text)
    assert reread(rows[2]).enqueue_at < WAITS  # a sweeper enqueues it
    changed(rows[2], status=Status.CANCELLED, finished_at=1.0, terminal_id="1-1", finish_reason="cancelled")
    late = [admit(request(), settings).generation for _ in range(2)]
    changed(late[0], status=Status.CANCELLED, finished_at=1.0, terminal_id="1-1", finish_reason="cancelled")
    dispatcher.wake()
    await until(lambda: queue.length() == 2)
    await end_tasks(working)
