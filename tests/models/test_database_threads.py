"""The database threads: results and errors come back, an absent database is Unavailable, and health is remembered."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from peewee import IntegrityError, OperationalError

from models.database import database
from models.database_threads import SLOW_SECONDS, DatabaseHealth, DatabaseThreads
from models.errors import Unavailable
from models.tenant import Tenant, first_tenant
from tests.store import Lock


class Clock:
    """time.monotonic in a test's hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def impatient(lock: Lock) -> Iterator[DatabaseThreads]:
    """Threads whose statements wait for a lock no longer than a moment."""
    threads = DatabaseThreads(2)
    yield threads
    threads.close()


async def test_the_result_of_the_work_comes_back(threads: DatabaseThreads) -> None:
    tenant = await threads.run(first_tenant)

    assert await threads.run(Tenant.get_or_none, Tenant.public_id == tenant.public_id) == tenant


async def test_the_work_gets_its_arguments(threads: DatabaseThreads) -> None:
    assert await threads.run(divmod, 7, 2) == (3, 1)
    assert await threads.run(sorted, [1, 3, 2], reverse=True) == [3, 2, 1]


async def test_what_the_work_raises_comes_back_as_it_is(threads: DatabaseThreads) -> None:
    tenant = await threads.run(first_tenant)

    with pytest.raises(IntegrityError):
        await threads.run(Tenant.create, public_id=tenant.public_id, name="again", created_at=1.0)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 1, 0)


async def test_the_work_runs_in_threads_of_its_own_and_the_loop_goes_on(threads: DatabaseThreads) -> None:
    inside, let_go = threading.Event(), threading.Event()

    def wait() -> str:
        inside.set()
        assert let_go.wait(10)
        return threading.current_thread().name

    first, second = (asyncio.create_task(threads.run(wait)) for _ in range(2))
    await asyncio.to_thread(inside.wait, 10)
    let_go.set()

    assert {(await each).partition("_")[0] for each in (first, second)} == {"database"}


async def test_a_cancelled_caller_leaves_the_thread_to_others(threads: DatabaseThreads) -> None:
    inside, let_go = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert let_go.wait(10)

    caller = asyncio.create_task(threads.run(wait))
    await asyncio.to_thread(inside.wait, 10)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    let_go.set()

    assert await threads.run(divmod, 7, 2) == (3, 1)


async def test_a_locked_database_is_unavailable_and_then_there_again(impatient: DatabaseThreads, lock: Lock) -> None:
    lock.take()
    with pytest.raises(Unavailable) as caught:
        await impatient.run(first_tenant)
    lock.give()

    assert caught.value.retry_after_seconds > 0
    assert isinstance(caught.value.__cause__, OperationalError)
    assert (await impatient.run(first_tenant)).name == "default"


async def test_work_that_failed_within_a_transaction_leaves_none_open(impatient: DatabaseThreads, lock: Lock) -> None:
    def half(then: Any) -> None:
        with database.atomic():
            Tenant.create(public_id="ten_half", name="half", created_at=1.0)
            then()

    def away() -> None:
        raise OperationalError("disk I/O error")

    with pytest.raises(Unavailable):
        await impatient.run(half, away)
    lock.take()
    lock.give()

    assert await impatient.run(Tenant.get_or_none, Tenant.public_id == "ten_half") is None


async def test_a_failure_makes_the_health_begin_anew(impatient: DatabaseThreads, lock: Lock) -> None:
    began = time.monotonic()
    lock.take()
    with pytest.raises(Unavailable):
        await impatient.run(first_tenant)
    lock.give()

    assert impatient.health.healthy_seconds() <= time.monotonic() - began


async def test_a_refusal_of_the_rules_is_no_failure_of_the_database(threads: DatabaseThreads) -> None:
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 1, 0)

    assert threads.health.healthy_seconds() >= time.monotonic() - began


def test_the_same_can_be_done_in_the_callers_thread(threads: DatabaseThreads) -> None:
    def away() -> None:
        raise OperationalError("away")

    assert threads.call(divmod, 7, 2) == (3, 1)
    with pytest.raises(Unavailable):
        threads.call(away)


@pytest.mark.usefixtures("database")
def test_closing_ends_every_thread_and_its_connection() -> None:
    before = threading.active_count()
    threads = DatabaseThreads(3)
    threads.call(first_tenant)
    threads.close()

    assert threading.active_count() == before
    with pytest.raises(RuntimeError):
        asyncio.run(threads.run(first_tenant))


def test_a_new_process_has_been_healthy_for_no_time(clock: Clock) -> None:
    health = DatabaseHealth()
    assert health.healthy_seconds() == 0

    clock.seconds += 9
    assert health.healthy_seconds() == 9


@pytest.mark.parametrize(
    ("took_seconds", "failed", "healthy_seconds"),
    [(0.0, False, 9.0), (SLOW_SECONDS, False, 9.0 + SLOW_SECONDS), (SLOW_SECONDS + 0.5, False, 0.0), (0.0, True, 0.0)],
)
def test_slow_and_failed_work_makes_the_health_begin_anew(
    clock: Clock, took_seconds: float, failed: bool, healthy_seconds: float
) -> None:
    health = DatabaseHealth()
    clock.seconds += 9
    started = clock.seconds
    clock.seconds += took_seconds

    health.record(started, failed=failed)

    assert health.healthy_seconds() == healthy_seconds
