"""Joining, following and leaving a generation's events, with a real Redis and a real database that fail as they do."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from peewee import Database

from models.database_threads import DatabaseThreads
from models.errors import Unavailable
from models.event import EventId, Frame
from models.event_log import EventLog, channel_name, connect_redis
from models.generation import Generation, digest
from models.settings import Settings
from streamer import hub as hub_module
from streamer import subscription
from streamer.channel import Viewer
from streamer.chat import _cancel
from streamer.hub import Hub
from tasks.end_tasks import end_tasks
from tests.redis_process import RedisProcess
from tests.streamer.answers import Answer
from tests.streamer.eventually import eventually
from tests.streamer.frames import Event, ids, parse, shown
from tests.streamer.redis_line import line_to

#: For tests of the idle check.
often = pytest.mark.parametrize("idle_check_seconds", [0.2])

Hook = Callable[[], Awaitable[None]]


class HookedLog(EventLog):
    """Calls `before` and `after` around the next read, once each."""

    before: Hook | None = None
    after: Hook | None = None
    reads = 0
    pipelines = 0

    async def read(self, generation_id: str, after: EventId | None = None) -> list[Frame]:
        self.reads += 1
        hook, self.before = self.before, None
        if hook is not None:
            await hook()
        found = await super().read(generation_id, after)
        hook, self.after = self.after, None
        if hook is not None:
            await hook()
        return found

    async def tails(self, generation_ids: Any) -> list[EventId | None]:
        self.pipelines += 1
        return await super().tails(generation_ids)


class HookedThreads(DatabaseThreads):
    """Calls `before` and `after` around the next piece of work, once each."""

    before: Hook | None = None
    after: Hook | None = None

    async def run(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        hook, self.before = self.before, None
        if hook is not None:
            await hook()
        found = await super().run(work, *args, **kwargs)
        hook, self.after = self.after, None
        if hook is not None:
            await hook()
        return found


@asynccontextmanager
async def running(
    settings: Settings, threads: DatabaseThreads, url: str | None = None, subscriber_url: str | None = None
) -> AsyncIterator[Hub]:
    """A hub with its tasks and connections, as in a web process; its log is a HookedLog."""
    url = url or settings.redis_url
    client, subscriber = connect_redis(url), connect_redis(subscriber_url or url, connections=4)
    hub = Hub(settings, threads, HookedLog(client), subscriber)
    tasks = [asyncio.create_task(hub.listen_forever()), asyncio.create_task(hub.tick_forever())]
    try:
        yield hub
    finally:
        await end_tasks(*tasks)
        await hub.close()
        await client.aclose()
        await subscriber.aclose()


@pytest.fixture
def threads(database: Database) -> Iterator[HookedThreads]:
    threads = HookedThreads(2)
    yield threads
    threads.close()


@pytest.fixture
async def hub(live: Settings, threads: HookedThreads) -> AsyncIterator[Hub]:
    async with running(live, threads) as hub:
        await eventually(lambda: hub._subscription.up)
        yield hub


@pytest.fixture
def hooked(hub: Hub) -> HookedLog:
    """The hub's own log."""
    assert isinstance(hub._log, HookedLog)
    return hub._log


@pytest.fixture
async def client(live: Settings) -> AsyncIterator[redis.asyncio.Redis]:
    """A bystander's connection."""
    client = connect_redis(live.redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def answer(live: Settings, threads: HookedThreads, log: EventLog) -> Answer:
    return await Answer.begun(live, threads, log)


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[RedisProcess]:
    """A Redis that the test may kill."""
    process = RedisProcess(tmp_path)
    process.start()
    yield process
    process.kill()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An acknowledgement that never comes is waited for beyond any test's time."""
    monkeypatch.setattr(subscription, "ACK_SECONDS", 3600.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead line is noticed soon."""
    for name, seconds in (("PING_SECONDS", 0.2), ("DEAD_SECONDS", 0.5), ("ACK_SECONDS", 0.4), ("READ_SECONDS", 0.1)):
        monkeypatch.setattr(subscription, name, seconds)
    monkeypatch.setattr(hub_module, "LOG_SECONDS", 0.4)


async def follow(viewer: Viewer, until: Callable[[list[Event]], bool] = lambda _: False) -> list[Event]:
    """What the viewer gets, to the end or until `until` says so."""
    found: list[Event] = []
    async with asyncio.timeout(60):
        while True:
            data, last = viewer.take()
            found += parse(data)
            if last or until(found):
                return found
            if not data:
                await viewer.wait()


async def watch(hub: Hub, generation_id: str, cursor: EventId | None = None) -> list[Event]:
    """All events of one viewer, from joining to the end."""
    viewer = await hub.join(generation_id, cursor)
    try:
        return await follow(viewer)
    finally:
        hub.leave(viewer)


async def subscribed_channels(client: redis.asyncio.Redis) -> set[str]:
    """The generations that anybody is subscribed to."""
    names: Any = await client.pubsub_channels("events:*")
    return {name.decode() for name in names}


# Joining


async def test_a_viewer_gets_what_was_said_before_and_what_is_said_after_it_came(hub: Hub, answer: Answer) -> None:
    await answer.say("a", "b")
    viewer = await hub.join(answer.id, None)
    before = await follow(viewer, lambda events: len(events) == 3)
    await answer.say("c")
    await answer.finish()

    events = before + await follow(viewer)
    assert ids(events) == ["1-0", "1-1", "1-2", "1-3", "1-4"]
    assert [event.kind for event in events] == ["started", "delta", "delta", "delta", "done"]
    assert shown(events) == "abc"


async def test_the_log_is_read_once_subscription_and_row_are_there(
    hub: Hub, hooked: HookedLog, threads: HookedThreads, client: redis.asyncio.Redis, answer: Answer
) -> None:
    order: list[str] = []

    async def row() -> None:
        order.append("row")
        assert await subscribed_channels(client) == {channel_name(answer.id)}

    async def log() -> None:
        order.append("log")

    threads.before, hooked.before = row, log
    await hub.join(answer.id, None)

    assert order == ["row", "log"]


@pytest.mark.parametrize("point", ["before the row", "after the row", "before the log", "after the log", "all of them"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("cursor", [None, EventId(1, 1)])
async def test_nothing_is_lost_or_doubled_at_the_seam(
    hub: Hub,
    hooked: HookedLog,
    threads: HookedThreads,
    answer: Answer,
    point: str,
    count: int,
    cursor: EventId | None,
) -> None:
    async def publish() -> None:
        for number in range(count):
            await answer.say(f"[{point} {number}]")

    await answer.say("a", "b")
    if point in ("before the row", "all of them"):
        threads.before = publish
    if point in ("after the row", "all of them"):
        threads.after = publish
    if point in ("before the log", "all of them"):
        hooked.before = publish
    if point in ("after the log", "all of them"):
        hooked.after = publish
    viewer = await hub.join(answer.id, cursor)
    await answer.say("z")
    await answer.finish()

    events = await follow(viewer)
    first = 0 if cursor is None else cursor.seq + 1
    assert ids(events) == [f"1-{seq}" for seq in range(first, answer.last.seq + 1)]
    assert shown(events) == answer.text.removeprefix("a" if cursor else "")


async def test_an_answer_that_ends_at_the_seam_ends_the_viewer(hub: Hub, hooked: HookedLog, answer: Answer) -> None:
    async def finish() -> None:
        await answer.say("a")
        await answer.finish()

    hooked.after = finish

    events = await watch(hub, answer.id)
    assert ids(events) == ["1-0", "1-1", "1-2"]


async def test_viewers_that_join_and_resume_at_random_times_each_get_every_event_once(hub: Hub, answer: Answer) -> None:
    seed = random.randrange(10**9)

    async def view(number: int) -> list[Event]:
        chance = random.Random(seed + number)
        events: list[Event] = []
        while not events or events[-1].kind != "done":
            await asyncio.sleep(chance.random() * 0.01)
            cursor = EventId.parse(ids(events)[-1]) if events else None
            viewer = await hub.join(answer.id, cursor)
            limit = chance.randint(1, 20)
            events += await follow(viewer, lambda new, limit=limit: len(new) >= limit)  # type: ignore[misc]
            hub.leave(viewer)
        return events

    viewing = [asyncio.create_task(view(number)) for number in range(20)]
    for number in range(150):
        await answer.say(*(f"{number}.{part} " for part in range(number % 3 + 1)), published=number % 7 != 0)
    await answer.finish()

    for events in await asyncio.gather(*viewing):
        assert ids(events) == [f"1-{seq}" for seq in range(answer.last.seq + 1)], f"{seed=}"
        assert shown(events) == answer.text, f"{seed=}"


async def test_a_cursor_of_an_earlier_run_gets_the_rest_of_it_and_then_the_next(
    hub: Hub, live: Settings, threads: HookedThreads, answer: Answer
) -> None:
    await answer.say("old", "text")
    await threads.run(_expire, answer.id)
    await answer.begin()
    await answer.say("new")
    await answer.finish()

    events = await watch(hub, answer.id, EventId(1, 1))
    assert ids(events) == ["1-2", "2-0", "2-1", "2-2"]
    assert shown(events) == "new"


async def test_a_cursor_that_another_process_gave_ahead_of_us_is_resumed(
    hub: Hub, hooked: HookedLog, client: redis.asyncio.Redis, answer: Answer
) -> None:
    first = await hub.join(answer.id, None)
    await answer.say("a", "b", "c", published=False)  # another process has heard of it, we have not
    assert hub.channels == 1
    assert first.channel.tail == EventId(1, 0)

    viewer = await hub.join(answer.id, EventId(1, 2))
    await answer.finish()

    assert ids(await follow(viewer)) == ["1-3", "1-4"]
    assert ids(await follow(first)) == ["1-0", "1-1", "1-2", "1-3", "1-4"]


@pytest.mark.parametrize("cursor", [EventId(1, 7), EventId(2, 0), EventId(999999999, 999999999)])
async def test_a_cursor_beyond_the_tail_is_told_everything(hub: Hub, answer: Answer, cursor: EventId) -> None:
    await answer.say("a")
    viewer = await hub.join(answer.id, cursor)
    await answer.say("b")
    await answer.finish()

    assert ids(await follow(viewer)) == ["1-0", "1-1", "1-2", "1-3"]


async def test_a_long_log_is_read_to_its_tail(hub: Hub, answer: Answer) -> None:
    for _ in range(5):
        await answer.say(*(["x"] * 500))
    await answer.finish()

    assert ids(await watch(hub, answer.id)) == [f"1-{seq}" for seq in range(2502)]


async def test_viewers_of_one_generation_share_its_frames_and_one_reading(
    hub: Hub, hooked: HookedLog, answer: Answer
) -> None:
    await answer.say("x" * 70_000)
    viewers = await asyncio.gather(*(hub.join(answer.id, EventId(1, 0)) for _ in range(20)))

    frames = {id(viewer.take()[0]) for viewer in viewers}
    assert len(frames) == 1
    assert hooked.reads == 1
    assert (hub.viewers, hub.channels) == (20, 1)


# Following


async def test_a_publish_that_does_not_fit_sends_us_to_the_log(
    hub: Hub, hooked: HookedLog, live: Settings, answer: Answer
) -> None:
    viewer = await hub.join(answer.id, None)
    reads = hooked.reads
    await answer.say("lost", " too", published=False)
    await answer.say(" heard")
    events = await follow(viewer, lambda events: len(events) == 4)

    assert shown(events) == "lost too heard"
    assert hooked.reads == reads + 1
    assert hooked.pipelines == 0


async def test_a_burst_that_does_not_fit_is_read_by_one_reader_at_a_time(
    hub: Hub, hooked: HookedLog, answer: Answer
) -> None:
    viewer = await hub.join(answer.id, None)
    reads = hooked.reads

    async def burst() -> None:
        for number in range(20):
            await answer.say(f"{number} ")

    hooked.before = burst
    await answer.say("lost ", published=False)
    await answer.say("heard ")
    await follow(viewer, lambda events: len(events) == 23)

    assert hooked.reads - reads <= 2


async def test_a_publish_that_brings_nothing_new_is_dropped(hub: Hub, hooked: HookedLog, answer: Answer) -> None:
    await answer.say("a", "b")
    viewer = await hub.join(answer.id, None)
    reads = hooked.reads
    hub._hear(channel_name(answer.id).encode(), b'1-0\n1-1 delta {"text":"a"}')
    hub._hear(channel_name("nobody's").encode(), b'1-0\n1-1 delta {"text":"a"}')
    await answer.finish()

    assert ids(await follow(viewer)) == ["1-0", "1-1", "1-2", "1-3"]
    assert hooked.reads == reads


@pytest.mark.parametrize("garbage", [b"", b"\n", b"1-0", b"1-0\nx", b"1-0\nx y {}", b"\xff\xfe\n\xff \xff \xff"])
async def test_garbage_on_the_channel_neither_deafens_nor_misleads_us(
    hub: Hub, client: redis.asyncio.Redis, answer: Answer, garbage: bytes
) -> None:
    viewer = await hub.join(answer.id, None)
    await client.publish(channel_name(answer.id), garbage)
    await answer.say("a")
    await answer.finish()

    assert ids(await follow(viewer)) == ["1-0", "1-1", "1-2"]


@often
async def test_a_lost_publish_is_found_by_the_idle_check(hub: Hub, answer: Answer) -> None:
    viewer = await hub.join(answer.id, None)
    await follow(viewer, lambda events: len(events) == 1)
    await answer.say("lost", published=False)

    assert [event.data for event in await follow(viewer, bool)] == [{"text": "lost"}]


@often
async def test_a_lost_terminal_publish_is_found_by_the_idle_check(hub: Hub, answer: Answer) -> None:
    viewer = await hub.join(answer.id, None)
    await answer.say("a")
    await answer.finish(published=False)

    events = await follow(viewer)
    assert ids(events) == ["1-0", "1-1", "1-2"]
    assert events[-1].kind == "done"


@often
async def test_a_terminal_event_that_the_log_lacks_comes_from_the_row(hub: Hub, answer: Answer) -> None:
    viewer = await hub.join(answer.id, None)
    await answer.say("a")
    seen = await follow(viewer, lambda events: len(events) == 2)
    row = await answer.finish(logged=False)

    snapshot, end = await follow(viewer)
    assert shown(seen) == "a"
    assert (snapshot.id, snapshot.kind, snapshot.data["text"]) == ("0-0", "snapshot", "a")
    assert (end.id, end.kind) == (row.terminal_id, "done")
    assert (end.data["sha256"], end.data["length"]) == (digest("a"), 1)


@pytest.mark.parametrize("cursor", [None, EventId(1, 0), EventId(1, 1), EventId(9, 9)])
@pytest.mark.parametrize("log_is", ["gone", "cut", "without the end", "foreign"])
async def test_a_row_that_ended_serves_at_once_where_the_log_does_not(
    hub: Hub, log: EventLog, answer: Answer, cursor: EventId | None, log_is: str
) -> None:
    await answer.say("a", "b")
    row = await answer.finish(logged=False)
    if log_is == "gone":
        await log.delete(answer.id)
    elif log_is == "cut":
        await log.client.xtrim(f"events:{{{answer.id}}}", maxlen=1)
    elif log_is == "foreign":
        await log.client.xadd(f"events:{{{answer.id}}}", {"k": "delta", "d": '{"text":"z"}'}, id="1-77")

    events = await watch(hub, answer.id, cursor)
    assert ids(events) == ["0-0", row.terminal_id]
    assert shown(events) == "ab"


async def test_a_log_that_lost_its_tail_and_is_made_whole_again_is_followed_without_a_double(
    hub: Hub, live: Settings, threads: HookedThreads, answer: Answer, log: EventLog
) -> None:
    await answer.say("a", "b", "c")
    viewer = await hub.join(answer.id, None)
    kept = await log.read(answer.id)
    await answer.lose_log()
    late = await hub.join(answer.id, EventId(1, 3))
    await answer._append(kept)  # what a publisher does: the same events, the same ids
    answer._expected = kept[-1].id
    await answer.say("d")
    await answer.finish()

    assert ids(await follow(viewer)) == [f"1-{seq}" for seq in range(6)]
    assert ids(await follow(late)) == ["1-4", "1-5"]


@often
async def test_a_generation_that_ends_without_a_run_is_told_from_the_row(
    hub: Hub, live: Settings, threads: HookedThreads, log: EventLog
) -> None:
    answer = await Answer.queued(live, threads, log)
    viewer = await hub.join(answer.id, None)
    row: Any = await answer.row()
    await threads.run(_cancel, answer.id, row.tenant_id, "u1")

    snapshot, end = await follow(viewer)
    assert (snapshot.id, snapshot.data) == ("0-0", {"text": ""})
    assert (end.id, end.data["status"]) == ("1-1", "cancelled")


# The wheel


@often
@pytest.mark.parametrize("viewers", [1, 30])
async def test_one_query_and_one_pipeline_a_tick_whatever_the_number_of_viewers(
    hub: Hub,
    hooked: HookedLog,
    live: Settings,
    threads: HookedThreads,
    log: EventLog,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    viewers: int,
) -> None:
    answers = [await Answer.begun(live, threads, log) for _ in range(min(viewers, 10))]
    for number in range(viewers):
        await hub.join(answers[number % len(answers)].id, None)
    statements: list[str] = []
    execute: Any = database.execute_sql

    def counting(sql: str, *args: Any, **kwargs: Any) -> Any:
        statements.append(sql)
        return execute(sql, *args, **kwargs)

    monkeypatch.setattr(database, "execute_sql", counting)
    pipelines, reads = hooked.pipelines, hooked.reads
    await eventually(lambda: hooked.pipelines >= pipelines + 3)

    assert len(statements) - (hooked.pipelines - pipelines) in (0, 1)
    assert hooked.reads == reads


async def test_what_is_lively_or_over_is_not_looked_at(
    live: Settings, threads: HookedThreads, log: EventLog, answer: Answer
) -> None:
    async with running(replace(live, idle_check_seconds=0.5, keepalive_seconds=0.1), threads) as hub:
        await eventually(lambda: hub._subscription.up)
        viewer = await hub.join(answer.id, None)
        for _ in range(10):
            await asyncio.sleep(0.1)
            await answer.say("x")
        await answer.finish()
        await follow(viewer)
        await asyncio.sleep(0.7)

        assert isinstance(hub._log, HookedLog)
        assert hub._log.pipelines == 0


async def test_a_silent_stream_is_woken_for_its_keep_alive_even_while_an_idle_check_hangs(
    live: Settings, threads: HookedThreads, log: EventLog, answer: Answer
) -> None:
    settings = replace(live, idle_check_seconds=0.1, keepalive_seconds=0.3)
    async with running(settings, threads) as hub:
        await eventually(lambda: hub._subscription.up)
        viewer = await hub.join(answer.id, None)
        viewer.take()
        hanging = asyncio.Event()

        async def hang() -> None:
            hanging.set()
            await asyncio.sleep(60)

        threads.before = hang
        await asyncio.wait_for(hanging.wait(), 60)
        viewer.quiet_since = asyncio.get_running_loop().time()
        viewer._wake.clear()

        await asyncio.wait_for(viewer.wait(), 30)


@often
async def test_an_idle_check_that_breaks_off_is_followed_by_the_next(
    hub: Hub, threads: HookedThreads, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    viewer = await hub.join(answer.id, None)
    await follow(viewer, bool)

    async def defect() -> None:
        raise ValueError("secret words")

    threads.before = defect
    await eventually(lambda: threads.before is None)
    await answer.say("lost", published=False)

    assert shown(await follow(viewer, bool)) == "lost"
    assert "ValueError" in caplog.text
    assert "secret words" not in caplog.text


@often
async def test_an_idle_check_finds_what_was_lost_while_the_database_is_away(
    hub: Hub, threads: HookedThreads, answer: Answer
) -> None:
    viewer = await hub.join(answer.id, None)
    await follow(viewer, bool)

    async def away() -> None:
        threads.before = away
        raise Unavailable

    threads.before = away
    await answer.say("lost", published=False)

    assert shown(await follow(viewer, bool)) == "lost"
    threads.before = None


# Redis fails


async def test_a_killed_subscription_heals_and_nothing_is_lost(
    hub: Hub, client: redis.asyncio.Redis, live: Settings, threads: HookedThreads, log: EventLog
) -> None:
    answers = [await Answer.begun(live, threads, log) for _ in range(3)]
    viewers = [await hub.join(each.id, None) for each in answers]
    assert await client.client_kill_filter(_type="pubsub") == 1
    for each in answers:
        await each.say("while we were deaf")

    names = {channel_name(each.id) for each in answers}

    async def healed() -> bool:
        return await subscribed_channels(client) == names

    await eventually(healed)
    for each, viewer in zip(answers, viewers, strict=True):
        await each.say(" and now")
        await each.finish()
        events = await follow(viewer)
        assert ids(events) == ["1-0", "1-1", "1-2", "1-3"]
        assert shown(events) == each.text


async def test_a_viewer_that_joins_while_there_is_no_subscription_is_served_all_the_same(
    hub: Hub, client: redis.asyncio.Redis, answer: Answer
) -> None:
    await answer.say("a", "b")
    await client.client_kill_filter(_type="pubsub")
    await eventually(lambda: not hub._subscription.up)

    viewer = await hub.join(answer.id, EventId(1, 1))
    assert ids(await follow(viewer, bool)) == ["1-2"]
    await eventually(lambda: channel_name(viewer.channel.id) in hub._subscription)
    await answer.finish()
    assert ids(await follow(viewer)) == ["1-3"]


async def test_a_viewer_that_joins_before_the_hub_is_up_is_served_all_the_same(
    live: Settings, threads: HookedThreads, answer: Answer
) -> None:
    await answer.say("a", "b")
    async with running(live, threads) as hub:
        viewer = await hub.join(answer.id, EventId(1, 1))
        assert ids(await follow(viewer, bool)) == ["1-2"]
        await eventually(lambda: channel_name(viewer.channel.id) in hub._subscription)
        await answer.finish()
        assert ids(await follow(viewer)) == ["1-3"]


@pytest.mark.usefixtures("quick")
async def test_a_subscription_that_went_dead_is_given_up_and_another_one_found(
    live: Settings, threads: HookedThreads, redis_socket: Path, answer: Answer, tmp_path: Path
) -> None:
    async with line_to(redis_socket, tmp_path) as line, running(live, threads, None, line.url) as hub:
        await eventually(lambda: hub._subscription.up)
        viewer = await hub.join(answer.id, None)
        await follow(viewer, bool)
        line.cut()
        opened = line.opened
        await answer.say("a")
        await eventually(lambda: line.opened > opened)  # this one is dead from its beginning
        line.mend()
        await answer.say("b")
        await answer.finish()

        events = await follow(viewer)
        assert ids(events) == ["1-1", "1-2", "1-3"]


async def test_an_ended_row_is_served_while_redis_is_away(
    live: Settings, threads: HookedThreads, log: EventLog, answer: Answer, tmp_path: Path
) -> None:
    await answer.say("a")
    row = await answer.finish()
    async with running(live, threads, f"unix://{tmp_path}/nothing.sock") as hub:
        for cursor in (None, EventId(1, 1)):
            async with asyncio.timeout(60):
                events = await watch(hub, answer.id, cursor)
            assert ids(events) == ["0-0", row.terminal_id]
            assert shown(events) == "a"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("cursor", [None, EventId(1, 1)])
async def test_an_ended_row_is_served_while_redis_hangs(
    live: Settings, threads: HookedThreads, answer: Answer, own_redis: RedisProcess, cursor: EventId | None
) -> None:
    row = await answer.finish()
    async with running(live, threads, own_redis.url) as hub:
        await eventually(lambda: hub._subscription.up)
        own_redis.freeze()
        try:
            async with asyncio.timeout(60):
                assert ids(await watch(hub, answer.id, cursor)) == ["0-0", row.terminal_id]
        finally:
            own_redis.thaw()


@pytest.mark.usefixtures("quick")
async def test_viewers_of_a_running_answer_outlast_a_redis_that_dies_and_comes_back_empty(
    live: Settings, threads: HookedThreads, own_redis: RedisProcess
) -> None:
    settings = replace(live, redis_url=own_redis.url)
    client = connect_redis(own_redis.url)
    answer = await Answer.begun(settings, threads, EventLog(client))
    async with running(settings, threads) as hub:
        await eventually(lambda: hub._subscription.up)
        viewer = await hub.join(answer.id, None)
        await answer.say("a")
        seen = await follow(viewer, lambda events: len(events) == 2)
        kept = await EventLog(client).read(answer.id)
        own_redis.kill()
        await eventually(lambda: not hub._subscription.up)
        late = await hub.join(answer.id, None)
        own_redis.start()
        await client.connection_pool.disconnect()
        answer._expected = None
        await answer._append(kept)
        answer._expected = kept[-1].id
        await answer.say("b")
        await answer.finish()

        assert ids(seen + await follow(viewer)) == ["1-0", "1-1", "1-2", "1-3"]
        assert ids(await follow(late)) == ["1-0", "1-1", "1-2", "1-3"]
    await client.aclose()


@often
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_an_answer_that_ends_while_redis_is_away_ends_its_viewers(
    live: Settings, threads: HookedThreads, log: EventLog, own_redis: RedisProcess, how: str
) -> None:
    client = connect_redis(own_redis.url)
    answer = await Answer.begun(live, threads, EventLog(client))
    async with running(live, threads, own_redis.url) as hub:
        await eventually(lambda: hub._subscription.up)
        viewer = await hub.join(answer.id, None)
        await answer.say("a")
        await follow(viewer, lambda events: len(events) == 2)
        own_redis.kill() if how == "killed" else own_redis.freeze()
        try:
            row = await answer.finish(logged=False)
            events = await follow(viewer)
        finally:
            if how == "frozen":
                own_redis.thaw()
    await client.aclose()

    assert ids(events) == ["0-0", row.terminal_id]
    assert shown(events) == "a"


@often
async def test_a_subscription_that_was_not_acknowledged_is_made_later(
    hub: Hub, client: redis.asyncio.Redis, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unheard(_: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(hub._subscription, "add", unheard)
        viewer = await hub.join(answer.id, None)
        assert await follow(viewer, bool)
    await eventually(lambda: channel_name(viewer.channel.id) in hub._subscription)

    assert await subscribed_channels(client) == {channel_name(answer.id)}


async def test_a_defect_in_what_is_heard_does_not_end_the_hearing(
    hub: Hub,
    client: redis.asyncio.Redis,
    answer: Answer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    viewer = await hub.join(answer.id, None)
    heard = asyncio.Event()

    def broken(*_: object) -> None:
        heard.set()
        raise ZeroDivisionError("canary")

    with monkeypatch.context() as patch:
        patch.setattr(hub._subscription, "_hear", broken)
        await answer.say("a")
        await asyncio.wait_for(heard.wait(), 60)
    await eventually(lambda: viewer.channel.tail == answer.last)
    await answer.finish()

    assert ids(await follow(viewer)) == ["1-0", "1-1", "1-2"]
    assert "ZeroDivisionError" in caplog.text
    assert "canary" not in caplog.text


async def test_a_database_that_is_away_at_the_join_does_not_keep_the_log_from_a_viewer(
    hub: Hub, threads: HookedThreads, answer: Answer
) -> None:
    await answer.say("a")

    async def away() -> None:
        raise Unavailable

    threads.before = away
    viewer = await hub.join(answer.id, None)

    assert shown(await follow(viewer, bool)) == "a"


# Leaving


async def test_the_last_viewer_that_leaves_takes_the_subscription_along(
    hub: Hub, client: redis.asyncio.Redis, answer: Answer
) -> None:
    one, other = await hub.join(answer.id, None), await hub.join(answer.id, None)
    hub.leave(one)
    assert (hub.viewers, hub.channels) == (1, 1)
    assert await subscribed_channels(client) == {channel_name(answer.id)}

    hub.leave(other)
    hub.leave(other)
    assert (hub.viewers, hub.channels) == (0, 0)
    await eventually(lambda: _is_empty(subscribed_channels(client)))


@pytest.mark.parametrize("subscribed", [False, True])
async def test_one_that_leaves_while_it_joins_leaves_nothing_behind(
    hub: Hub, threads: HookedThreads, client: redis.asyncio.Redis, answer: Answer, subscribed: bool
) -> None:
    held = asyncio.Event()
    threads.before = held.wait  # type: ignore[assignment]
    joining = asyncio.create_task(hub.join(answer.id, None))
    await asyncio.sleep(0)
    if subscribed:
        await eventually(lambda: _is_some(subscribed_channels(client)))
    joining.cancel()
    await asyncio.wait([joining])
    held.set()

    assert joining.cancelled()
    assert (hub.viewers, hub.channels) == (0, 0)
    await eventually(lambda: not hub._tasks)
    await eventually(lambda: _is_empty(subscribed_channels(client)))


@pytest.mark.usefixtures("patient")
async def test_one_that_comes_as_another_leaves_hears_everything(
    hub: Hub, client: redis.asyncio.Redis, answer: Answer
) -> None:
    for number in range(30):
        viewer = await hub.join(answer.id, None)
        hub.leave(viewer)
        if number % 3:
            await asyncio.sleep(0)
        joining = asyncio.create_task(hub.join(answer.id, answer.last))
        if number % 2:
            await asyncio.sleep(0)
        after = answer.last
        async with asyncio.timeout(60):  # an acknowledgement that never comes is waited for longer
            other = await joining
        await answer.say(str(number))
        events = await follow(other, bool)
        assert ids(events) == [f"1-{after.seq + 1}"]
        hub.leave(other)
    await eventually(lambda: _is_empty(subscribed_channels(client)))


@pytest.mark.usefixtures("patient")
async def test_joins_and_leaves_in_any_order_leave_nothing_behind_and_wait_for_nothing(
    hub: Hub, client: redis.asyncio.Redis, live: Settings, threads: HookedThreads, log: EventLog
) -> None:
    seed = random.randrange(10**9)
    answers = [await Answer.begun(live, threads, log) for _ in range(3)]

    async def come_and_go(number: int) -> None:
        chance = random.Random(seed + number)
        for _ in range(15):
            joining = asyncio.create_task(hub.join(chance.choice(answers).id, None))
            for _ in range(chance.randint(0, 4)):
                await asyncio.sleep(0)
            if chance.random() < 0.3:
                joining.cancel()
            async with asyncio.timeout(60):  # an acknowledgement that never comes is waited for longer
                with contextlib.suppress(asyncio.CancelledError):
                    hub.leave(await joining)

    await asyncio.gather(*(come_and_go(number) for number in range(10)))

    assert (hub.viewers, hub.channels) == (0, 0), f"{seed=}"
    await eventually(lambda: _is_empty(subscribed_channels(client)))
    await eventually(lambda: not hub._tasks and not hub._subscription._acks)


# Draining


async def test_a_drain_tells_everyone_and_whoever_comes_later_to_come_back_elsewhere(
    hub: Hub, hooked: HookedLog, live: Settings, threads: HookedThreads, log: EventLog, answer: Answer
) -> None:
    viewer = await hub.join(answer.id, None)
    held = asyncio.Event()
    hooked.before = held.wait  # type: ignore[assignment]
    joining = asyncio.create_task(hub.join((await Answer.begun(live, threads, log)).id, None))
    await eventually(lambda: hub.viewers == 2)
    hub.drain()
    held.set()
    late = await hub.join(answer.id, None)

    for each in (viewer, await joining, late):
        async with asyncio.timeout(60):
            while each.closing is None:
                await each.wait()
        assert each.closing == ("draining", True)
    assert hub.draining


async def test_a_hub_that_closes_lets_nobody_wait(
    live: Settings, threads: HookedThreads, answer: Answer, tmp_path: Path
) -> None:
    async with running(live, threads) as hub:
        await eventually(lambda: hub._subscription.up)
        assert isinstance(hub._log, HookedLog)
        hub._log.before = asyncio.Event().wait  # type: ignore[assignment]
        joining = asyncio.create_task(hub.join(answer.id, None))
        await eventually(lambda: isinstance(hub._log, HookedLog) and hub._log.reads == 1)
        await hub.close()

        await asyncio.wait_for(joining, 60)


async def test_a_failing_reader_logs_no_traceback(
    live: Settings, threads: HookedThreads, answer: Answer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(live, threads, f"unix://{tmp_path}/nothing.sock") as hub:
        viewer = await hub.join(answer.id, EventId(1, 5))
        hub.leave(viewer)
        await eventually(lambda: not hub._tasks)

    assert "never retrieved" not in caplog.text
    assert "Traceback" not in caplog.text


async def _is_empty(found: Awaitable[set[str]]) -> bool:
    return not await found


async def _is_some(found: Awaitable[set[str]]) -> bool:
    return bool(await found)


def _expire(generation_id: str) -> None:
    Generation.update(lease_until=1).where(Generation.id == generation_id).execute()
