"""The log writer: what many publishers append at once goes out together, and each hears of its own."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ResponseError

from models.event import EventId, Frame, Kind
from models.event_log import LOG_AWAY, Append, EventLog, connect_redis, log_key
from tasks.log_writer import LogWriter
from tests.redis_process import RedisProcess
from tests.tasks.conftest import running_writer


def frame(seq: int) -> Frame:
    return Frame(EventId(1, seq), Kind.DELTA, b'{"text":"a"}')


def append(generation_id: str, seq: int = 0, expected: EventId | None = None) -> Append:
    return Append(generation_id, expected, [frame(seq)], 60.0)


async def test_an_append_is_answered_with_the_tail(writer: LogWriter, log: EventLog) -> None:
    assert await writer.append(append("a")) == EventId(1, 0)
    assert await writer.append(append("a", 1, EventId(1, 0))) == EventId(1, 1)
    assert await writer.append(append("a", 7, EventId(1, 6))) == EventId(1, 1)
    assert await log.read("a") == [frame(0), frame(1)]


async def test_each_of_many_hears_of_its_own(writer: LogWriter, log: EventLog) -> None:
    found = await asyncio.gather(*(writer.append(append(f"g{number}", number)) for number in range(400)))

    assert found == [EventId(1, number) for number in range(400)]


async def test_appends_of_one_log_keep_their_order(writer: LogWriter, log: EventLog) -> None:
    expected = [None, *(EventId(1, seq) for seq in range(50))]

    found = await asyncio.gather(*(writer.append(append("a", seq, before)) for seq, before in enumerate(expected)))

    assert found == [EventId(1, seq) for seq in range(51)]


async def commands(log: EventLog) -> tuple[int, int]:
    """How many pipelines' worth of writes and how many scripts Redis has run."""
    stats: Any = await log.client.info("commandstats")
    server: Any = await log.client.info("stats")
    return server["total_reads_processed"], stats["cmdstat_evalsha"]["calls"]


async def test_what_comes_up_in_one_tick_goes_out_together(writer: LogWriter, log: EventLog) -> None:
    await writer.append(append("first"))
    reads, scripts = await commands(log)

    await asyncio.gather(*(writer.append(append(f"g{number}")) for number in range(50)))

    reads_after, scripts_after = await commands(log)
    assert scripts_after - scripts == 50
    assert reads_after - reads < 10  # the pipeline, and the questions of this test


async def test_what_is_wrong_with_one_does_not_touch_the_others(writer: LogWriter, log: EventLog) -> None:
    await log.client.set(log_key("taken"), "no stream")

    found = await asyncio.gather(*(writer.append(append(each)) for each in ("a", "taken", "b")), return_exceptions=True)

    assert (found[0], found[2]) == (EventId(1, 0), EventId(1, 0))
    assert isinstance(found[1], ResponseError)


async def test_an_append_that_cannot_be_sent_does_not_end_the_writing(writer: LogWriter, log: EventLog) -> None:
    with pytest.raises(UnicodeEncodeError):
        await writer.append(append("\ud800"))

    assert await writer.append(append("a")) == EventId(1, 0)


async def test_who_has_gone_leaves_the_others_their_answers(writer: LogWriter, log: EventLog) -> None:
    leaving, staying = (asyncio.create_task(writer.append(append(each))) for each in ("a", "b"))
    await asyncio.sleep(0)
    leaving.cancel()

    assert await staying == EventId(1, 0)
    assert await writer.append(append("c")) == EventId(1, 0)
    assert leaving.cancelled()


async def test_everybody_hears_that_redis_is_away_and_the_writer_goes_on(
    own_redis: RedisProcess, own_writer: LogWriter
) -> None:
    found = await asyncio.gather(*(own_writer.append(append(each)) for each in ("a", "b")), return_exceptions=True)
    assert all(isinstance(each, LOG_AWAY) for each in found)

    own_redis.start()
    assert await own_writer.append(append("a")) == EventId(1, 0)

    own_redis.kill()
    with pytest.raises(LOG_AWAY):
        await own_writer.append(append("a", 1, EventId(1, 0)))

    own_redis.start()
    assert await own_writer.append(append("a", 1, EventId(1, 0))) is None


async def test_a_redis_that_hangs_is_away_after_its_time(own_redis: RedisProcess) -> None:
    own_redis.start()
    async with connect_redis(own_redis.url, timeout_seconds=0.05) as client, running_writer(client) as writer:
        await writer.append(append("a"))
        own_redis.freeze()
        with pytest.raises(LOG_AWAY):
            await writer.append(append("a", 1, EventId(1, 0)))
        own_redis.thaw()

        # The append whose reply was lost has reached the log: the repetition says so and writes nothing twice.
        assert await writer.append(append("a", 1, EventId(1, 0))) == EventId(1, 1)
        assert await EventLog(client).read("a") == [frame(0), frame(1)]
