"""The publisher: numbers what a run says, sends it in windows, and makes its log whole again whatever Redis lost."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis.asyncio

from models.database import read_now
from models.database_threads import DatabaseThreads
from models.erasure import erase_generations
from models.errors import Unavailable
from models.event import EventId, Frame, Kind, Started, Text, ToolCall, decode, encode
from models.event_log import Append, EventLog, channel_name, connect_redis, log_key, parse_published
from models.generation import Generation, Status
from models.ownership import claim, still_holds
from models.settings import Settings
from models.transcript import transcript_of_run
from tasks.log_writer import LogWriter
from tasks.publisher import Publisher, RunLost
from tests.models.rows import changed, pass_seconds, running
from tests.redis_process import RedisProcess
from tests.tasks.waiting import frames_of, until

FLUSH_SECONDS = 20.0

pytestmark = pytest.mark.one_store  # dear, and what a publisher says goes to Redis


class Run:
    """A run under test: its publisher, its row, and how often the database was asked whether it still holds."""

    def __init__(self, row: Generation, writer: LogWriter, settings: Settings, threads: DatabaseThreads) -> None:
        self.id: str = row.id
        self.row = row
        self.asked = 0
        self._threads = threads
        self.publisher = Publisher(row, writer, settings, self._confirm)

    async def _confirm(self) -> bool:
        self.asked += 1
        return await self._threads.run(still_holds, self.row.id, self.row.run)

    def start(self) -> Publisher:
        self.publisher.start("openai", "gpt-4o-mini", None)
        return self.publisher


Make = Callable[..., Run]


@pytest.fixture
async def make(settings: Settings, threads: DatabaseThreads, writer: LogWriter) -> AsyncIterator[Make]:
    """Makes runs of claimed generations: `make(writer=…, row=…, max_unsent_bytes=…)`."""
    made: list[Run] = []

    def one(writer: LogWriter = writer, row: Generation | None = None, **changes: Any) -> Run:
        changed = dataclasses.replace(settings, **changes)
        made.append(Run(row or running(settings), writer, changed, threads))
        return made[-1]

    yield one
    for run in made:
        with contextlib.suppress(RunLost):
            await run.publisher.stop()


async def settled(run: Run) -> None:
    """Returns when the log holds everything that was said so far."""
    publisher = run.publisher
    await until(lambda: not publisher._buffer and publisher.tail == publisher.last)


def deltas(frames: list[Frame]) -> list[str]:
    return [decode(frame.data, Text).text for frame in frames if frame.kind == Kind.DELTA]


def is_gapless(frames: list[Frame], run: int = 1) -> bool:
    return [frame.id for frame in frames] == [EventId(run, seq) for seq in range(len(frames))]


# What a run says


async def test_a_run_begins_with_started_under_number_zero(make: Make, log: EventLog) -> None:
    run = make()
    run.publisher.start("openai", "o3", "restarted")

    (frame,) = await frames_of(log, run.id, lambda found: len(found) == 1)

    assert (frame.id, frame.kind) == (EventId(1, 0), Kind.STARTED)
    assert decode(frame.data, Started) == Started(run=1, provider="openai", model="o3", reason="restarted")


async def test_everything_said_stands_in_the_log_in_its_order(make: Make, log: EventLog) -> None:
    run = make()
    publisher = run.start()
    publisher.reasoning("hm")
    publisher.text("He")
    publisher.text("llo")
    publisher.tool_call(ToolCall(index=0, id="call", name="find", arguments="{}"))
    publisher.text("!")

    assert await publisher.complete(FLUSH_SECONDS)

    frames = await log.read(run.id)
    assert [frame.kind for frame in frames] == ["started", "reasoning", "delta", "tool_call", "delta"]
    assert is_gapless(frames)
    assert deltas(frames) == ["Hello", "!"]
    assert publisher.last == publisher.tail == EventId(1, 4)
    assert (publisher.transcript.text, publisher.transcript.reasoning) == ("Hello!", "hm")


async def test_the_transcript_is_what_a_viewer_of_the_log_has(make: Make, log: EventLog) -> None:
    run = make()
    publisher = run.start()
    for number in range(300):
        (publisher.text if number % 7 else publisher.reasoning)(f"{number} ")
        await asyncio.sleep(0)
    await publisher.complete(FLUSH_SECONDS)

    seen = transcript_of_run(await log.read(run.id), 1)

    assert seen.text == publisher.transcript.text == "".join(f"{number} " for number in range(300) if number % 7)
    assert seen.reasoning == publisher.transcript.reasoning


async def test_the_first_delta_goes_out_at_once(make: Make, log: EventLog) -> None:
    run = make(append_window_seconds=3600.0)
    publisher = run.start()
    publisher.text("a")
    await frames_of(log, run.id, lambda found: deltas(found) == ["a"])


async def test_the_first_delta_goes_out_at_once_after_started_has(make: Make, log: EventLog) -> None:
    run = make(append_window_seconds=3600.0)
    publisher = run.start()
    await settled(run)
    publisher.text("a")
    await frames_of(log, run.id, lambda found: deltas(found) == ["a"])


class Published:
    """The messages on a log's channel, each the events of one append."""

    def __init__(self, channel: Any, client: redis.asyncio.Redis, name: str) -> None:
        self._channel = channel
        self._client = client
        self._name = name

    async def so_far(self) -> list[list[Frame]]:
        """All of them up to now."""
        await self._client.publish(self._name, "now")
        found: list[list[Frame]] = []
        async for message in self._channel.listen():
            if message["data"] == b"now":
                return found
            found.append(parse_published(message["data"])[1])
        raise AssertionError("the subscription ended")


@contextlib.asynccontextmanager
async def published(redis_url: str, run: Run) -> AsyncIterator[Published]:
    async with connect_redis(redis_url, timeout_seconds=None) as client, client.pubsub() as channel:
        name = channel_name(run.id)
        await channel.subscribe(name)
        await channel.get_message(timeout=60)
        yield Published(channel, client, name)


def say_text(publisher: Publisher, number: int) -> None:
    publisher.text(f"{number} ")


def say_text_and_reasoning(publisher: Publisher, number: int) -> None:
    (publisher.text if number % 2 else publisher.reasoning)(f"{number} ")


def say_tool_call(publisher: Publisher, number: int) -> None:
    publisher.tool_call(ToolCall(index=0, arguments=f"{number} "))


@pytest.mark.parametrize("say", [say_text, say_text_and_reasoning, say_tool_call])
async def test_there_is_one_append_a_window_however_much_is_said(
    make: Make, redis_url: str, say: Callable[[Publisher, int], None]
) -> None:
    run = make(append_window_seconds=0.05)
    loop = asyncio.get_running_loop()
    async with published(redis_url, run) as channel:
        began = loop.time()
        publisher = run.start()
        for number in range(3000):
            say(publisher, number)
            await asyncio.sleep(0)
        await publisher.complete(FLUSH_SECONDS)
        windows = (loop.time() - began) / 0.05
        appends = await channel.so_far()

    # `started` and the first of it at once, then one a window, and the last.
    assert 2 <= len(appends) <= windows + 3


async def test_what_comes_up_within_a_window_is_one_delta(make: Make, log: EventLog) -> None:
    run = make(append_window_seconds=0.01)
    publisher = run.start()
    publisher.text("first")
    await settled(run)
    for word in ("one ", "two ", "three"):
        publisher.text(word)

    frames = await frames_of(log, run.id, lambda found: len(found) == 3)

    assert deltas(frames) == ["first", "one two three"]


# What Redis loses


async def test_a_log_that_was_flushed_is_made_again_with_the_same_ids_and_bytes(make: Make, log: EventLog) -> None:
    run = make()
    publisher = run.start()
    publisher.text("one ")
    await settled(run)
    publisher.text("two ")
    await settled(run)
    before = await log.read(run.id)
    await log.client.flushall()

    publisher.text("three")
    assert await publisher.complete(FLUSH_SECONDS)

    after = await log.read(run.id)
    assert after[: len(before)] == before
    assert deltas(after) == ["one ", "two ", "three"]
    assert is_gapless(after)
    assert run.asked == 1


async def test_a_log_that_is_flushed_again_and_again_is_whole_at_the_end(make: Make, log: EventLog) -> None:
    run = make(append_window_seconds=0.0)
    publisher = run.start()
    said = ""
    for number in range(60):
        publisher.text(f"{number} ")
        said += f"{number} "
        if number % 9 == 0:
            await log.client.flushall()
        await asyncio.sleep(0)
    await settled(run)
    await log.client.flushall()
    publisher.text("end")

    assert await publisher.complete(FLUSH_SECONDS)
    frames = await log.read(run.id)
    assert is_gapless(frames)
    assert transcript_of_run(frames, 1).text == said + "end"


async def test_a_made_log_has_a_life_again(make: Make, log: EventLog, settings: Settings) -> None:
    run = make()
    publisher = run.start()
    await settled(run)
    await log.client.flushall()
    publisher.text("a")
    await publisher.complete(FLUSH_SECONDS)

    life_ms = await log.client.pttl(log_key(run.id))

    assert settings.deadline_seconds * 1000 < life_ms <= (settings.deadline_seconds + settings.retention_seconds) * 1000


async def test_a_log_that_lost_its_end_gets_it_again(make: Make, log: EventLog) -> None:
    run = make()
    publisher = run.start()
    for word in ("one ", "two ", "three "):
        publisher.text(word)
        await settled(run)
    before = await log.read(run.id)
    await log.delete(run.id)
    await log.append([Append(run.id, None, before[:2], 60.0)])  # as a replica that lagged behind

    publisher.text("four")
    assert await publisher.complete(FLUSH_SECONDS)

    after = await log.read(run.id)
    assert after[:4] == before
    assert deltas(after) == ["one ", "two ", "three ", "four"]
    assert run.asked == 1


async def test_a_second_run_goes_on_after_the_log_of_the_first(
    make: Make, log: EventLog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make()
    first.start().text("one")
    await first.publisher.complete(FLUSH_SECONDS)
    pass_seconds(monkeypatch, settings.lease_seconds + 1)
    row = claim(first.id, "another", settings.lease_seconds, judge_leases=True)

    second = make(row=row)
    second.start().text("two")
    assert await second.publisher.complete(FLUSH_SECONDS)

    frames = await log.read(first.id)
    assert [frame.id for frame in frames] == [EventId(1, 0), EventId(1, 1), EventId(2, 0), EventId(2, 1)]
    assert transcript_of_run(frames, 2).text == "two"


async def test_a_second_run_makes_a_log_where_the_firsts_is_gone(
    make: Make, log: EventLog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = running(settings)
    pass_seconds(monkeypatch, settings.lease_seconds + 1)
    run = make(row=claim(row.id, "another", settings.lease_seconds, judge_leases=True))
    run.start().text("two")

    assert await run.publisher.complete(FLUSH_SECONDS)
    assert is_gapless(await log.read(run.id), run=2)


# What a run loses


@pytest.fixture
def overtake(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], Generation]:
    """Lets another worker claim the run's generation."""

    def other(run: Run) -> Generation:
        pass_seconds(monkeypatch, settings.lease_seconds + 1)
        row = claim(run.id, "another", settings.lease_seconds, judge_leases=True)
        assert row is not None
        return row

    return other


async def test_a_newer_run_in_the_log_ends_this_one(
    make: Make, log: EventLog, overtake: Callable[[Run], Generation]
) -> None:
    run = make()
    publisher = run.start()
    publisher.text("old")
    await settled(run)
    newer = make(row=overtake(run))
    newer.start().text("new")
    await newer.publisher.complete(FLUSH_SECONDS)

    publisher.text(" older")
    async with asyncio.timeout(60):
        await publisher.lost()
    with pytest.raises(RunLost):
        await publisher.complete(FLUSH_SECONDS)

    frames = await log.read(run.id)
    assert deltas(frames) == ["old", "new"]
    assert frames[-1].id == EventId(2, 1)


async def test_an_overtaken_run_makes_no_log_after_a_flush_because_the_database_says_no(
    make: Make, log: EventLog, overtake: Callable[[Run], Generation]
) -> None:
    run = make()
    publisher = run.start()
    publisher.text("old")
    await settled(run)
    overtake(run)
    await log.client.flushall()

    publisher.text(" older")
    with pytest.raises(RunLost):
        await publisher.complete(FLUSH_SECONDS)

    assert run.asked == 1
    assert await log.tails([run.id]) == [None]


async def test_an_overtaken_run_does_not_give_a_log_its_end_again(
    make: Make, log: EventLog, overtake: Callable[[Run], Generation]
) -> None:
    run = make()
    publisher = run.start()
    for word in ("one ", "two "):
        publisher.text(word)
        await settled(run)
    before = await log.read(run.id)
    overtake(run)
    await log.delete(run.id)
    await log.append([Append(run.id, None, before[:1], 60.0)])

    publisher.text("three")
    with pytest.raises(RunLost):
        await publisher.complete(FLUSH_SECONDS)

    assert await log.read(run.id) == before[:1]


async def test_a_run_whose_generation_was_erased_does_not_make_its_log_again(make: Make, log: EventLog) -> None:
    run = make()
    publisher = run.start()
    publisher.text("a secret")
    await settled(run)
    changed(run.row, status=Status.CANCELLED, finished_at=read_now(), terminal_id="2-1", terminal_published=True)
    await log.delete(run.id)
    erase_generations([run.id])

    publisher.text(", and more of it")
    with pytest.raises(RunLost):
        await publisher.complete(FLUSH_SECONDS)

    assert await log.tails([run.id]) == [None]


async def test_a_run_that_never_reached_redis_asks_before_it_makes_a_log_late(
    make: Make,
    own_redis: RedisProcess,
    own_writer: LogWriter,
    own_log: EventLog,
    overtake: Callable[[Run], Generation],
) -> None:
    run = make(writer=own_writer)
    publisher = run.start()
    await until(lambda: not publisher._confirmed)  # the first append failed
    overtake(run)
    own_redis.start()

    async with asyncio.timeout(60):
        await publisher.lost()

    assert run.asked == 1
    assert await own_log.tails([run.id]) == [None]


async def test_something_foreign_after_the_runs_own_end_is_no_tail_to_write_after(make: Make, log: EventLog) -> None:
    run = make()
    publisher = run.start()
    await settled(run)
    foreign = [Frame(EventId(1, 50), Kind.DELTA, encode(Text(text="whose?")))]
    await log.append([Append(run.id, EventId(1, 0), foreign, 60.0)])

    publisher.text("mine")
    with pytest.raises(RunLost):
        await publisher.complete(FLUSH_SECONDS)


# Redis away


async def test_a_redis_that_was_away_from_the_start_gets_everything_once_it_is_there(
    make: Make, own_redis: RedisProcess, own_writer: LogWriter, own_log: EventLog
) -> None:
    run = make(writer=own_writer)
    publisher = run.start()
    publisher.text("said to nobody")
    await until(lambda: not publisher._confirmed)

    own_redis.start()
    assert await publisher.complete(FLUSH_SECONDS)

    frames = await own_log.read(run.id)
    assert is_gapless(frames)
    assert "".join(deltas(frames)) == "said to nobody"
    assert run.asked == 1


async def test_a_redis_that_died_and_came_back_empty_gets_everything_again(
    make: Make, own_redis: RedisProcess, own_writer: LogWriter, own_log: EventLog
) -> None:
    own_redis.start()
    run = make(writer=own_writer)
    publisher = run.start()
    publisher.text("before ")
    await settled(run)
    before = await own_log.read(run.id)

    own_redis.kill()
    publisher.text("during ")
    await until(lambda: not publisher._confirmed)
    publisher.text("still ")
    own_redis.start()
    await settled(run)
    publisher.text("after")
    assert await publisher.complete(FLUSH_SECONDS)

    frames = await own_log.read(run.id)
    assert frames[: len(before)] == before
    assert is_gapless(frames)
    assert transcript_of_run(frames, 1).text == "before during still after"


async def test_a_run_is_not_complete_while_redis_is_away_and_sends_nothing_later(
    make: Make, own_redis: RedisProcess, own_writer: LogWriter, own_log: EventLog
) -> None:
    own_redis.start()
    run = make(writer=own_writer)
    publisher = run.start()
    await settled(run)
    own_redis.kill()
    publisher.text("never sent")

    assert not await publisher.complete(0.05)

    assert publisher.transcript.text == "never sent"
    assert publisher.last == EventId(1, 1)
    own_redis.start()
    await own_writer.append(Append("another", None, [Frame(EventId(1, 0), Kind.DELTA, b"{}")], 60.0))
    assert await own_log.tails([run.id]) == [None]


async def test_a_redis_that_hangs_does_not_hold_up_the_end(
    make: Make, own_redis: RedisProcess, own_writer: LogWriter, own_log: EventLog
) -> None:
    own_redis.start()
    run = make(writer=own_writer)
    publisher = run.start()
    await settled(run)
    own_redis.freeze()
    publisher.text("on its way")

    assert not await publisher.complete(0.05)
    own_redis.thaw()

    # What was on its way may arrive; it has its own id and bytes, and nothing comes after it.
    frames = await frames_of(own_log, run.id, lambda found: len(found) == 2)
    assert is_gapless(frames)
    assert frames[-1].id == publisher.last


async def test_a_database_that_is_away_when_it_is_asked_does_not_end_the_run(make: Make, log: EventLog) -> None:
    run = make()
    publisher = run.start()
    publisher.text("one ")
    await settled(run)
    answers = [Unavailable("The database is away.")]
    confirm = publisher._confirm

    async def away_once() -> bool:
        if answers:
            raise answers.pop()
        return bool(await confirm())

    publisher._confirm = away_once
    await log.client.flushall()
    publisher.text("two")

    assert await publisher.complete(FLUSH_SECONDS)
    assert transcript_of_run(await log.read(run.id), 1).text == "one two"
    assert not answers
    assert run.asked == 1


# More than is kept


def long_piece(number: int) -> str:
    return f"{number:04d}" + "." * 96 + " "


def say_many(publisher: Publisher, first: int, last: int) -> None:
    """Events of some 200 bytes each, none joined with another."""
    for number in range(first, last):
        publisher.text(long_piece(number))
        publisher.reasoning("hm ")


def said(count: int) -> str:
    return "".join(long_piece(number) for number in range(count))


async def test_a_snapshot_stands_for_what_was_dropped_while_redis_was_away(
    make: Make, own_redis: RedisProcess, own_writer: LogWriter, own_log: EventLog
) -> None:
    own_redis.start()
    run = make(writer=own_writer, max_unsent_bytes=4096)
    publisher = run.start()
    publisher.text("0")
    await settled(run)
    own_redis.kill()
    say_many(publisher, 0, 60)
    assert publisher._kept_bytes <= 4096 + 300
    own_redis.start()
    publisher.text("end")
    assert await publisher.complete(FLUSH_SECONDS)

    frames = await own_log.read(run.id)
    assert [frame.kind for frame in frames[:2]] == [Kind.STARTED, Kind.SNAPSHOT]
    seen = transcript_of_run(frames, 1)
    assert seen.text == publisher.transcript.text == "0" + said(60) + "end"
    assert seen.reasoning == "hm " * 60


async def test_a_snapshot_stands_for_what_was_dropped_after_it_was_sent(make: Make, log: EventLog) -> None:
    run = make(max_unsent_bytes=4096)
    publisher = run.start()
    for first in range(0, 60, 5):
        say_many(publisher, first, first + 5)
        await settled(run)
    assert Kind.SNAPSHOT not in {frame.kind for frame in await log.read(run.id)}
    await log.client.flushall()

    publisher.text("end")
    assert await publisher.complete(FLUSH_SECONDS)

    frames = await log.read(run.id)
    assert [frame.kind for frame in frames[:2]] == [Kind.STARTED, Kind.SNAPSHOT]
    assert transcript_of_run(frames, 1).text == said(60) + "end"
    assert run.asked == 1


async def test_a_log_that_lost_more_of_its_end_than_is_kept_gets_a_snapshot(make: Make, log: EventLog) -> None:
    run = make(max_unsent_bytes=4096)
    publisher = run.start()
    for first in range(0, 60, 5):
        say_many(publisher, first, first + 5)
        await settled(run)
    before = await log.read(run.id)
    await log.delete(run.id)
    await log.append([Append(run.id, None, before[:7], 60.0)])

    publisher.text("end")
    assert await publisher.complete(FLUSH_SECONDS)

    frames = await log.read(run.id)
    assert frames[:7] == before[:7]
    assert frames[7].kind == Kind.SNAPSHOT
    assert transcript_of_run(frames, 1).text == said(60) + "end"


async def test_a_log_that_lost_no_more_of_its_end_than_is_kept_gets_the_same_events(make: Make, log: EventLog) -> None:
    run = make(max_unsent_bytes=8192)
    publisher = run.start()
    for first in range(0, 60, 5):
        say_many(publisher, first, first + 5)
        await settled(run)
    assert publisher._trimmed
    before = await log.read(run.id)
    await log.delete(run.id)
    await log.append([Append(run.id, None, before[:-3], 60.0)])

    publisher.text("end")
    assert await publisher.complete(FLUSH_SECONDS)

    frames = await log.read(run.id)
    assert frames[: len(before)] == before
    assert transcript_of_run(frames, 1).text == said(60) + "end"


async def test_a_text_larger_than_what_is_kept_still_arrives(make: Make, log: EventLog) -> None:
    run = make(max_unsent_bytes=1024)
    publisher = run.start()
    say_many(publisher, 0, 300)
    await settled(run)
    publisher.text("x" * 5000)
    await settled(run)
    publisher.text("end")
    assert await publisher.complete(FLUSH_SECONDS)

    assert transcript_of_run(await log.read(run.id), 1).text == said(300) + "x" * 5000 + "end"


# The end


async def test_stopping_twice_is_stopping(make: Make) -> None:
    run = make()
    publisher = run.start()
    await settled(run)

    await publisher.stop()
    await publisher.stop()


async def test_a_run_that_said_nothing_is_complete_with_started(make: Make, log: EventLog) -> None:
    run = make()

    assert await run.start().complete(FLUSH_SECONDS)
    assert [frame.kind for frame in await log.read(run.id)] == [Kind.STARTED]


async def test_what_is_said_with_the_last_breath_is_complete_too(make: Make, log: EventLog) -> None:
    run = make(append_window_seconds=0.05)
    publisher = run.start()
    publisher.text("one ")
    await settled(run)
    publisher.text("two")  # within the window of the one before

    assert await publisher.complete(FLUSH_SECONDS)
    assert transcript_of_run(await log.read(run.id), 1).text == "one two"
