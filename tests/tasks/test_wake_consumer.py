"""The worker's end of the queue: woken by what comes, it takes no more than it can start, and loses nothing."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq.brokers import redis as dramatiq_redis
from dramatiq.errors import ConnectionClosed

from tasks import wake_consumer
from tasks.broker import ACTOR, QUEUE, Queue, make_broker
from tasks.wake_consumer import WakeBroker, WakeConsumer
from tests.tasks.waiting import until

IDLE_MS = 4000  # below the client's 5 s


@pytest.fixture
def server(queue_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(queue_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def new_broker(queue_url: str) -> Iterator[Callable[[], WakeBroker]]:
    """Makes brokers, each as another process would have it."""
    made: list[WakeBroker] = []

    def make() -> WakeBroker:
        made.append(make_broker(queue_url, connections=8))
        return made[-1]

    yield make
    for broker in made:
        broker.close()
        broker.client.close()


@pytest.fixture
def broker(new_broker: Callable[[], WakeBroker]) -> WakeBroker:
    return new_broker()


def consume(broker: WakeBroker, prefetch: int = 2, queue: str = QUEUE, idle_ms: int = 1) -> WakeConsumer:
    consumer = broker.consume(queue, prefetch=prefetch, timeout=idle_ms)
    assert isinstance(consumer, WakeConsumer)
    return consumer


def take(consumer: WakeConsumer) -> Any:
    """The next message, which is there."""
    message = next(consumer)
    assert message is not None
    return message


def sent_to(broker: WakeBroker, queue: str, word: str) -> None:
    broker.enqueue(dramatiq.Message(queue_name=queue, actor_name=ACTOR, args=(word,), kwargs={}, options={}))


def blocked(server: redis.Redis) -> int:
    return int(server.info("clients")["blocked_clients"])


def dead_letters(server: redis.Redis) -> int:
    return int(server.zcard(f"queue:{QUEUE}.XQ"))


def test_the_private_names_that_it_stands_on_are_those_of_the_known_version() -> None:
    known = "2.2.1"
    assert dramatiq.__version__ == known, (
        f"Dramatiq {dramatiq.__version__} is not the {known} that tasks/wake_consumer.py was written for: compare "
        "brokers/redis.py, brokers/redis/dispatch.lua and worker.py of the two, then change this test"
    )
    assert issubclass(WakeConsumer, dramatiq_redis._RedisConsumer)
    assert callable(dramatiq_redis.RedisBroker._should_do_maintenance)
    assert "queued_message_ids" in dramatiq_redis._RedisConsumer.__init__.__code__.co_names


# What it waits for


async def test_a_message_wakes_a_consumer_that_sleeps(broker: WakeBroker, queue: Queue, server: redis.Redis) -> None:
    consumer = consume(broker, idle_ms=IDLE_MS)
    with ThreadPoolExecutor(1) as pool:
        woken = pool.submit(next, consumer)
        await until(lambda: woken.done() or blocked(server) == 1)
        queue.enqueue("g")
        message = woken.result(30)

    assert message is not None  # one that had slept its time out would say None
    assert message.args == ("g",)


async def test_of_two_workers_that_sleep_one_gets_the_message(
    new_broker: Callable[[], WakeBroker], queue: Queue, server: redis.Redis
) -> None:
    consumers = [consume(new_broker(), idle_ms=IDLE_MS) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        woken = [pool.submit(next, consumer) for consumer in consumers]
        await until(lambda: blocked(server) == 2)
        queue.enqueue("g")
        found = [each.result(30) for each in woken]

    assert sorted(message is None for message in found) == [False, True]
    assert queue.length() == 0


def test_what_waits_already_is_fetched_at_once(broker: WakeBroker, queue: Queue) -> None:
    queue.enqueue("g")
    assert take(consume(broker, idle_ms=IDLE_MS)).args == ("g",)


def test_an_idle_consumer_sends_two_commands_a_round(broker: WakeBroker, server: redis.Redis) -> None:
    consumer = consume(broker)
    next(consumer)  # loads the scripts
    server.config_resetstat()

    for _ in range(5):
        assert next(consumer) is None

    counts = {name: int(each["calls"]) for name, each in server.info("commandstats").items()}
    assert (counts["cmdstat_blmove"], counts["cmdstat_evalsha"]) == (5, 5)


# How much it takes


def test_a_busy_worker_takes_nothing_and_goes_on_when_something_has_ended(
    new_broker: Callable[[], WakeBroker], queue: Queue
) -> None:
    busy, other = consume(new_broker(), prefetch=1), consume(new_broker(), prefetch=1)
    for word in ("a", "b", "c"):
        queue.enqueue(word)
    held = take(busy)

    assert next(busy) is None
    assert queue.length() == 2
    assert take(other).args == ("b",)

    busy.ack(held)
    assert take(busy).args == ("c",)


async def test_what_ends_wakes_a_busy_worker(broker: WakeBroker, queue: Queue) -> None:
    consumer = consume(broker, prefetch=1, idle_ms=60_000)
    queue.enqueue("a")
    queue.enqueue("b")
    held = take(consumer)
    waits = threading.Event()
    asked = consumer._has_room_or_drains

    def ask() -> bool:
        waits.set()
        return asked()

    consumer._has_room_or_drains = ask  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        woken = pool.submit(take, consumer)
        assert waits.wait(30)
        consumer.ack(held)
        assert woken.result(30).args == ("b",)


def test_two_queues_share_what_a_worker_can_start(broker: WakeBroker, queue: Queue) -> None:
    broker.declare_queue("other")
    first, second = consume(broker, prefetch=2), consume(broker, prefetch=2, queue="other")
    for _ in range(2):
        queue.enqueue("g")
        sent_to(broker, "other", "o")

    held = [take(first), take(first)]
    assert next(second) is None

    first.ack(held[0])
    assert take(second).args == ("o",)
    assert next(second) is None


# What it must not lose


def test_after_a_reconnection_nobody_is_dead_for_a_while(new_broker: Callable[[], WakeBroker], queue: Queue) -> None:
    queue.enqueue("g")
    silent = consume(new_broker())
    take(silent)
    back = new_broker()
    back.heartbeat_timeout = 1  # all have been silent for longer

    consumer = consume(back)

    assert next(consumer) is None
    assert not back.maintenance_is_due()
    assert queue.length() == 0


def test_an_acknowledgement_that_failed_is_held_on_and_not_reclaimed(
    broker: WakeBroker, queue: Queue, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.enqueue("g")
    consumer = consume(broker)
    message = take(consumer)

    def away(*arguments: object) -> None:
        raise redis.TimeoutError("no answer")

    with monkeypatch.context() as outage:
        outage.setattr(broker, "do_ack", away, raising=False)
        with pytest.raises(ConnectionClosed):
            consumer.ack(message)

    again = consume(broker)  # the consumer has a new connection
    assert next(again) is None
    assert queue.length() == 0

    again.ack(message)
    assert server.hlen(f"queue:{QUEUE}.msgs") == 0
    assert again.outstanding_message_count == 0


def test_while_redis_is_away_there_are_no_messages_and_the_same_consumer_goes_on_soon_after(
    broker: WakeBroker, queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Dramatiq would make a new consumer after 3 s, whatever is set here.
    assert wake_consumer.AWAY_PAUSE_SECONDS == 0.5
    monkeypatch.setattr(wake_consumer, "AWAY_PAUSE_SECONDS", 0.0)
    caplog.set_level(logging.INFO, wake_consumer.__name__)
    queue.enqueue("before")
    queue.enqueue("after")
    consumer = consume(broker)
    held = take(consumer)
    consumer.message_cache.clear()  # the reply that brought the second was lost
    broker.let_go(QUEUE, broker.held[QUEUE] - {held.options["redis_message_id"]})

    with monkeypatch.context() as outage:
        outage.setattr(broker.client.connection_pool, "get_connection", _refused)
        assert [next(consumer) for _ in range(3)] == [None] * 3
        assert next(consume(broker)) is None  # a worker that starts meanwhile waits as well
        with pytest.raises(ConnectionClosed):  # Dramatiq tries these again
            consumer.ack(held)

    assert take(consumer).args == ("after",)
    assert not broker.maintenance_is_due()
    consumer.ack(held)
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"the queue {QUEUE} is away (ConnectionError): its messages wait"] * 2 + [
        f"the queue {QUEUE} is back"
    ]


def _refused(*arguments: object, **named: object) -> None:
    raise redis.ConnectionError("refused: canary")


def test_messages_whose_delivery_was_lost_come_again(broker: WakeBroker, queue: Queue) -> None:
    queue.enqueue("g")
    assert len(broker.do_fetch(QUEUE, 1)) == 1  # and nobody sees the reply
    assert queue.length() == 0

    assert take(consume(broker)).args == ("g",)


def test_a_message_that_is_none_becomes_a_dead_letter_and_stops_nobody(
    broker: WakeBroker, queue: Queue, server: redis.Redis
) -> None:
    consumer = consume(broker, prefetch=3)
    for number, body in enumerate(["no JSON", "{}"]):
        server.hset(f"queue:{QUEUE}.msgs", f"bad{number}", body)
        server.rpush(f"queue:{QUEUE}", f"bad{number}")
    queue.enqueue("good")

    assert take(consumer).args == ("good",)
    assert next(consumer) is None
    assert (dead_letters(server), queue.length()) == (2, 0)


def test_a_refused_message_is_a_dead_letter(broker: WakeBroker, queue: Queue, server: redis.Redis) -> None:
    queue.enqueue("g")
    consumer = consume(broker)
    consumer.nack(take(consumer))

    assert (dead_letters(server), consumer.outstanding_message_count, next(consumer)) == (1, 0, None)


def test_a_delayed_message_ends_the_sleep_when_its_time_comes(broker: WakeBroker) -> None:
    delayed = consume(broker, queue=f"{QUEUE}.DQ", idle_ms=IDLE_MS)
    message: dramatiq.Message[object] = dramatiq.Message(
        queue_name=QUEUE, actor_name=ACTOR, args=("later",), kwargs={}, options={}
    )
    broker.enqueue(message, delay=2000)

    assert take(delayed).args == ("later",)
    assert delayed._pause_seconds() <= 2.0


async def test_a_worker_runs_what_is_sent_and_what_was_delayed(broker: WakeBroker) -> None:
    ran: list[str] = []
    dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE, broker=broker)(ran.append)
    worker = dramatiq.Worker(broker, queues={QUEUE}, worker_timeout=1000, worker_threads=2)
    worker.start()
    try:
        late: dramatiq.Message[object] = dramatiq.Message(
            queue_name=QUEUE, actor_name=ACTOR, args=("late",), kwargs={}, options={}
        )
        broker.enqueue(late, delay=300)
        sent_to(broker, QUEUE, "now")
        await until(lambda: len(ran) == 2)
    finally:
        worker.stop()
    assert ran == ["now", "late"]


# The end


def test_a_draining_worker_takes_nothing_and_still_says_that_it_lives(
    broker: WakeBroker, queue: Queue, server: redis.Redis
) -> None:
    consumer = consume(broker)
    next(consumer)
    server.delete("queue:__heartbeats__")
    queue.enqueue("g")

    broker.drain()

    assert next(consumer) is None
    assert queue.length() == 1
    assert server.zscore("queue:__heartbeats__", broker.broker_id) is not None


def test_a_consumer_that_closes_gives_back_what_it_has_not_handed_out(broker: WakeBroker, queue: Queue) -> None:
    queue.enqueue("a")
    queue.enqueue("b")
    consumer = consume(broker)
    take(consumer)
    assert queue.length() == 0

    consumer.close()

    assert (queue.length(), consumer.outstanding_message_count) == (1, 1)


def test_at_its_end_a_process_gives_everything_back(
    new_broker: Callable[[], WakeBroker], queue: Queue, server: redis.Redis
) -> None:
    broker = new_broker()
    queue.enqueue("a")
    queue.enqueue("b")
    take(consume(broker))

    broker.give_everything_back()

    assert queue.length() == 2
    other = consume(new_broker())
    assert {take(other).args[0], take(other).args[0]} == {"a", "b"}
