"""What is remembered of API keys: little, briefly, and with one statement for however many ask."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, cast

import pytest

from models.database_threads import DatabaseThreads
from models.errors import Unavailable
from streamer import live_keys
from streamer.live_keys import LiveKeys

KEY = "key_0123456789abcdef"


class FakeThreads:
    """Answers lookups from `keys` (seconds that each is still good) and counts them; waits while `gate` is closed."""

    def __init__(self) -> None:
        self.keys: dict[str, float] = {KEY: float("inf")}
        self.lookups: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.away = False

    async def run(self, work: Callable[..., Any], key_id: str) -> tuple[int, str, float]:
        self.lookups.append(key_id)
        await self.gate.wait()
        if self.away:
            raise Unavailable
        return 1, "ten_0123456789abcdef", self.keys.get(key_id, 0.0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def threads() -> FakeThreads:
    return FakeThreads()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(threads: FakeThreads, clock: Clock) -> LiveKeys:
    return LiveKeys(cast("DatabaseThreads", threads), clock)


async def test_a_key_is_looked_up_once_in_five_seconds(keys: LiveKeys, threads: FakeThreads, clock: Clock) -> None:
    for now in (1000.0, 1002.0, 1004.9):
        clock.now = now
        assert await keys.find(KEY) is not None
    assert threads.lookups == [KEY]

    clock.now = 1005.0
    assert await keys.find(KEY) is not None
    assert threads.lookups == [KEY, KEY]


async def test_a_revoked_key_is_noticed_within_five_seconds(keys: LiveKeys, threads: FakeThreads, clock: Clock) -> None:
    await keys.find(KEY)
    threads.keys[KEY] = 0.0
    clock.now += 5

    assert await keys.find(KEY) is None


async def test_a_key_expires_while_it_is_remembered(keys: LiveKeys, threads: FakeThreads, clock: Clock) -> None:
    threads.keys[KEY] = 2.0

    assert await keys.find(KEY) is not None
    clock.now += 1.9
    assert await keys.find(KEY) is not None
    clock.now += 0.1
    assert await keys.find(KEY) is None
    assert threads.lookups == [KEY]


async def test_an_unknown_key_is_remembered_as_such(keys: LiveKeys, threads: FakeThreads) -> None:
    assert await keys.find("key_ffffffffffffffff") is None
    assert await keys.find("key_ffffffffffffffff") is None
    assert len(threads.lookups) == 1


async def test_a_dead_key_is_dead_at_once_however_the_clock_runs(
    keys: LiveKeys, threads: FakeThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads.keys[KEY] = 0.0
    ticks = itertools.count(1000)
    monkeypatch.setattr(keys, "_clock", lambda: next(ticks) / 1000)

    assert await keys.find(KEY) is None
    assert await keys.find(KEY) is None


async def test_all_who_ask_at_once_share_one_statement(keys: LiveKeys, threads: FakeThreads) -> None:
    threads.gate.clear()
    asking = [asyncio.create_task(keys.find(KEY)) for _ in range(100)]
    await asyncio.sleep(0)
    threads.gate.set()

    assert all(await asyncio.gather(*asking))
    assert threads.lookups == [KEY]


async def test_one_who_is_cancelled_takes_nobody_along(keys: LiveKeys, threads: FakeThreads) -> None:
    threads.gate.clear()
    first, second = asyncio.create_task(keys.find(KEY)), asyncio.create_task(keys.find(KEY))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    threads.gate.set()

    assert first.cancelled()
    assert await second is not None
    assert threads.lookups == [KEY]


async def test_a_database_that_is_away_is_asked_again_by_the_next(keys: LiveKeys, threads: FakeThreads) -> None:
    threads.away = True
    with pytest.raises(Unavailable):
        await keys.find(KEY)
    threads.away = False

    assert await keys.find(KEY) is not None


async def test_a_failure_that_nobody_waits_for_any_more_is_not_reported(keys: LiveKeys, threads: FakeThreads) -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
    threads.gate.clear()
    threads.away = True
    asking = asyncio.create_task(keys.find(KEY))
    await asyncio.sleep(0)
    (lookup,) = keys._lookups.values()
    asking.cancel()
    await asyncio.wait([asking])
    threads.gate.set()
    await asyncio.wait([lookup])
    await asyncio.sleep(0)
    del lookup

    assert keys._lookups == {}
    assert problems == []


async def test_no_more_keys_are_remembered_than_may_be(
    keys: LiveKeys, threads: FakeThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_keys, "REMEMBERED_KEYS", 3)
    ids = [f"key_{number:016x}" for number in range(5)]
    threads.keys = dict.fromkeys(ids, float("inf"))

    for each in ids:
        await keys.find(each)

    assert list(keys._known) == ids[2:]
