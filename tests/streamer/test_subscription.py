"""The one pub/sub connection: what Redis has acknowledged, and what happens when it breaks, goes silent or says nonsense."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio

from models.event_log import connect_redis
from streamer import subscription as subscription_module
from streamer.subscription import Subscription
from tasks.end_tasks import end_tasks
from tests.streamer.eventually import eventually
from tests.streamer.redis_line import line_to


class Listener:
    """A kept subscription and what it told."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self.renewals = 0
        self.subscription = Subscription(client, self.hear, self.renewed)

    def hear(self, name: bytes, message: bytes) -> None:
        if message == b"defect":
            raise ZeroDivisionError("canary")
        self.heard.append((name, message))

    def renewed(self) -> None:
        self.renewals += 1


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Listener]:
    client = connect_redis(url, connections=2)
    listener = Listener(client)
    keeping = asyncio.create_task(listener.subscription.keep())
    try:
        yield listener
    finally:
        await end_tasks(keeping)
        assert not listener.subscription.up
        await client.aclose()


@pytest.fixture
async def listener(redis_url: str) -> AsyncIterator[Listener]:
    async with listening(redis_url) as listener:
        await eventually(lambda: listener.subscription.up)
        yield listener


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = connect_redis(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An acknowledgement that never comes is waited for beyond any test's time."""
    monkeypatch.setattr(subscription_module, "ACK_SECONDS", 3600.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("PING_SECONDS", 0.2), ("DEAD_SECONDS", 0.5), ("ACK_SECONDS", 0.3), ("READ_SECONDS", 0.1)):
        monkeypatch.setattr(subscription_module, name, seconds)


async def test_what_is_published_is_heard_from_the_acknowledgement_on(
    listener: Listener, client: redis.asyncio.Redis
) -> None:
    assert "a" not in listener.subscription
    await listener.subscription.add("a")
    assert "a" in listener.subscription
    await client.publish("a", b"1")
    await client.publish("b", b"2")
    await client.publish("a", b"3")

    await eventually(lambda: listener.heard == [(b"a", b"1"), (b"a", b"3")])


async def test_what_is_dropped_is_heard_no_more(listener: Listener, client: redis.asyncio.Redis) -> None:
    await listener.subscription.add("a")
    await listener.subscription.add("b")
    await listener.subscription.drop("a")
    await eventually(lambda: "a" not in listener.subscription)

    assert await client.publish("a", b"1") == 0
    assert await client.publish("b", b"2") == 1
    await listener.subscription.add("a")
    assert await client.publish("a", b"3") == 1
    await eventually(lambda: listener.heard == [(b"b", b"2"), (b"a", b"3")])


@pytest.mark.usefixtures("patient")
async def test_all_who_ask_for_one_name_at_once_get_their_acknowledgement(listener: Listener) -> None:
    async with asyncio.timeout(60):
        await asyncio.gather(*(listener.subscription.add("a") for _ in range(50)))

    assert "a" in listener.subscription
    assert listener.subscription._acks == {}


@pytest.mark.usefixtures("patient")
async def test_adding_and_dropping_in_any_order_ends_as_the_last_word_says(
    listener: Listener, client: redis.asyncio.Redis
) -> None:
    for _ in range(20):
        async with asyncio.timeout(60):
            await asyncio.gather(
                listener.subscription.add("a"), listener.subscription.drop("a"), listener.subscription.add("a")
            )
        assert await client.publish("a", b"x") == 1
    await listener.subscription.drop("a")
    await eventually(lambda: "a" not in listener.subscription)
    assert await client.publish("a", b"x") == 0


async def test_without_a_connection_nothing_can_be_added_and_anything_dropped(redis_url: str) -> None:
    client = connect_redis(redis_url)
    subscription = Subscription(client, lambda *_: None, lambda: None)

    with pytest.raises(ConnectionError):
        await subscription.add("a")
    await subscription.drop("a")
    await client.aclose()


async def test_a_killed_connection_is_made_anew_with_nothing_on_it(
    listener: Listener, client: redis.asyncio.Redis
) -> None:
    await listener.subscription.add("a")
    assert listener.renewals == 1
    await client.client_kill_filter(_type="pubsub")
    await eventually(lambda: listener.renewals == 2)

    assert "a" not in listener.subscription
    await listener.subscription.add("a")
    await client.publish("a", b"1")
    await eventually(lambda: listener.heard == [(b"a", b"1")])


async def test_what_its_hearer_cannot_take_does_not_end_the_listening(
    listener: Listener, client: redis.asyncio.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await listener.subscription.add("a")
    await client.publish("a", b"defect")
    await eventually(lambda: listener.renewals == 2)

    assert "ZeroDivisionError" in caplog.text
    assert "canary" not in caplog.text


async def test_its_own_channel_is_nobodys(listener: Listener, client: redis.asyncio.Redis) -> None:
    await listener.subscription.add("a")
    assert await client.publish("hub", b"x") == 1
    await client.publish("a", b"y")

    await eventually(lambda: listener.heard == [(b"a", b"y")])


@pytest.mark.usefixtures("quick")
async def test_silence_is_kept_alive_by_signs_of_life(listener: Listener) -> None:
    heard = listener.subscription._heard
    await eventually(lambda: listener.subscription._heard > heard + 1.0)

    assert listener.renewals == 1


@pytest.mark.usefixtures("quick")
async def test_a_line_that_went_dead_is_given_up_even_in_its_first_moment(redis_socket: Path, tmp_path: Path) -> None:
    async with line_to(redis_socket, tmp_path) as line, listening(line.url) as listener:
        await eventually(lambda: listener.renewals == 1)
        line.cut()
        with pytest.raises(TimeoutError):
            await listener.subscription.add("a")
        opened = line.opened
        await eventually(lambda: line.opened > opened)  # this one is dead from its beginning
        assert listener.renewals == 1
        line.mend()
        await eventually(lambda: listener.renewals == 2)
        await listener.subscription.add("a")


async def test_a_long_absence_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0
    sleep = asyncio.sleep

    async def counting(seconds: float) -> None:
        nonlocal tries
        tries += 0.2 <= seconds <= 0.5
        await sleep(0)

    monkeypatch.setattr("streamer.subscription.asyncio.sleep", counting)
    async with listening(f"unix://{tmp_path}/nothing.sock"):
        deadline = asyncio.get_running_loop().time() + 5
        while tries < 5:
            await sleep(0.005)
            assert asyncio.get_running_loop().time() < deadline
    monkeypatch.undo()

    assert caplog.text.count("the subscription broke") == 1
