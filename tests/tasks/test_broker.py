"""The queue: ids in, ids out, and a clear word where its Redis is away."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from models.errors import Unavailable
from tasks.broker import ACTOR, QUEUE, Queue, make_broker


@pytest.fixture
def consumer(queue_url: str) -> Iterator[Any]:
    """A worker's end of the queue, which fetches two at a time."""
    broker = make_broker(queue_url, connections=2)
    yield broker.consume(QUEUE, prefetch=2, timeout=1)
    broker.close()
    broker.client.close()


def test_an_id_comes_out_as_it_went_in_and_nothing_else_does(queue: Queue, consumer: Any) -> None:
    queue.enqueue("0190-generation")

    message = next(consumer)

    assert (message.actor_name, message.args, message.kwargs) == (ACTOR, ("0190-generation",), {})


def test_the_length_is_that_of_what_nobody_has_fetched(queue: Queue, consumer: Any) -> None:
    for number in range(5):
        queue.enqueue(f"g{number}")
    assert queue.length() == 5

    fetched = next(consumer)
    assert queue.length() == 3

    consumer.ack(fetched)
    assert queue.length() == 3


def test_ids_come_in_their_order(queue: Queue, consumer: Any) -> None:
    for number in range(4):
        queue.enqueue(f"g{number}")

    found = []
    for _ in range(4):
        message = next(consumer)
        found.append(message.args[0])
        consumer.ack(message)

    assert found == ["g0", "g1", "g2", "g3"]


def test_nothing_stands_beside_the_queues_own_keys(queue: Queue, queue_url: str) -> None:
    queue.enqueue("0190-generation")

    with redis.Redis.from_url(queue_url) as client:
        assert all(key.startswith(b"queue:") for key in client.scan_iter())
    with redis.Redis.from_url(queue_url.replace("db=1", "db=0")) as client:
        assert client.dbsize() == 0


def test_a_redis_that_is_away_is_told_as_such(queue_url: str) -> None:
    queue = Queue(queue_url.replace("redis.sock", "gone.sock"))
    with pytest.raises(Unavailable):
        queue.enqueue("0190-generation")
    with pytest.raises(Unavailable):
        queue.length()
    queue.close()


def test_an_event_loop_lets_the_queues_own_threads_wait(queue: Queue) -> None:
    assert queue.pool.submit(queue.length).result(10) == 0
