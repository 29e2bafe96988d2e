"""The sliding window: exact, shared by any number of processes, and on Redis's clock alone."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio

from models.event_log import connect_redis
from models.rate_limit import Limit, RateLimit, window_key
from models.route import Route
from models.settings import Settings

LIMIT = Limit(30, 300.0)
KEY = window_key(1, "chat", "visitor")


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect_redis(redis_url) as client:
        yield client


@pytest.fixture
def rate_limit(client: redis.asyncio.Redis) -> RateLimit:
    return RateLimit(client)


async def put(client: redis.asyncio.Redis, *seconds_ago: float) -> None:
    """Requests that were counted so long ago; below 0: by a clock that was ahead."""
    seconds, microseconds = await client.time()
    now = seconds * 1_000_000 + microseconds
    await client.zadd(KEY, {f"{ago}": now - ago * 1_000_000 for ago in seconds_ago})


async def members(client: redis.asyncio.Redis) -> list[tuple[bytes, float]]:
    found: Any = await client.zrange(KEY, 0, -1, withscores=True)
    return list(found)


def test_the_limit_is_the_routes_else_the_settings(settings: Settings) -> None:
    assert Limit.of(Route(model="demo:echo"), settings) == (30, 300)
    assert Limit.of(Route(model="demo:echo", max_requests=5, request_window_seconds=10), settings) == (5, 10)


async def test_a_request_takes_a_place_and_tells_what_is_left(rate_limit: RateLimit) -> None:
    first, second = await rate_limit.count(KEY, LIMIT), await rate_limit.count(KEY, LIMIT)

    assert (first.admitted, first.remaining) == (second.admitted, second.remaining + 1) == (True, 29)
    assert 295 < second.free_seconds <= 300
    assert second.reset_seconds in range(296, 301)


async def test_of_a_race_on_several_connections_exactly_the_limit_is_admitted(redis_url: str) -> None:
    clients = [connect_redis(redis_url) for _ in range(4)]
    try:
        windows = await asyncio.gather(*(RateLimit(clients[number % 4]).count(KEY, LIMIT) for number in range(120)))
    finally:
        for client in clients:
            await client.aclose()

    assert sum(window.admitted for window in windows) == 30
    assert sorted(window.remaining for window in windows if window.admitted) == list(range(30))
    assert {window.remaining for window in windows if not window.admitted} == {0}


async def test_a_refused_request_leaves_the_window_as_it_is(rate_limit: RateLimit, client: redis.asyncio.Redis) -> None:
    await put(client, *range(100, 130))
    before = await members(client)

    window = await rate_limit.count(KEY, LIMIT)

    assert (window.admitted, window.remaining) == (False, 0)
    assert 170 < window.free_seconds <= 171
    assert await members(client) == before


async def test_a_request_that_left_the_window_makes_room_for_one(
    rate_limit: RateLimit, client: redis.asyncio.Redis
) -> None:
    await put(client, 300.5, *range(100, 129))

    assert [(await rate_limit.count(KEY, LIMIT)).admitted for _ in range(2)] == [True, False]


async def test_under_a_lower_limit_one_waits_until_so_many_have_left(
    rate_limit: RateLimit, client: redis.asyncio.Redis
) -> None:
    await put(client, *range(10, 40))

    window = await rate_limit.count(KEY, Limit(10, 300.0))

    assert (window.admitted, window.remaining) == (False, 0)
    assert 280 < window.free_seconds <= 281, "21 must leave, the youngest of which is 19 s old"


async def test_a_clock_that_was_set_back_locks_nobody_out_for_long(
    rate_limit: RateLimit, client: redis.asyncio.Redis
) -> None:
    await put(client, *(-3600 - number for number in range(30)))

    assert (await rate_limit.count(KEY, LIMIT)).remaining == 29


async def test_what_came_to_nothing_gives_its_place_back(rate_limit: RateLimit, client: redis.asyncio.Redis) -> None:
    kept = await rate_limit.count(KEY, LIMIT)
    await rate_limit.give_back(await rate_limit.count(KEY, LIMIT))

    assert [member for member, _ in await members(client)] == [kept.member.encode()]


async def test_visitors_routes_and_tenants_have_windows_of_their_own_and_no_name_is_in_a_key() -> None:
    keys = {
        window_key(tenant, route, visitor)
        for tenant in (1, 11)
        for route in ("chat", "1")
        for visitor in ("ann", "1:ann")
    }

    assert len(keys) == 8
    assert not any("ann" in key for key in keys)


async def test_a_request_costs_one_round_trip_once_redis_knows_the_script(
    rate_limit: RateLimit, client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    execute: Any = client.execute_command

    async def note(*command: Any, **options: Any) -> Any:
        sent.append(command[0])
        return await execute(*command, **options)

    monkeypatch.setattr(client, "execute_command", note)
    await client.script_flush()
    for _ in range(3):
        await rate_limit.count(KEY, LIMIT)

    assert sent[1:] == ["EVALSHA", "EVAL", "EVALSHA", "EVALSHA"]


async def test_a_full_redis_counts_all_the_same(rate_limit: RateLimit, client: redis.asyncio.Redis) -> None:
    await client.config_set("maxmemory", "1")
    try:
        windows = [await rate_limit.count(KEY, Limit(3, 300.0)) for _ in range(5)]
    finally:
        await client.config_set("maxmemory", "0")

    assert [window.admitted for window in windows] == [True, True, True, False, False]


async def test_a_window_that_nobody_uses_goes_away(rate_limit: RateLimit, client: redis.asyncio.Redis) -> None:
    await rate_limit.count(KEY, LIMIT)

    assert 295_000 < await client.pttl(KEY) <= 300_000
