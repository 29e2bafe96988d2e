"""What the sweeper finds and what becomes of it: nothing is left behind, nothing is ended that somebody holds."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import dramatiq
import pytest
import redis

from models.database import read_now
from models.database_threads import DatabaseThreads
from models.ending import Ending, finish, terminal_event
from models.errors import Unavailable
from models.event import Done, EventId, Failed, Frame, Kind, Started, Text, decode, encode
from models.event_log import Append, EventLog, connect_redis, log_key
from models.generation import Generation, Sent, Status
from models.ownership import give_back, request_cancel
from models.periodic import Schedule
from models.provider_call import ProviderCall, begin_call
from models.route import Route
from models.settings import Settings
from models.transcript import transcript_of_run
from tasks import tokenizer
from tasks.broker import NAMESPACE, QUEUE, Queue
from tasks.sweeper import MAX_BACKOFF_SECONDS, Sweeper
from tests.models.rows import ROUTE, SENT, changed, pass_seconds, queued, reread, running
from tests.redis_process import RedisProcess
from tests.store import Lock
from tests.tasks.waiting import until

KEEP = Route(model=ROUTE.model, on_worker_lost="keep_partial")

Lapse = Callable[[], None]


class Messages:
    """The queue, and the ids in it that no worker has fetched."""

    def __init__(self, url: str) -> None:
        self.queue = Queue(url)
        self._client = redis.Redis.from_url(url)

    def ids(self) -> list[str]:
        keys = self._client.lrange(f"{NAMESPACE}:{QUEUE}", 0, -1)
        found = [self._client.hget(f"{NAMESPACE}:{QUEUE}.msgs", key) for key in keys]
        return [dramatiq.Message.decode(each).args[0] for each in found]  # type: ignore[arg-type]

    def taken(self) -> list[str]:
        """The ids, which are in the queue no more."""
        found = self.ids()
        self._client.flushdb()
        return found

    def close(self) -> None:
        self.queue.close()
        self._client.close()


@pytest.fixture
def messages(redis_url: str) -> Iterator[Messages]:
    found = Messages(redis_url.replace("db=0", "db=1"))
    yield found
    found.close()


@pytest.fixture
def sweeper(settings: Settings, threads: DatabaseThreads, messages: Messages, redis_url: str) -> Sweeper:
    return Sweeper(settings, threads, messages.queue, redis_url)


@pytest.fixture
def lapse(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Lapse:
    """Lets every lease run out."""
    return lambda: pass_seconds(monkeypatch, settings.lease_seconds + 1)


async def said(log: EventLog, row: Generation, *texts: str) -> list[Frame]:
    """What the row's run has in its log."""
    started = encode(Started(run=row.run, provider="openai", model="gpt-4o-mini"))
    frames = [Frame(EventId(row.run, 0), Kind.STARTED, started)]
    frames += [
        Frame(EventId(row.run, number), Kind.DELTA, encode(Text(text=text))) for number, text in enumerate(texts, 1)
    ]
    (tail,) = await log.tails([row.id])
    await log.append([Append(row.id, tail, frames, 600.0)])
    return frames


async def told(log: EventLog, row: Generation) -> list[Frame]:
    """The log of a generation that nobody held at its end: whatever it was, then a snapshot and the terminal event."""
    frames = await log.read(row.id)
    assert row.terminal == EventId(row.run, 1)
    assert [(frame.id, frame.kind) for frame in frames[-2:-1]] == [(EventId(row.run, 0), Kind.SNAPSHOT)]
    assert frames[-1] == terminal_event(row)
    assert transcript_of_run(frames, row.run).text == row.text
    assert row.terminal_published
    return frames


# Cancelled, or past the deadline, before a run began


async def test_a_cancelled_generation_that_waits_is_ended(sweeper: Sweeper, settings: Settings, log: EventLog) -> None:
    row = queued(settings)
    request_cancel(row.id)

    await sweeper.sweep(log)

    row = reread(row)
    assert (row.status, row.finish_reason, row.text, row.run) == (Status.CANCELLED, "cancelled", "", 1)
    assert decode((await told(log, row))[-1].data, Done).status == "cancelled"


async def test_a_generation_that_waited_past_its_deadline_is_ended(
    sweeper: Sweeper, settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, later = queued(settings), queued(settings, deadline_at=read_now() + 10_000)
    pass_seconds(monkeypatch, settings.deadline_seconds)

    await sweeper.sweep(log)

    row = reread(row)
    assert (row.status, row.error_code) == (Status.ERROR, "deadline_exceeded")
    assert decode((await told(log, row))[-1].data, Failed).code == "deadline_exceeded"
    assert reread(later).status == Status.QUEUED


@pytest.mark.parametrize("checkpoint", ["", "so ", "so far and farther"])
async def test_what_was_handed_on_keeps_what_was_said_when_it_is_cancelled(
    sweeper: Sweeper, settings: Settings, log: EventLog, checkpoint: str
) -> None:
    row = running(settings, text=checkpoint)
    await said(log, row, "so ", "far")
    give_back(row.id, row.run)
    request_cancel(row.id)

    await sweeper.sweep(log)

    row = reread(row)
    assert (row.status, row.run) == (Status.CANCELLED, 2)
    assert row.text == max("so far", checkpoint, key=len)
    await told(log, row)


async def test_what_was_handed_on_keeps_what_was_said_at_its_deadline(
    sweeper: Sweeper, settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = running(settings)
    await said(log, row, "so far")
    give_back(row.id, row.run)
    pass_seconds(monkeypatch, settings.deadline_seconds)

    await sweeper.sweep(log)

    row = reread(row)
    assert (row.status, row.finish_reason, row.text) == (Status.INCOMPLETE, "limit", "so far")
    await told(log, row)


# Without a worker


async def test_a_lost_generation_is_put_back_and_sent_at_once(
    sweeper: Sweeper, settings: Settings, log: EventLog, messages: Messages, lapse: Lapse
) -> None:
    row = running(settings)
    before = await said(log, row, "half")
    lapse()

    await sweeper.recover(log)

    found = reread(row)
    assert (found.status, found.run, found.crashes, found.enqueues) == (Status.QUEUED, 1, 1, 1)
    assert messages.ids() == [row.id]
    assert await log.read(row.id) == before

    await sweeper.recover(log)
    await sweeper.sweep(log)
    assert messages.ids() == [row.id]


async def test_a_generation_that_is_held_is_left_alone(
    sweeper: Sweeper, settings: Settings, log: EventLog, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, cancelled, late = running(settings), running(settings), running(settings, deadline_at=read_now())
    request_cancel(cancelled.id)
    pass_seconds(monkeypatch, settings.lease_seconds - 1)
    before = [reread(row).__data__ for row in (plain, cancelled, late)]

    await sweeper.recover(log)
    await sweeper.sweep(log)

    assert [reread(row).__data__ for row in (plain, cancelled, late)] == before
    assert messages.ids() == []


@pytest.mark.parametrize(
    ("checkpoint", "logged", "kept"),
    [
        ("", ["so ", "far"], "so far"),
        ("so ", ["so ", "far"], "so far"),
        ("so far", ["so "], "so far"),
        ("so far", None, "so far"),
    ],
)
async def test_a_lost_generation_keeps_the_longer_of_its_checkpoint_and_its_log(
    sweeper: Sweeper,
    settings: Settings,
    log: EventLog,
    lapse: Lapse,
    checkpoint: str,
    logged: list[str] | None,
    kept: str,
) -> None:
    row = running(settings, route=KEEP, text=checkpoint, history_tokens=1)
    if logged is not None:
        await said(log, row, *logged)
    lapse()

    await sweeper.recover(log)

    row = reread(row)
    assert (row.status, row.finish_reason, row.text) == (Status.INCOMPLETE, "interrupted", kept)
    assert (row.run, row.usage.source if row.usage else None) == (2, "estimated")
    await told(log, row)


async def test_the_text_of_an_earlier_run_is_not_kept(
    sweeper: Sweeper, settings: Settings, log: EventLog, messages: Messages, lapse: Lapse
) -> None:
    row = running(settings, route=KEEP)
    await said(log, row, "of the first run")
    row = changed(row, run=2)
    await said(log, row)
    lapse()

    await sweeper.recover(log)

    assert (reread(row).status, reread(row).crashes) == (Status.QUEUED, 1)
    assert messages.ids() == [row.id]


async def test_a_generation_that_lost_its_worker_too_often_is_an_error_that_keeps_the_text(
    sweeper: Sweeper, settings: Settings, log: EventLog, messages: Messages, lapse: Lapse
) -> None:
    row = running(settings, crashes=settings.max_crashes - 1)
    await said(log, row, "half")
    lapse()

    await sweeper.recover(log)

    row = reread(row)
    assert (row.status, row.error_code, row.text) == (Status.ERROR, "crashed", "half")
    assert decode((await told(log, row))[-1].data, Failed).length == 4
    assert messages.ids() == []


async def test_every_run_may_die_that_the_route_allows(
    sweeper: Sweeper, settings: Settings, log: EventLog, messages: Messages, lapse: Lapse
) -> None:
    row = running(settings)
    ends = []
    for _ in range(settings.max_crashes):
        changed(row, status=Status.RUNNING, run=reread(row).run + 1)
        lapse()
        await sweeper.recover(log)
        ends.append((reread(row).status, len(messages.taken())))

    assert ends == [(Status.QUEUED, 1)] * (settings.max_crashes - 1) + [(Status.ERROR, 0)]


async def test_a_lost_generation_that_was_cancelled_is_cancelled(
    sweeper: Sweeper, settings: Settings, log: EventLog, messages: Messages, lapse: Lapse
) -> None:
    row = running(settings)
    await said(log, row, "half")
    request_cancel(row.id)
    lapse()

    await sweeper.recover(log)

    row = reread(row)
    assert (row.status, row.text, row.crashes) == (Status.CANCELLED, "half", 0)
    await told(log, row)
    assert messages.ids() == []


@pytest.mark.parametrize(("text", "status"), [("half", Status.INCOMPLETE), ("", Status.ERROR)])
async def test_a_lost_generation_past_its_deadline_is_ended(
    sweeper: Sweeper, settings: Settings, log: EventLog, lapse: Lapse, text: str, status: Status
) -> None:
    row = running(settings, deadline_at=read_now() + 5)
    await said(log, row, *([text] if text else []))
    lapse()

    await sweeper.recover(log)

    row = reread(row)
    assert (row.status, row.text) == (status, text)
    assert (row.finish_reason, row.error_code) == (("limit", None) if text else (None, "deadline_exceeded"))
    await told(log, row)


async def test_a_lost_worker_that_lives_on_is_fenced_out(
    sweeper: Sweeper, settings: Settings, log: EventLog, lapse: Lapse
) -> None:
    row = running(settings, route=KEEP)
    frames = await said(log, row, "half")
    lapse()
    await sweeper.recover(log)

    zombie = Frame(EventId(1, 2), Kind.DELTA, encode(Text(text="!")))
    (tail,) = await log.append([Append(row.id, frames[-1].id, [zombie], 600.0)])

    assert tail == reread(row).terminal
    ending = Ending(status=Status.DONE, finish_reason="stop")
    assert finish(row.id, 1, ending, terminal=EventId(1, 3), text="half!", reasoning="", tool_calls=None) is None
    await told(log, reread(row))


async def test_what_a_zombie_said_between_the_look_and_the_end_does_not_mix_with_what_is_kept(
    sweeper: Sweeper, settings: Settings, log: EventLog, lapse: Lapse
) -> None:
    row = running(settings, route=KEEP)
    await said(log, row, "half")
    lapse()
    partial = await sweeper._partial(row, log)
    zombie = Frame(EventId(1, 2), Kind.DELTA, encode(Text(text=" and more")))
    await log.append([Append(row.id, EventId(1, 1), [zombie], 600.0)])
    assert partial is not None

    await sweeper._end_with(reread(row), Ending(status=Status.INCOMPLETE, finish_reason="interrupted"), partial, log)

    row = reread(row)
    assert row.text == "half"
    await told(log, row)


@pytest.mark.parametrize("route", [ROUTE, KEEP])
async def test_what_was_renewed_since_the_look_is_left_alone(
    sweeper: Sweeper, settings: Settings, log: EventLog, messages: Messages, lapse: Lapse, route: Route
) -> None:
    row = running(settings, route=route, text="half")
    lapse()
    seen = reread(row)
    renewed = changed(row, lease_until=read_now() + 5)

    await sweeper._recover(seen, log)

    assert reread(row).__data__ == renewed.__data__
    assert messages.ids() == []


# The ledger


def lines(row: Generation) -> list[tuple[int, str, str | None]]:
    found = ProviderCall.select().where(ProviderCall.generation_id == row.id).order_by(ProviderCall.number)
    return [(line.run, line.outcome, line.usage_source) for line in found]


async def test_the_calls_of_a_lost_worker_are_settled_by_what_reached_the_log(
    sweeper: Sweeper, settings: Settings, log: EventLog, lapse: Lapse
) -> None:
    row = running(settings)
    begin_call(row.id, 1, "openai", "gpt-4o-mini", SENT)
    await said(log, row, "Half an ", "answer")
    lapse()

    await sweeper.recover(log)

    assert lines(row) == [(1, "lost", "estimated")]
    line = ProviderCall.get()
    assert line.output_tokens == tokenizer.count("Half an answer", "gpt-4o-mini")
    assert line.input_tokens == SENT.tokens


async def test_the_calls_of_a_run_that_began_since_are_not_settled(
    sweeper: Sweeper, settings: Settings, log: EventLog
) -> None:
    row = running(settings)
    begin_call(row.id, 1, "openai", "gpt-4o-mini", SENT)
    changed(row, run=2)
    begin_call(row.id, 2, "openai", "gpt-4o-mini", SENT)

    sweeper._settle(row, transcript_of_run([], 1))

    assert lines(row) == [(1, "lost", None), (2, "running", None)]


async def test_a_lost_call_of_a_route_that_is_gone_is_settled_all_the_same(
    sweeper: Sweeper, settings: Settings, log: EventLog, lapse: Lapse
) -> None:
    row = changed(running(settings), route="of yesterday")
    begin_call(row.id, 1, "openai", "gpt-4o-mini", Sent(turns=2, dropped=1, tokens=700))
    await said(log, row, "half")
    lapse()

    await sweeper.recover(log)

    assert lines(row) == [(1, "lost", "estimated")]
    assert ProviderCall.get().input_tokens == 700


# Unclaimed


async def test_what_nobody_claims_is_sent_again_ever_more_rarely(
    sweeper: Sweeper, settings: Settings, log: EventLog, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = queued(settings, deadline_at=read_now() + 100_000)
    before, pauses = row.created_at, []
    for _ in range(10):
        due = reread(row).enqueue_at
        pass_seconds(monkeypatch, due - read_now() - 0.5)
        await sweeper.sweep(log)
        assert messages.taken() == []

        pass_seconds(monkeypatch, 0.5)
        await sweeper.sweep(log)
        assert messages.taken() == [row.id]
        pauses.append(round(due - before))
        before = due

    assert pauses == [4, 4, 8, 16, 32, 64, 128, 256, MAX_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS]


async def test_no_more_messages_are_sent_than_generations_wait(
    sweeper: Sweeper, settings: Settings, log: EventLog, messages: Messages
) -> None:
    rows = [queued(settings, enqueue_at=0.0) for _ in range(5)]
    for row in rows[:3]:
        messages.queue.enqueue(row.id)

    await sweeper.sweep(log)
    assert len(messages.ids()) == 5

    for row in rows:
        changed(row, enqueue_at=0.0)
    await sweeper.sweep(log)
    assert len(messages.ids()) == 5


async def test_what_waits_longest_is_sent_first(
    sweeper: Sweeper, settings: Settings, log: EventLog, messages: Messages
) -> None:
    rows = [queued(settings, enqueue_at=0.0) for _ in range(6)]
    for age, row in enumerate(rows):
        changed(row, created_at=1000.0 - age)
    for _ in range(4):
        messages.queue.enqueue("what nobody has fetched yet")

    await sweeper.sweep(log)

    assert set(messages.ids()) == {"what nobody has fetched yet", rows[5].id, rows[4].id}


async def test_what_was_handed_on_is_sent_with_the_next_sweep(
    sweeper: Sweeper, settings: Settings, log: EventLog, messages: Messages
) -> None:
    row = running(settings)
    give_back(row.id, row.run)

    await sweeper.sweep(log)

    assert messages.ids() == [row.id]


# Unsaid


def unsaid(settings: Settings, text: str = "answer") -> Generation:
    """An ended generation whose terminal event, `1-2`, nobody has said."""
    row = running(settings)
    ending = Ending(status=Status.DONE, finish_reason="stop")
    found = finish(row.id, 1, ending, terminal=EventId(1, 2), text=text, reasoning="", tool_calls=None)
    assert found is not None
    return found


async def test_an_end_that_nobody_said_is_said(
    sweeper: Sweeper, settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = unsaid(settings)
    before = await said(log, row, "answer")
    pass_seconds(monkeypatch, 1.0)

    await sweeper.sweep(log)

    assert await log.read(row.id) == [*before, terminal_event(row)]
    assert reread(row).terminal_published


async def test_an_end_is_its_holders_to_say_for_a_moment(sweeper: Sweeper, settings: Settings, log: EventLog) -> None:
    row = unsaid(settings)

    await sweeper.sweep(log)

    assert await log.tails([row.id]) == [None]
    assert not reread(row).terminal_published


async def test_a_lost_log_of_an_ended_generation_is_made_from_the_row(
    sweeper: Sweeper, settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = unsaid(settings)
    pass_seconds(monkeypatch, 1.0)

    await sweeper.sweep(log)

    assert [frame.kind for frame in await log.read(row.id)] == [Kind.SNAPSHOT, Kind.DONE]
    assert transcript_of_run(await log.read(row.id), 1).text == "answer"


async def test_an_end_whose_log_would_be_over_is_not_said_any_more(
    sweeper: Sweeper, settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = unsaid(settings)
    pass_seconds(monkeypatch, settings.retention_seconds + 1)

    await sweeper.sweep(log)

    assert await log.tails([row.id]) == [None]


# Redis and the database away


@pytest.fixture
async def away(redis_url: str) -> AsyncIterator[EventLog]:
    """The log of a Redis that is not there."""
    async with connect_redis(redis_url.replace("redis.sock", "gone.sock")) as client:
        yield EventLog(client)


async def test_what_is_to_be_kept_is_left_alone_while_redis_is_away(
    sweeper: Sweeper, settings: Settings, away: EventLog, lapse: Lapse
) -> None:
    rows = [
        running(settings, route=KEEP, text="checkpoint"),
        running(settings, crashes=settings.max_crashes - 1),
        running(settings, cancel_requested_at=1.0),
        running(settings, deadline_at=read_now() + 1),
        queued(settings, run=1, text="checkpoint", cancel_requested_at=1.0, enqueue_at=read_now() + 1000),
    ]
    lapse()
    before = [reread(row).__data__ for row in rows]

    await sweeper.recover(away)
    await sweeper.sweep(away)

    assert [reread(row).__data__ for row in rows] == before


async def test_what_needs_no_log_is_not_held_up_by_a_redis_that_is_away(
    sweeper: Sweeper, settings: Settings, log: EventLog, away: EventLog, lapse: Lapse, messages: Messages
) -> None:
    held_up, lost, cancelled = running(settings, route=KEEP), running(settings), queued(settings)
    request_cancel(cancelled.id)
    begin_call(lost.id, 1, "openai", "gpt-4o-mini", SENT)
    lapse()

    await sweeper.recover(away)
    await sweeper.sweep(away)

    assert reread(held_up).status == Status.RUNNING
    assert (reread(lost).status, lines(lost)) == (Status.QUEUED, [(1, "lost", None)])
    assert messages.ids() == [lost.id]
    assert (reread(cancelled).status, reread(cancelled).terminal_published) == (Status.CANCELLED, False)


async def test_what_was_left_alone_is_taken_up_once_redis_is_there(
    sweeper: Sweeper, settings: Settings, log: EventLog, away: EventLog, lapse: Lapse, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = running(settings, route=KEEP, text="checkpoint")
    lapse()
    await sweeper.recover(away)
    later = time.monotonic() + settings.sweep_seconds
    monkeypatch.setattr(time, "monotonic", lambda: later)

    await sweeper.recover(log)

    assert reread(row).text == "checkpoint"
    await told(log, reread(row))


async def test_a_queue_that_is_away_holds_up_no_ending(
    settings: Settings, threads: DatabaseThreads, redis_url: str, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = redis_url.replace("redis.sock", "gone.sock")
    messages = Messages(gone)
    sweeper = Sweeper(settings, threads, messages.queue, redis_url)
    ended, cancelled, waiting = unsaid(settings), queued(settings), queued(settings, enqueue_at=0.0)
    request_cancel(cancelled.id)
    pass_seconds(monkeypatch, 1.0)

    with pytest.raises(Unavailable):
        await sweeper.sweep(log)

    assert reread(ended).terminal_published
    assert reread(cancelled).terminal_published
    assert reread(waiting).enqueues == 0
    messages.close()


async def test_a_queue_that_is_away_leaves_what_lost_its_worker_to_a_later_sweep(
    settings: Settings, threads: DatabaseThreads, redis_url: str, messages: Messages, log: EventLog, lapse: Lapse
) -> None:
    gone = Messages(redis_url.replace("redis.sock", "gone.sock"))
    row = running(settings)
    lapse()

    with pytest.raises(Unavailable):
        await Sweeper(settings, threads, gone.queue, redis_url).recover(log)
    gone.close()
    assert reread(row).status == Status.QUEUED

    changed(row, enqueue_at=0.0)
    await Sweeper(settings, threads, messages.queue, redis_url).sweep(log)
    assert messages.ids() == [row.id]


async def test_a_redis_without_memory_gets_the_end_once_it_has_some(
    sweeper: Sweeper, settings: Settings, own_redis: RedisProcess, own_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_redis.start()
    row = unsaid(settings)
    pass_seconds(monkeypatch, 1.0)
    await own_log.append([])
    await own_log.client.config_set("maxmemory", "1")

    await sweeper.sweep(own_log)
    assert not reread(row).terminal_published

    await own_log.client.config_set("maxmemory", "0")
    await sweeper.sweep(own_log)
    assert reread(row).terminal_published


async def test_a_redis_that_hangs_is_waited_for_once_and_not_row_after_row(
    sweeper: Sweeper, settings: Settings, lapse: Lapse, own_redis: RedisProcess
) -> None:
    rows = [running(settings, route=KEEP, text=str(number)) for number in range(40)]
    rows += [unsaid(settings) for _ in range(40)]
    lapse()
    own_redis.start()
    async with connect_redis(own_redis.url, timeout_seconds=0.2) as client:
        log = EventLog(client)
        await log.tails(["none"])
        own_redis.freeze()
        began = time.monotonic()
        await sweeper.recover(log)
        await sweeper.sweep(log)
        took = time.monotonic() - began
        own_redis.thaw()

    assert took < len(rows) * 0.2 / 4
    assert not any(reread(row).terminal_published for row in rows)


async def test_a_log_that_holds_something_foreign_counts_as_gone_and_holds_up_nobody(
    sweeper: Sweeper, settings: Settings, log: EventLog, lapse: Lapse
) -> None:
    rows = [running(settings, route=KEEP, text=f"checkpoint {number}") for number in range(3)]
    await log.client.xadd(log_key(rows[0].id), {"a": "b"}, id="1-5")
    await log.client.set(log_key(rows[1].id), "no stream")
    lapse()

    await sweeper.recover(log)

    assert (reread(rows[0]).status, reread(rows[0]).text) == (Status.INCOMPLETE, "checkpoint 0")
    assert reread(rows[1]).status == Status.RUNNING
    assert (reread(rows[2]).status, reread(rows[2]).text) == (Status.INCOMPLETE, "checkpoint 2")
    await told(log, reread(rows[2]))


async def test_a_row_that_cannot_be_swept_does_not_hold_up_the_others(
    sweeper: Sweeper, settings: Settings, log: EventLog, lapse: Lapse
) -> None:
    rows = [running(settings, route=KEEP, text="a"), running(settings, route=KEEP, text="b")]
    changed(rows[0], tool_calls="no JSON")
    lapse()

    await sweeper.recover(log)

    assert reread(rows[0]).status == Status.RUNNING
    assert reread(rows[1]).status == Status.INCOMPLETE


# What it costs


@pytest.mark.one_store
async def test_no_statement_of_a_sweep_reads_the_whole_table(
    sweeper: Sweeper, settings: Settings, database: Any, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued(settings, enqueue_at=0.0)
    statements: list[tuple[str, Any]] = []
    execute = database.execute_sql

    def noted(sql: str, params: Any = None) -> Any:
        statements.append((sql, params))
        return execute(sql, params)

    monkeypatch.setattr(database, "execute_sql", noted)
    await sweeper.recover(log)
    await sweeper.sweep(log)
    monkeypatch.undo()

    plans = [
        row[3]
        for sql, params in statements
        if '"generation"' in sql
        for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", params).fetchall()
    ]
    assert len(plans) >= 5
    assert not [plan for plan in plans if plan in ("SCAN t1", "SCAN generation")]


# Turns, and the thread


async def test_one_sweeper_at_a_time_has_the_turn(
    sweeper: Sweeper, settings: Settings, threads: DatabaseThreads, messages: Messages, redis_url: str, log: EventLog
) -> None:
    other = Sweeper(settings, threads, messages.queue, redis_url)
    row = queued(settings)
    await sweeper._take_turns(log)
    request_cancel(row.id)

    await other._take_turns(log)
    await sweeper._take_turns(log)

    assert reread(row).status == Status.QUEUED
    assert Schedule.get_by_id("sweep").owner == sweeper._owner


async def test_a_process_that_may_not_judge_leases_yet_does_not_take_that_turn_from_one_that_may(
    sweeper: Sweeper,
    settings: Settings,
    threads: DatabaseThreads,
    messages: Messages,
    redis_url: str,
    log: EventLog,
    lapse: Lapse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = running(settings)
    lapse()
    await sweeper._take_turns(log)
    assert reread(row).status == Status.RUNNING

    older = DatabaseThreads(1)
    monkeypatch.setattr(older.health, "_healthy_since", time.monotonic() - settings.lease_seconds)
    await Sweeper(settings, older, messages.queue, redis_url)._take_turns(log)
    older.close()

    assert (reread(row).status, messages.ids()) == (Status.QUEUED, [row.id])


@contextlib.contextmanager
def going(sweeper: Sweeper) -> Iterator[None]:
    sweeper.start()
    try:
        yield
    finally:
        sweeper.stop()
        sweeper.join(20)
        assert not sweeper.is_alive()


@pytest.fixture
def busy(settings: Settings) -> Settings:
    return dataclasses.replace(settings, sweep_seconds=0.01)


async def test_the_thread_sweeps_until_it_is_stopped(
    busy: Settings, threads: DatabaseThreads, messages: Messages, redis_url: str, log: EventLog
) -> None:
    row = queued(busy)
    sweeper = Sweeper(busy, threads, messages.queue, redis_url)
    with going(sweeper):
        request_cancel(row.id)
        await until(lambda: reread(row).terminal_published)

    later = queued(busy)
    request_cancel(later.id)
    assert reread(later).status == Status.QUEUED
    await told(log, reread(row))


async def test_the_thread_outlives_a_database_that_is_away(
    busy: Settings, messages: Messages, redis_url: str, lock: Lock
) -> None:
    threads = DatabaseThreads(1)
    row = queued(busy)
    request_cancel(row.id)
    lock.take()
    began = time.monotonic()
    with going(Sweeper(busy, threads, messages.queue, redis_url)):
        await until(lambda: threads.health._healthy_since > began)
        lock.give()
        await until(lambda: reread(row).terminal_published)
    threads.close()


async def test_the_thread_outlives_a_queue_and_a_log_that_are_away(
    busy: Settings, threads: DatabaseThreads, own_redis: RedisProcess, own_log: EventLog
) -> None:
    messages = Messages(own_redis.url)
    row = queued(busy, enqueue_at=0.0)
    cancelled = queued(busy)
    request_cancel(cancelled.id)
    with going(Sweeper(busy, threads, messages.queue, own_redis.url)):
        await until(lambda: reread(cancelled).status == Status.CANCELLED)
        own_redis.start()
        await until(lambda: asyncio.to_thread(messages.ids))
        await until(lambda: reread(cancelled).terminal_published)

    assert reread(row).enqueues == 1
    messages.close()


async def test_the_thread_outlives_a_defect(
    busy: Settings, threads: DatabaseThreads, messages: Messages, redis_url: str
) -> None:
    row = queued(busy)
    request_cancel(row.id)
    sweeper = Sweeper(busy, threads, messages.queue, redis_url)
    turns: list[Any] = []
    take_turns = sweeper._take_turns

    async def broken_once(log: EventLog) -> None:
        turns.append(log)
        if len(turns) == 1:
            raise ZeroDivisionError
        await take_turns(log)

    sweeper._take_turns = broken_once  # type: ignore[method-assign]
    with going(sweeper):
        await until(lambda: reread(row).terminal_published)
