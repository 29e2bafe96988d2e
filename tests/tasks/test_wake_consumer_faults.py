"""The queue between real processes that die, with a Redis that does: nothing is lost, and nothing runs twice."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq import MessageProxy
from dramatiq.errors import ConnectionClosed

from tasks import wake_consumer
from tasks.broker import ACTOR, HEARTBEAT_TIMEOUT_MS, QUEUE, Queue, make_broker
from tasks.wake_consumer import WakeBroker, WakeConsumer
from tests.redis_process import RedisProcess
from tests.streamer.eventually import eventually
from tests.streamer.processes import Running


async def test_what_a_killed_worker_held_comes_back_once_and_what_it_ended_does_not(
    queue: Queue, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake_consumer, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(wake_consumer, "MAINTENANCE_SECONDS", 0.0)
    for word in ("ended", "running", "prefetched"):
        queue.enqueue(word)
    with redis.Redis.from_url(queue_url) as server:
        with Running([sys.executable, "-m", "tests.tasks.queue_process", queue_url]) as running:
            running.out.until("running")
            # It holds the third as well.
            await eventually(lambda: (server.hlen(f"queue:{QUEUE}.msgs"), queue.length()) == (2, 0))
            running.process.kill()
            assert running.exit_code() == -signal.SIGKILL
            assert running.out.end() == ["ended", "running"]

        ran: list[str] = []
        with running_worker(queue_url, ran.append, 3, heartbeat_timeout_ms=1):
            await eventually(lambda: server.hlen(f"queue:{QUEUE}.msgs") == 0)
    assert sorted(ran) == ["prefetched", "running"]
    assert queue.length() == 0


@pytest.fixture
def restarted(own_redis: RedisProcess) -> RedisProcess:
    """A Redis that keeps what it holds through a kill."""
    own_redis.start("--appendonly", "yes", "--appendfsync", "always")
    return own_redis


@contextlib.contextmanager
def running_worker(
    url: str, run: Callable[[str], None], threads: int, heartbeat_timeout_ms: int = HEARTBEAT_TIMEOUT_MS
) -> Iterator[WakeBroker]:
    """A worker with so many threads, in this process; its messages call `run`."""
    broker = make_broker(url, connections=threads + 10)
    broker.heartbeat_timeout = heartbeat_timeout_ms
    dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE, broker=broker)(run)
    worker = dramatiq.Worker(broker, queues={QUEUE}, worker_timeout=200, worker_threads=threads)
    worker.queue_prefetch = threads
    worker.start()
    try:
        yield broker
    finally:
        worker.stop()
        broker.close()
        broker.client.close()


async def test_an_outage_that_is_longer_than_the_heartbeats_timeout_lets_nothing_run_twice(
    restarted: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake_consumer, "GRACE_SECONDS", 3.0)
    monkeypatch.setattr(wake_consumer, "MAINTENANCE_SECONDS", 0.1)
    url = restarted.url.replace("db=0", "db=1")
    ran: list[str] = []
    may_end = threading.Event()

    def run(word: str) -> None:
        ran.append(word)
        may_end.wait(60)

    words = [f"g{number}" for number in range(6)]
    with (
        contextlib.closing(Queue(url)) as queue,
        running_worker(url, run, 3) as one,
        running_worker(url, run, 3) as two,
    ):
        for word in words:
            queue.enqueue(word)
        await eventually(lambda: len(ran) == 6)
        with redis.Redis.from_url(url) as client:  # as if it had begun 12 s ago: nobody has beaten since
            beats: Any = client.zrange("queue:__heartbeats__", 0, -1, withscores=True)
            client.zadd("queue:__heartbeats__", {name: score - 12_000 for name, score in beats})
        restarted.kill()
        restarted.start("--appendonly", "yes", "--appendfsync", "always")
        looked = counted_looks(monkeypatch)
        await eventually(lambda: {one.broker_id, two.broker_id} <= looked)
        may_end.set()
        with redis.Redis.from_url(url) as client:
            await eventually(lambda: client.hlen(f"queue:{QUEUE}.msgs") == 0)
            assert queue.length() == 0

    assert sorted(ran) == words


async def test_acknowledgements_that_redis_refuses_for_a_while_cost_no_place(
    own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = counted_refusals(monkeypatch)
    own_redis.start()
    url = own_redis.url.replace("db=0", "db=1")
    ran: list[str] = []
    may_end = threading.Event()

    def run(word: str) -> None:
        ran.append(word)
        may_end.wait(60)

    with contextlib.closing(Queue(url)) as queue, running_worker(url, run, 2), own_redis.client() as client:
        for word in ("first", "second"):
            queue.enqueue(word)
        await eventually(lambda: len(ran) == 2)
        client.config_set("maxmemory", "1")
        may_end.set()
        await eventually(lambda: len(refused) >= 2)
        client.config_set("maxmemory", "0")
        for word in ("third", "fourth"):
            queue.enqueue(word)
        await eventually(lambda: sorted(ran) == ["first", "fourth", "second", "third"])


def counted_refusals(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The messages whose acknowledgement Redis refuses, as they come, from now on."""
    found: list[str] = []
    ack = WakeConsumer.ack

    def asked(consumer: WakeConsumer, message: MessageProxy) -> None:
        try:
            ack(consumer, message)
        except ConnectionClosed:
            found.append(message.message_id)
            raise

    monkeypatch.setattr(WakeConsumer, "ack", asked)
    return found


def test_a_redis_that_refuses_keeps_no_worker_from_its_end(own_redis: RedisProcess) -> None:
    own_redis.start()
    url = own_redis.url.replace("db=0", "db=1")
    broker = make_broker(url, connections=5)
    with contextlib.closing(Queue(url)) as queue, own_redis.client() as client:
        queue.enqueue("held")
        assert next(broker.consume(QUEUE, prefetch=1, timeout=200)) is not None
        client.config_set("maxmemory", "1")
        broker.give_everything_back()
    broker.close()
    broker.client.close()


def counted_looks(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The ids of the brokers that look after what dead workers held, from now on."""
    found: set[str] = set()
    asked = WakeBroker._should_do_maintenance

    def ask(broker: WakeBroker, command: str) -> int:
        looks = asked(broker, command)
        if looks:
            found.add(broker.broker_id)
        return looks

    monkeypatch.setattr(WakeBroker, "_should_do_maintenance", ask)
    return found
