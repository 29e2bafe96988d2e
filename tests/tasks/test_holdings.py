"""What a worker holds: renewed with its text, told of losses and cancels, given up at the end."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import redis.asyncio

from models.database import read_now
from models.database_threads import DatabaseThreads
from models.event import ToolCall
from models.event_log import EventLog, connect_redis
from models.generation import Generation, Status
from models.ownership import Held, claim, request_cancel
from models.periodic import Worker
from models.settings import Settings
from tasks import holdings as holdings_module
from tasks.end_tasks import end_tasks
from tasks.holdings import Holding, Holdings, Stop
from tasks.log_writer import LogWriter
from tasks.publisher import Publisher
from tests.models.rows import changed, pass_seconds, reread, running
from tests.store import Lock
from tests.tasks.waiting import until

NEVER_SECONDS = 3600.0


@contextlib.asynccontextmanager
async def going(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs what never ends while the block runs."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await end_tasks(task)


@pytest.fixture
def often(settings: Settings) -> Settings:
    """Renewals every few milliseconds."""
    return dataclasses.replace(settings, renew_seconds=0.01)


@pytest.fixture
def seldom(settings: Settings) -> Settings:
    """A renewal now and then none for an hour."""
    return dataclasses.replace(settings, renew_seconds=NEVER_SECONDS)


@pytest.fixture
def holdings(often: Settings, threads: DatabaseThreads) -> Holdings:
    return Holdings(often, threads)


@pytest.fixture
async def publish(settings: Settings, writer: LogWriter) -> AsyncIterator[Callable[[Holding, Generation], Publisher]]:
    """Gives a holding a publisher of its row."""
    made: list[Publisher] = []

    def one(holding: Holding, row: Generation) -> Publisher:
        async def ours() -> bool:
            return True

        holding.publisher = Publisher(row, writer, settings, ours)
        holding.publisher.start("openai", "gpt-4o-mini", None)
        made.append(holding.publisher)
        return holding.publisher

    yield one
    for publisher in made:
        await publisher.stop()


async def stopped(holding: Holding) -> Stop | None:
    async with asyncio.timeout(60):
        await holding.stopped.wait()
    return holding.stop


# Renewing


async def test_a_lease_is_renewed_as_long_as_it_is_held(
    holdings: Holdings, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = running(settings)
    pass_seconds(monkeypatch, settings.lease_seconds - 1)
    with holdings.hold(row):
        async with going(holdings.renew_forever()):
            await until(lambda: reread(row).lease_until > row.lease_until)

    assert reread(row).lease_until > read_now() + settings.lease_seconds - 2


async def test_the_text_so_far_is_stored_with_the_lease(
    holdings: Holdings, settings: Settings, publish: Callable[[Holding, Generation], Publisher]
) -> None:
    row = running(settings)
    with holdings.hold(row) as holding:
        publisher = publish(holding, row)
        async with going(holdings.renew_forever()):
            publisher.text("so ")
            await until(lambda: reread(row).text == "so ")
            publisher.reasoning("hm")
            publisher.text("far")
            publisher.tool_call(ToolCall(index=0, id="call", name="find", arguments="{}"))
            await until(lambda: reread(row).text == "so far")
            await until(lambda: reread(row).checkpoint_id == str(publisher.last))

    stored = reread(row)
    assert (stored.reasoning, stored.tool_call_list[0]["name"]) == ("hm", "find")


async def test_a_text_that_did_not_change_is_not_stored_again(
    settings: Settings, database: Any, publish: Callable[[Holding, Generation], Publisher]
) -> None:
    row = running(settings)
    holding = Holding(row.id, row.run)
    assert holding.held() == Held(row.id, 1)

    publisher = publish(holding, row)
    publisher.tool_call(ToolCall(index=0, id="a", name="b", arguments="{}"))
    first, second = holding.held(), holding.held()
    publisher.tool_call(ToolCall(index=0, arguments="!"))
    third = holding.held()

    assert (first.text, first.checkpoint_id) == ("", "1-1")
    assert second == Held(row.id, 1)
    assert third.checkpoint_id == "1-2"


async def test_from_the_first_attempt_to_finish_on_no_text_is_stored(
    settings: Settings, database: Any, publish: Callable[[Holding, Generation], Publisher]
) -> None:
    row = running(settings)
    holding = Holding(row.id, row.run)
    publish(holding, row).tool_call(ToolCall(index=0))
    holding.frozen = True

    assert holding.held() == Held(row.id, 1)


async def test_a_generation_that_somebody_else_claimed_is_lost(
    holdings: Holdings, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, kept = running(settings), running(settings)
    with holdings.hold(lost) as holding, holdings.hold(kept) as other:
        pass_seconds(monkeypatch, settings.lease_seconds + 1)
        claim(lost.id, "another", settings.lease_seconds, judge_leases=True)
        async with going(holdings.renew_forever()):
            assert await stopped(holding) is Stop.LOST
            await until(lambda: reread(kept).lease_until > read_now())

    assert other.stop is None


async def test_a_generation_that_was_ended_by_others_is_lost(holdings: Holdings, settings: Settings) -> None:
    row = running(settings)
    with holdings.hold(row) as holding:
        changed(row, status=Status.CANCELLED)
        async with going(holdings.renew_forever()):
            assert await stopped(holding) is Stop.LOST


async def test_a_cancel_is_brought_back_by_the_renewal(holdings: Holdings, settings: Settings) -> None:
    row, other_row = running(settings), running(settings)
    with holdings.hold(row) as holding, holdings.hold(other_row) as other:
        request_cancel(row.id)
        async with going(holdings.renew_forever()):
            assert await stopped(holding) is Stop.CANCELLED

    assert other.stop is None


async def test_a_database_that_is_away_stops_nothing_and_gets_the_text_later(
    often: Settings, lock: Lock, publish: Callable[[Holding, Generation], Publisher]
) -> None:
    row = running(often)
    threads = DatabaseThreads(1)
    holdings = Holdings(often, threads)
    with holdings.hold(row) as holding:
        publisher = publish(holding, row)
        lock.take()
        publisher.text("said meanwhile")
        async with going(holdings.renew_forever()):
            await until(lambda: publisher.transcript.text != "" and threads.health.healthy_seconds() < 0.005)
            healthy_before = threads.health._healthy_since
            await until(lambda: threads.health._healthy_since > healthy_before)  # one more renewal failed
            assert holding.stop is None
            lock.give()
            await until(lambda: reread(row).text == "said meanwhile")
    threads.close()


async def test_the_holders_next_run_is_renewed_and_not_taken_for_a_loss(holdings: Holdings, settings: Settings) -> None:
    row = running(settings)
    with holdings.hold(row) as holding:
        async with going(holdings.renew_forever()):
            for run in range(2, 40):
                with holding.next_run() as move_to:
                    changed(row, run=run)
                    await asyncio.sleep(0)
                    move_to(run)
                await until(lambda: reread(row).lease_until > 0)
            changed(row, lease_until=0.0)
            await until(lambda: reread(row).lease_until > 0)

    assert (holding.run, holding.stop) == (39, None)


# Cancelled at once


async def beats(holdings: Holdings) -> float:
    found = Worker.get_or_none(Worker.id == holdings.worker)
    return 0.0 if found is None else float(found.heartbeat_at)


@pytest.fixture
async def listening(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect_redis(redis_url, timeout_seconds=None, connections=2) as client:
        yield client


async def test_a_nudge_brings_a_cancel_at_once(
    seldom: Settings, threads: DatabaseThreads, log: EventLog, listening: redis.asyncio.Redis
) -> None:
    holdings = Holdings(seldom, threads)
    row = running(seldom)
    with holdings.hold(row) as holding:
        async with going(holdings.listen_forever(listening)):
            await until(holdings._now.is_set)  # it listens
            holdings._now.clear()
            async with going(holdings.renew_forever()):
                await until(lambda: beats(holdings))  # the first renewal is over; the next would come in an hour
                request_cancel(row.id)
                await log.nudge_cancel(row.id)

                assert await stopped(holding) is Stop.CANCELLED


async def test_a_nudge_for_what_others_hold_makes_no_work(
    seldom: Settings, threads: DatabaseThreads, log: EventLog, listening: redis.asyncio.Redis
) -> None:
    asked: list[object] = []

    class Held(dict[str, Holding]):
        def __contains__(self, key: object) -> bool:
            asked.append(key)
            return super().__contains__(key)

    holdings = Holdings(seldom, threads)
    holdings._held = Held()
    row = running(seldom)
    with holdings.hold(row):
        async with going(holdings.listen_forever(listening)):
            await until(holdings._now.is_set)
            holdings._now.clear()
            await log.nudge_cancel("of another")
            await until(lambda: "of another" in asked)
            assert not holdings._now.is_set()

            await log.nudge_cancel(row.id)
            await until(holdings._now.is_set)


async def test_a_cancel_that_nobody_heard_is_found_once_the_subscription_is_back(
    seldom: Settings,
    threads: DatabaseThreads,
    log: EventLog,
    listening: redis.asyncio.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(holdings_module, "RESUBSCRIBE_SECONDS", 0.01)
    holdings = Holdings(seldom, threads)
    row = running(seldom)
    with holdings.hold(row) as holding:
        async with going(holdings.listen_forever(listening)):
            await until(holdings._now.is_set)
            holdings._now.clear()
            async with going(holdings.renew_forever()):
                await until(lambda: beats(holdings))
                request_cancel(row.id)
                assert await log.client.client_kill_filter(_type="pubsub") == 1

                assert await stopped(holding) is Stop.CANCELLED


async def test_listening_begins_anew_however_often_it_breaks(
    seldom: Settings,
    threads: DatabaseThreads,
    log: EventLog,
    listening: redis.asyncio.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(holdings_module, "RESUBSCRIBE_SECONDS", 0.01)
    holdings = Holdings(seldom, threads)
    async with going(holdings.listen_forever(listening)):
        for _ in range(5):
            await until(holdings._now.is_set)
            holdings._now.clear()
            await until(lambda: log.client.client_kill_filter(_type="pubsub"))
        await until(holdings._now.is_set)


# Why a holder stops


def test_the_first_reason_to_stop_counts_but_a_loss_overrides_any() -> None:
    found = []
    for reasons in ((Stop.CANCELLED, Stop.DRAINING), (Stop.DRAINING, Stop.CANCELLED), (Stop.CANCELLED, Stop.LOST)):
        holding = Holding("id", 1)
        for reason in reasons:
            holding.stop_for(reason)
        assert holding.stopped.is_set()
        found.append(holding.stop)

    assert found == [Stop.CANCELLED, Stop.DRAINING, Stop.LOST]


async def test_what_is_held_is_counted_until_nothing_is(holdings: Holdings, settings: Settings) -> None:
    with holdings.hold(running(settings)):
        with holdings.hold(running(settings)):
            assert len(holdings) == 2
        assert len(holdings) == 1

    assert len(holdings) == 0


async def test_what_broke_off_is_held_no_more(holdings: Holdings, settings: Settings) -> None:
    with pytest.raises(ZeroDivisionError), holdings.hold(running(settings)):
        raise ZeroDivisionError

    assert len(holdings) == 0


async def test_everything_held_is_told_to_stop(holdings: Holdings, settings: Settings) -> None:
    with holdings.hold(running(settings)) as first, holdings.hold(running(settings)) as second:
        holdings.stop_all(Stop.DRAINING)

    assert (first.stop, second.stop) == (Stop.DRAINING, Stop.DRAINING)


async def test_what_is_claimed_after_everything_was_told_to_stop_stops_too(
    holdings: Holdings, settings: Settings
) -> None:
    holdings.stop_all(Stop.DRAINING)

    with holdings.hold(running(settings)) as holding:
        assert (holding.stop, holding.stopped.is_set()) == (Stop.DRAINING, True)


async def test_an_older_run_of_what_this_process_claimed_again_is_lost(
    holdings: Holdings, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = running(settings)
    pass_seconds(monkeypatch, settings.lease_seconds + 1)
    with holdings.hold(row) as older:
        again = claim(row.id, holdings.worker, settings.lease_seconds, judge_leases=True)
        assert again is not None
        with holdings.hold(again) as newer:
            assert older.stop is Stop.LOST
            assert newer.stop is None
    assert len(holdings) == 0


async def test_an_older_run_that_leaves_later_does_not_take_the_newer_with_it(
    holdings: Holdings, settings: Settings
) -> None:
    row = running(settings)
    with contextlib.ExitStack() as newer:
        with holdings.hold(row):
            newer.enter_context(holdings.hold(changed(row, run=2)))
        assert len(holdings) == 1
    assert len(holdings) == 0


# The living


async def test_a_worker_is_alive_and_says_how_much_it_holds(holdings: Holdings, settings: Settings) -> None:
    with holdings.hold(running(settings)), holdings.hold(running(settings)):
        async with going(holdings.renew_forever()):
            await until(lambda: Worker.select().where((Worker.id == holdings.worker) & (Worker.running == 2)).count())

    await holdings.forget()
    assert Worker.select().count() == 0


async def test_a_worker_that_cannot_say_goodbye_goes_all_the_same(
    often: Settings, lock: Lock, threads: DatabaseThreads
) -> None:
    lock.take()

    await Holdings(often, threads).forget()
