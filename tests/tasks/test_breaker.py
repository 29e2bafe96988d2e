"""The circuit breaker: one for all workers, one a model, and none where Redis is away."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio

from models.errors import (
    ProviderAuthFailed,
    ProviderFailure,
    ProviderOverloaded,
    ProviderProtocolBroken,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnreachable,
)
from models.event_log import connect_redis
from models.settings import Settings
from tasks.breaker import Breaker, Permit, circuit_key
from tests.redis_process import RedisProcess
from tests.tasks.waiting import until

MODEL = ("openai", "gpt-4o-mini")
NEVER_SECONDS = 3600.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(
        settings,
        breaker_failures=3,
        breaker_window_seconds=NEVER_SECONDS,
        breaker_cool_down_seconds=NEVER_SECONDS,
        breaker_max_cool_down_seconds=NEVER_SECONDS,
        breaker_probe_seconds=NEVER_SECONDS,
    )


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect_redis(redis_url) as client:
        yield client


@pytest.fixture
def breaker(client: redis.asyncio.Redis, settings: Settings) -> Breaker:
    return Breaker(client, settings)


def hasty(client: redis.asyncio.Redis, settings: Settings, **more: Any) -> Breaker:
    """One whose cool-down is over in a moment."""
    return Breaker(client, dataclasses.replace(settings, breaker_cool_down_seconds=0.02, **more))


async def call(breaker: Breaker, failure: ProviderFailure | None, *, came: bool = False) -> Permit:
    """A call that ends so, if it may start."""
    permit = await breaker.enter(*MODEL)
    if permit is not Permit.REFUSED:
        await breaker.leave(*MODEL, permit, failure, came=came or failure is None)
    return permit


async def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        assert await call(breaker, ProviderOverloaded()) is Permit.FREE


async def becomes_probe(breaker: Breaker) -> None:
    """Returns once the cool-down is over, as the one that probes."""
    await until(lambda: _is_probe(breaker))


async def _is_probe(breaker: Breaker) -> bool:
    return await breaker.enter(*MODEL) is Permit.PROBE


async def test_a_model_that_answers_may_be_called_and_leaves_no_key(
    breaker: Breaker, client: redis.asyncio.Redis
) -> None:
    assert await call(breaker, None) is Permit.FREE
    assert await client.keys("*") == []


@pytest.mark.parametrize("kind", [ProviderOverloaded, ProviderTimeout, ProviderUnreachable])
async def test_failures_in_a_row_open_it_for_every_worker(
    breaker: Breaker, client: redis.asyncio.Redis, settings: Settings, kind: type[ProviderFailure]
) -> None:
    other = Breaker(client, settings)
    for each in (breaker, other, breaker):
        assert await call(each, kind()) is Permit.FREE

    assert await breaker.enter(*MODEL) is Permit.REFUSED
    assert await other.enter(*MODEL) is Permit.REFUSED


@pytest.mark.parametrize("kind", [ProviderRateLimited, ProviderAuthFailed, ProviderProtocolBroken])
async def test_what_is_not_the_providers_fault_does_not_count(breaker: Breaker, kind: type[ProviderFailure]) -> None:
    for _ in range(5):
        assert await call(breaker, kind()) is Permit.FREE


async def test_an_answer_between_makes_the_row_begin_anew(breaker: Breaker) -> None:
    await fail(breaker, 2)
    await call(breaker, None)
    await fail(breaker, 2)

    assert await breaker.enter(*MODEL) is Permit.FREE


async def test_an_answer_that_breaks_off_counts_as_a_failure(breaker: Breaker) -> None:
    for _ in range(3):
        await call(breaker, ProviderUnreachable(), came=True)

    assert await breaker.enter(*MODEL) is Permit.REFUSED


async def test_failures_are_forgotten_with_the_window(client: redis.asyncio.Redis, settings: Settings) -> None:
    breaker = Breaker(client, dataclasses.replace(settings, breaker_window_seconds=0.02))
    await fail(breaker, 2)
    await until(lambda: _is_gone(client))
    await fail(breaker, 2)

    assert await breaker.enter(*MODEL) is Permit.FREE


async def _is_gone(client: redis.asyncio.Redis) -> bool:
    return not await client.exists(circuit_key(*MODEL))


async def test_two_models_share_nothing(breaker: Breaker) -> None:
    await fail(breaker, 3)

    assert await breaker.enter("openai", "gpt-4o") is Permit.FREE
    assert await breaker.enter("other", "gpt-4o-mini") is Permit.FREE


async def test_after_the_cool_down_exactly_one_of_all_workers_probes(redis_url: str, settings: Settings) -> None:
    clients = [connect_redis(redis_url) for _ in range(4)]
    try:
        breakers = [hasty(client, settings) for client in clients]
        await fail(breakers[0], 3)

        async def ask_often(breaker: Breaker) -> int:
            return [await breaker.enter(*MODEL) for _ in range(100)].count(Permit.PROBE)

        probes = 0
        async with asyncio.timeout(60):
            while not probes:
                probes = sum(await asyncio.gather(*map(ask_often, breakers)))
        assert probes == 1
    finally:
        for client in clients:
            await client.aclose()


async def test_a_probe_that_brings_text_lets_everybody_in_before_it_ends(
    client: redis.asyncio.Redis, settings: Settings
) -> None:
    breaker = hasty(client, settings)
    await fail(breaker, 3)
    await becomes_probe(breaker)
    assert await breaker.enter(*MODEL) is Permit.REFUSED

    breaker.note_text(*MODEL, Permit.PROBE)

    await until(lambda: _is_gone(client))
    assert await breaker.enter(*MODEL) is Permit.FREE


@pytest.mark.parametrize("failure", [None, ProviderRateLimited(), ProviderAuthFailed()])
async def test_a_probe_that_is_answered_at_all_closes_it(
    client: redis.asyncio.Redis, settings: Settings, failure: ProviderFailure | None
) -> None:
    breaker = hasty(client, settings)
    await fail(breaker, 3)
    await becomes_probe(breaker)

    await breaker.leave(*MODEL, Permit.PROBE, failure, came=failure is None)

    assert await breaker.enter(*MODEL) is Permit.FREE


async def test_a_probe_that_fails_opens_it_for_longer_up_to_the_bound(
    client: redis.asyncio.Redis, settings: Settings
) -> None:
    breaker = hasty(client, settings, breaker_max_cool_down_seconds=0.07)
    await fail(breaker, 3)

    for cool_down in (b"40", b"70", b"70"):
        await becomes_probe(breaker)
        await breaker.leave(*MODEL, Permit.PROBE, ProviderOverloaded(), came=False)
        assert await client.hget(circuit_key(*MODEL), "cool_down") == cool_down


async def test_a_probe_that_is_stopped_lets_another_probe(client: redis.asyncio.Redis, settings: Settings) -> None:
    breaker = hasty(client, settings)
    await fail(breaker, 3)
    await becomes_probe(breaker)

    await breaker.leave(*MODEL, Permit.PROBE, None, came=False)

    assert await breaker.enter(*MODEL) is Permit.PROBE


async def test_a_probe_whose_worker_died_lets_another_probe_after_its_time(
    client: redis.asyncio.Redis, settings: Settings
) -> None:
    breaker = hasty(client, settings, breaker_probe_seconds=0.02)
    await fail(breaker, 3)
    await becomes_probe(breaker)

    await becomes_probe(breaker)


async def test_a_call_that_began_before_it_opened_changes_nothing(
    client: redis.asyncio.Redis, settings: Settings
) -> None:
    breaker = Breaker(client, dataclasses.replace(settings, breaker_cool_down_seconds=NEVER_SECONDS / 4))
    early = await breaker.enter(*MODEL)
    await fail(breaker, 3)
    opened = await client.hgetall(circuit_key(*MODEL))

    await breaker.leave(*MODEL, early, None, came=True)
    await breaker.leave(*MODEL, early, ProviderOverloaded(), came=False)

    assert await breaker.enter(*MODEL) is Permit.REFUSED
    assert await client.hgetall(circuit_key(*MODEL)) == opened


async def test_every_key_has_an_end(client: redis.asyncio.Redis, settings: Settings) -> None:
    breaker = hasty(client, settings)
    key = circuit_key(*MODEL)
    for _ in range(3):
        await call(breaker, ProviderOverloaded())
        assert await client.pttl(key) > 0
    await becomes_probe(breaker)
    assert await client.pttl(key) > 0
    await breaker.leave(*MODEL, Permit.PROBE, ProviderTimeout(), came=False)
    assert await client.pttl(key) > 0


async def test_where_redis_is_away_every_call_may_go(own_redis: RedisProcess, settings: Settings) -> None:
    async with connect_redis(own_redis.url) as client:
        breaker = Breaker(client, settings)
        for _ in range(5):
            assert await call(breaker, ProviderOverloaded()) is Permit.FREE


async def test_a_redis_that_forgets_everything_closes_it(breaker: Breaker, client: redis.asyncio.Redis) -> None:
    await fail(breaker, 3)
    await client.flushall()
    await client.script_flush()

    assert await breaker.enter(*MODEL) is Permit.FREE
