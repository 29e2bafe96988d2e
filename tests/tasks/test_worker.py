"""A worker process as it is run: it answers, and when it is told to stop it ends what it can and hands on the rest."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.database_threads import DatabaseThreads
from models.ending import terminal_event
from models.errors import SettingInvalid
from models.event import Frame
from models.event_log import EventLog
from models.generation import Generation, Status
from models.ownership import request_cancel
from models.periodic import Worker
from models.provider_call import ProviderCall
from models.redis_address import broker_url
from models.settings import Settings
from models.transcript import transcript_of_run
from tasks.broker import Queue
from tasks.worker import WorkerState
from tests.fakes.openai_server import Answer, FakeOpenAI
from tests.models.rows import queued, reread
from tests.store import Lock
from tests.tasks.waiting import frames_of, until

ROOT = Path(__file__).parents[2]
PROGRAM = """
import logging, sys
from models.settings import Settings
from tasks.worker import work
logging.basicConfig(level=logging.INFO)
sys.exit(work(Settings.from_environ()))
"""


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, fake: FakeOpenAI) -> Settings:
    return Settings(
        data=str(tmp_path), redis_url=redis_url, openai_base_url=fake.url, openai_api_key="sk-test", worker_threads=4
    )


class WorkerProcess:
    """The process, which is ready; `drain_seconds` is what it gives its generations when it stops."""

    def __init__(self, settings: Settings, drain_seconds: float) -> None:
        environ = {
            "STREAMER_DATA": settings.data,
            "REDIS_URL": settings.redis_url,
            "OPENAI_BASE_URL": settings.openai_base_url,
            "OPENAI_API_KEY": settings.openai_api_key,
            "STREAMER_WORKER_THREADS": "4",
            "STREAMER_WORKER_DRAIN_SECONDS": str(drain_seconds),
            "STREAMER_RENEW_SECONDS": "0.2",
            "STREAMER_CACHE_SECONDS": "0",
        }
        self.log = Path(settings.data) / "worker.log"
        with self.log.open("wb") as output:
            command = [sys.executable, "-c", PROGRAM]
            self.started_at = time.monotonic()
            self.process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environ, stdout=output, stderr=output)

    async def ready(self) -> None:
        await until(lambda: self.process.poll() is not None or "is ready for" in self.log.read_text())
        assert self.process.poll() is None, self.log.read_text()

    async def stopped(self, by: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Its exit code after the signal, and the seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(by)
        code = await asyncio.to_thread(self.process.wait, 30)
        return code, time.monotonic() - began

    def said(self) -> str:
        return self.log.read_text()


@pytest.fixture
async def start(settings: Settings, database: Any) -> Any:
    """Starts workers: `await start(drain_seconds)`."""
    started: list[WorkerProcess] = []

    async def one(drain_seconds: float) -> WorkerProcess:
        started.append(WorkerProcess(settings, drain_seconds))
        await started[-1].ready()
        return started[-1]

    yield one
    for worker in started:
        with contextlib.suppress(ProcessLookupError):
            worker.process.kill()
        worker.process.wait(10)


@pytest.fixture
def queue(settings: Settings) -> Iterator[Queue]:
    found = Queue(broker_url(settings))
    yield found
    found.close()


def words(count: int = 20, prompt: str = "hello") -> str:
    return "".join(FakeOpenAI.words(prompt, count))


async def has_text(log: EventLog, row: Generation, text: str) -> list[Frame]:
    return await frames_of(log, row.id, lambda found: transcript_of_run(found, row.run + 1).text == text)


async def ended(log: EventLog, row: Generation) -> Generation:
    """The row, once its end is said."""
    found = await until(lambda: reread(row) if reread(row).terminal_published else None)
    assert found is not None
    assert (await log.read(row.id))[-1] == terminal_event(found)
    return found


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_worker_stops_at_once(start: Any, by: signal.Signals) -> None:
    worker = await start(60.0)
    await until(lambda: Worker.select().count() == 1)

    code, seconds = await worker.stopped(by)

    assert (code, Worker.select().count()) == (0, 0)
    assert seconds < 30
    assert "Traceback" not in worker.said()


async def test_what_is_sent_is_answered_and_what_runs_when_the_worker_stops_may_end(
    start: Any, settings: Settings, queue: Queue, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(), Answer(fault="hold", at=3))
    first, last = queued(settings), queued(settings)
    worker = await start(60.0)
    queue.enqueue(first.id)
    row = await ended(log, first)
    assert (row.status, row.text, row.crashes) == (Status.DONE, words(), 0)

    queue.enqueue(last.id)
    await has_text(log, last, words(3))
    worker.process.send_signal(signal.SIGTERM)
    await until(lambda: "stopping: 1 generations" in worker.said())
    await until(lambda: Worker.select().get().slots == 1)  # the one that it still fills
    late = queued(settings)
    queue.enqueue(late.id)
    fake.release()
    code = await asyncio.to_thread(worker.process.wait, 30)

    row = await ended(log, last)
    assert (code, row.status, row.text) == (0, Status.DONE, words())
    assert (reread(late).status, reread(late).run) == (Status.QUEUED, 0)
    assert (await asyncio.to_thread(queue.length)) >= 1  # a sweeper may have sent it once more meanwhile
    assert "Traceback" not in worker.said()


async def test_a_worker_that_must_stop_hands_on_what_runs_and_another_begins_it_anew(
    start: Any, settings: Settings, queue: Queue, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="hang", at=3))
    row = queued(settings)
    worker = await start(0.1)
    queue.enqueue(row.id)
    await has_text(log, row, words(3))

    code, seconds = await worker.stopped()

    found = reread(row)
    assert (code, found.status, found.run, found.crashes) == (0, Status.QUEUED, 1, 0)
    assert seconds < 30
    await fake.until(lambda: fake.open == 0)
    assert [line.outcome for line in ProviderCall.select()] == ["cancelled"]

    await start(0.1)  # its sweeper sends what waits
    found = await ended(log, row)
    assert (found.status, found.run, found.crashes, found.text) == (Status.DONE, 2, 0, words())


async def test_another_ctrl_c_ends_the_drain(
    start: Any, settings: Settings, queue: Queue, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="hang", at=3))
    row = queued(settings)
    worker = await start(60.0)
    queue.enqueue(row.id)
    await has_text(log, row, words(3))

    worker.process.send_signal(signal.SIGINT)
    await until(lambda: "stopping: 1 generations" in worker.said())
    worker.process.send_signal(signal.SIGTERM)  # changes nothing
    while worker.process.poll() is None:  # what comes at once counts as the same Ctrl-C
        assert time.monotonic() - worker.started_at < 50, "it drains on"
        worker.process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.01)

    found = reread(row)
    assert (worker.process.returncode, found.status, found.run, found.crashes) == (0, Status.QUEUED, 1, 0)
    assert "Traceback" not in worker.said()


async def test_a_cancel_reaches_the_worker_before_its_next_renewal(
    start: Any, settings: Settings, queue: Queue, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="hang", at=3))
    row = queued(settings)
    await start(0.1)
    queue.enqueue(row.id)
    await has_text(log, row, words(3))

    request_cancel(row.id)
    await log.nudge_cancel(row.id)

    found = await ended(log, row)
    assert (found.status, found.text) == (Status.CANCELLED, words(3))
    await fake.until(lambda: fake.open == 0)


async def test_a_generation_that_breaks_off_is_logged_and_left_to_the_sweeper(
    settings: Settings, lock: Lock, caplog: pytest.LogCaptureFixture
) -> None:
    row = queued(settings)
    threads = DatabaseThreads(1)
    queue = Queue(broker_url(settings))
    state = WorkerState(settings, threads, queue)
    lock.take()

    await state.generate(row.id)

    lock.give()
    assert f"generation {row.id} broke off" in caplog.text
    assert "hello" not in caplog.text
    assert reread(row).status == Status.QUEUED
    await state.close()
    queue.close()
    threads.close()


# What is told before anything runs


def test_a_route_whose_provider_will_not_do_is_told_at_the_start(settings: Settings, threads: DatabaseThreads) -> None:
    (settings.data_path / "streamer.toml").write_text('[routes.chat]\nmodel = "unheard_of:model"')

    with contextlib.closing(Queue(broker_url(settings))) as queue, pytest.raises(SettingInvalid, match="unheard_of"):
        WorkerState(settings, threads, queue)
