"""Every web process says how many viewers it has, and each can tell what the others said."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from models.event_log import connect_redis
from models.settings import Settings
from streamer import presence
from streamer.presence import Presence
from tasks.end_tasks import end_tasks
from tests.streamer.eventually import eventually


@pytest.fixture
async def client(live: Settings) -> AsyncIterator[redis.asyncio.Redis]:
    client = connect_redis(live.redis_url)
    yield client
    await client.aclose()


async def test_alone_a_process_has_no_others(client: redis.asyncio.Redis) -> None:
    mine = Presence(client, lambda: 3)
    assert await mine.others() == (0, 0)
    await mine.beat()
    assert await mine.others() == (0, 0)


async def test_the_others_are_added_up_until_they_fall_silent(client: redis.asyncio.Redis) -> None:
    mine, second, third = Presence(client, lambda: 3), Presence(client, lambda: 4), Presence(client, lambda: 5)
    for each in (mine, second, third):
        await each.beat()
    assert await mine.others() == (9, 2)
    assert await third.others() == (7, 2)

    key = f"web:{second._process}"
    assert 0 < await client.ttl(key) <= presence.LIFE_SECONDS
    await client.delete(key)  # as its time does

    assert await mine.others() == (5, 1)
    assert not await client.sismember("web", second._process)
    await second.beat()
    assert await mine.others() == (9, 2)


async def test_the_number_is_said_again_and_again_whatever_redis_does(
    client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "BEAT_SECONDS", 0.01)
    said: list[int] = []
    mine = Presence(client, lambda: 3)

    async def beat() -> None:
        said.append(len(said))
        if len(said) == 2:
            raise redis.ConnectionError

    monkeypatch.setattr(mine, "beat", beat)
    beating = asyncio.create_task(mine.beat_forever())
    await eventually(lambda: len(said) > 3 or beating.done())
    beating.cancel()
    await asyncio.wait([beating])

    assert beating.cancelled()


async def test_who_begins_forgets_those_that_have_ended(client: redis.asyncio.Redis) -> None:
    await client.sadd("web", "ended")
    beating = asyncio.create_task(Presence(client, lambda: 0).beat_forever())

    async def forgotten() -> bool:
        return not await client.sismember("web", "ended")

    await eventually(forgotten)
    await end_tasks(beating)
