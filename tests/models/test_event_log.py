"""The event log in a real Redis: compare and append, publish, read on from a cursor, and be gone in time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from models.event import EventId, Frame, Kind, Text, encode
from models.event_log import (
    CANCEL_CHANNEL,
    LOG_AWAY,
    PIPELINE_COMMANDS,
    READ_ENTRIES,
    Append,
    EventLog,
    channel_name,
    connect_redis,
    generation_of_channel,
    log_key,
    parse_published,
)

ID = "0190-generation"
LIFE_SECONDS = 600.0


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect_redis(redis_url) as found:
        yield found


@pytest.fixture
def log(client: redis.asyncio.Redis) -> EventLog:
    return EventLog(client)


def frames(run: int, first: int, last: int, text: str = "t") -> list[Frame]:
    return [
        Frame(EventId(run, seq), Kind.DELTA, encode(Text(text=f"{text}{run}.{seq} "))) for seq in range(first, last + 1)
    ]


async def append(
    log: EventLog,
    expected: EventId | None,
    new: Sequence[Frame],
    *,
    generation_id: str = ID,
    ended: float | None = None,
) -> Any:
    (found,) = await log.append([Append(generation_id, expected, new, LIFE_SECONDS, ended)])
    return found


async def life_ms(log: EventLog) -> int:
    return int(await log.client.pttl(log_key(ID)))


async def test_a_first_append_makes_the_log(log: EventLog) -> None:
    new = frames(1, 0, 3)

    assert await append(log, None, new) == EventId(1, 3)
    assert await log.read(ID) == new


async def test_an_append_goes_on_from_the_tail_that_is_expected(log: EventLog) -> None:
    await append(log, None, frames(1, 0, 3))

    assert await append(log, EventId(1, 3), frames(1, 4, 5)) == EventId(1, 5)
    assert await log.read(ID) == frames(1, 0, 5)


@pytest.mark.parametrize("expected", [None, EventId(1, 1), EventId(1, 4), EventId(2, 0)])
async def test_another_tail_than_expected_is_answered_and_nothing_written(
    log: EventLog, expected: EventId | None
) -> None:
    await append(log, None, frames(1, 0, 3))

    assert await append(log, expected, frames(2, 1, 2)) == EventId(1, 3)
    assert await log.read(ID) == frames(1, 0, 3)


async def test_a_repetition_after_a_lost_reply_is_a_success_and_writes_nothing_twice(log: EventLog) -> None:
    await append(log, None, frames(1, 0, 1))

    first = await append(log, EventId(1, 1), frames(1, 2, 4))
    again = await append(log, EventId(1, 1), frames(1, 2, 4))

    assert first == again == EventId(1, 4)
    assert await log.read(ID) == frames(1, 0, 4)


async def test_a_log_that_vanished_is_answered_as_none(log: EventLog) -> None:
    await append(log, None, frames(1, 0, 3))
    await log.client.flushall()

    assert await append(log, EventId(1, 3), frames(1, 4, 5)) is None
    assert await log.read(ID) == []


async def test_a_log_that_lost_its_end_is_answered_with_where_it_ends(log: EventLog) -> None:
    await append(log, None, frames(1, 0, 9))
    await log.client.delete(log_key(ID))
    await append(log, None, frames(1, 0, 5))  # as a replica that lagged behind

    assert await append(log, EventId(1, 9), frames(1, 10, 10)) == EventId(1, 5)
    assert await append(log, EventId(1, 5), frames(1, 6, 10)) == EventId(1, 10)
    assert await log.read(ID) == frames(1, 0, 10)


async def test_a_newer_run_fences_out_an_older_one_that_knows_the_tail(log: EventLog) -> None:
    await append(log, None, frames(1, 0, 3))
    await append(log, EventId(1, 3), frames(2, 0, 0))

    refused = await append(log, EventId(2, 0), frames(1, 4, 4))

    assert isinstance(refused, ResponseError)
    assert await log.read(ID) == frames(1, 0, 3) + frames(2, 0, 0)


async def test_an_append_that_redis_refuses_halfway_leaves_the_others_of_its_pipeline_alone(log: EventLog) -> None:
    await log.client.set(log_key("taken"), "no stream")
    batch = [Append(each, None, frames(1, 0, 1), LIFE_SECONDS) for each in ("a", "taken", "b")]

    before, refused, after = await log.append(batch)

    assert (before, after) == (EventId(1, 1), EventId(1, 1))
    assert isinstance(refused, RedisError)
    assert isinstance(refused, LOG_AWAY)


async def test_an_append_takes_another_connection_where_the_kept_one_broke(log: EventLog, redis_url: str) -> None:
    await append(log, None, frames(1, 0, 0))
    async with connect_redis(redis_url) as other:
        await other.client_kill_filter(_type="normal", skipme=True)

    assert await append(log, EventId(1, 0), frames(1, 1, 1)) == EventId(1, 1)


async def test_of_appends_at_once_one_connection_is_kept(log: EventLog) -> None:
    await append(log, None, frames(1, 0, 0))
    await asyncio.gather(*(append(log, EventId(1, 0), frames(1, 1, 1)) for _ in range(3)))

    pool: Any = log.client.connection_pool
    assert len(pool._in_use_connections) == len(log._kept) == 1


async def test_the_script_is_loaded_again_after_it_was_flushed(log: EventLog) -> None:
    await append(log, None, frames(1, 0, 1))
    await log.client.script_flush()

    assert await append(log, EventId(1, 1), frames(1, 2, 2)) == EventId(1, 2)
    assert await log.read(ID) == frames(1, 0, 2)


async def test_logs_are_written_side_by_side_beyond_one_pipeline(log: EventLog) -> None:
    ids = [f"generation-{number}" for number in range(2 * PIPELINE_COMMANDS + 3)]

    found = await log.append([Append(each, None, frames(1, 0, 0, each), LIFE_SECONDS) for each in ids])

    assert found == [EventId(1, 0)] * len(ids)
    assert await log.read(ids[-1]) == frames(1, 0, 0, ids[-1])
    assert await log.tails([*ids, "none"]) == [EventId(1, 0)] * len(ids) + [None]


async def test_nothing_to_append_and_nothing_to_look_at_is_no_round_trip(log: EventLog) -> None:
    assert await log.append([]) == []
    assert await log.tails([]) == []


async def test_any_bytes_of_a_frame_come_back_as_they_were(log: EventLog) -> None:
    new = [Frame(EventId(1, 0), Kind.DELTA, encode(Text(text="ü\u2028\r\n\0 \t🙂")))]
    await append(log, None, new)

    assert await log.read(ID) == new


@pytest.mark.parametrize("count", [READ_ENTRIES - 1, READ_ENTRIES, READ_ENTRIES + 1, 2 * READ_ENTRIES + 5])
async def test_a_long_log_is_read_whole(log: EventLog, count: int) -> None:
    await append(log, None, frames(1, 0, count - 1))

    assert [frame.id.seq for frame in await log.read(ID)] == list(range(count))


async def test_a_log_is_read_on_from_a_cursor_over_runs(log: EventLog) -> None:
    await append(log, None, frames(1, 0, 3) + frames(2, 0, 2))

    assert await log.read(ID, EventId(1, 2)) == frames(1, 3, 3) + frames(2, 0, 2)
    assert await log.read(ID, EventId(1, 99)) == frames(2, 0, 2)
    assert await log.read(ID, EventId(2, 2)) == []
    assert await log.read(ID, EventId(0, 0)) == frames(1, 0, 3) + frames(2, 0, 2)


async def test_there_is_nothing_to_read_where_there_is_no_log(log: EventLog) -> None:
    assert await log.read(ID) == []
    assert await log.tails([ID]) == [None]


async def test_a_new_log_lives_as_long_as_it_is_told_and_going_on_does_not_change_that(log: EventLog) -> None:
    await append(log, None, frames(1, 0, 0))
    assert LIFE_SECONDS * 1000 - 30_000 < await life_ms(log) <= LIFE_SECONDS * 1000

    await log.client.pexpire(log_key(ID), 100_000)
    await append(log, EventId(1, 0), frames(1, 1, 1))
    assert await life_ms(log) <= 100_000


async def test_a_terminal_event_shortens_the_life_of_a_log(log: EventLog) -> None:
    await append(log, None, frames(1, 0, 0))

    await append(log, EventId(1, 0), frames(1, 1, 1), ended=30.0)

    assert 0 < await life_ms(log) <= 30_000


async def test_a_log_that_a_terminal_event_makes_has_the_life_of_an_ended_one(log: EventLog) -> None:
    await append(log, None, frames(2, 0, 1), ended=30.0)

    assert 0 < await life_ms(log) <= 30_000


async def test_an_append_that_is_too_late_does_not_change_the_life_of_a_log(log: EventLog) -> None:
    await append(log, None, frames(1, 0, 0))

    await append(log, None, frames(1, 1, 1), ended=1.0)

    assert await life_ms(log) > 30_000


async def test_a_log_is_erased(log: EventLog) -> None:
    await append(log, None, frames(1, 0, 0))

    await log.delete(ID)

    assert await log.tails([ID]) == [None]


class Listener:
    """What is published on some channels, from before the first publish on."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    async def next(self) -> tuple[bytes, bytes]:
        async with asyncio.timeout(60):
            async for message in self._channel.listen():
                return message["channel"], message["data"]
        raise AssertionError("the subscription ended")


@pytest.fixture
async def listener(client: redis.asyncio.Redis, redis_url: str) -> AsyncIterator[Listener]:
    async with connect_redis(redis_url, timeout_seconds=None) as own, own.pubsub() as channel:
        names = [channel_name(ID), CANCEL_CHANNEL]
        await channel.subscribe(*names)
        for _ in names:
            await channel.get_message(timeout=60)
        yield Listener(channel)


async def test_what_is_appended_is_published_with_the_tail_before(log: EventLog, listener: Listener) -> None:
    await append(log, None, frames(1, 0, 1))
    await append(log, EventId(1, 1), frames(1, 2, 2, "two words\u2028"))

    channel, first = await listener.next()
    _, second = await listener.next()

    assert generation_of_channel(channel) == ID
    assert parse_published(first) == (None, frames(1, 0, 1))
    assert parse_published(second) == (EventId(1, 1), frames(1, 2, 2, "two words\u2028"))


async def test_a_refused_or_repeated_append_publishes_nothing(log: EventLog, listener: Listener) -> None:
    await append(log, None, frames(1, 0, 1))
    await append(log, None, frames(1, 0, 1))
    await append(log, EventId(1, 7), frames(1, 8, 8))
    await append(log, EventId(1, 1), frames(1, 2, 2))

    published = [parse_published((await listener.next())[1]) for _ in range(2)]

    assert published == [(None, frames(1, 0, 1)), (EventId(1, 1), frames(1, 2, 2))]


async def test_a_nudge_carries_the_generations_id(log: EventLog, listener: Listener) -> None:
    await log.nudge_cancel(ID)

    assert await listener.next() == (CANCEL_CHANNEL.encode(), ID.encode())


async def test_a_redis_that_is_away_is_told_as_such(redis_url: str) -> None:
    async with connect_redis(redis_url.replace("redis.sock", "gone.sock")) as client:
        log = EventLog(client)
        for work in (append(log, None, frames(1, 0, 0)), log.read(ID), log.tails([ID]), log.nudge_cancel(ID)):
            with pytest.raises(LOG_AWAY):
                await work


async def test_of_two_writers_that_believe_in_one_tail_only_one_writes(log: EventLog, redis_url: str) -> None:
    async with connect_redis(redis_url) as other:
        both = await asyncio.gather(
            *(append(each, None, frames(1, 0, 3, name)) for each, name in ((log, "a"), (EventLog(other), "b")))
        )

    assert both == [EventId(1, 3), EventId(1, 3)]
    assert await log.read(ID) in (frames(1, 0, 3, "a"), frames(1, 0, 3, "b"))
