"""The worker's end of the queue: it sleeps in Redis until something is there, and hands over cleanly.

It waits with BLMOVE from the list's head to its head, which moves nothing: what wakes it is that the list is not empty. So
no wake-up can be lost, and requeued, reclaimed and delayed messages wake it like new ones. It stands on names of
Dramatiq's that are private; tests/tasks/test_wake_consumer.py holds them against the version.
"""

import contextlib
import heapq
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import redis
from dramatiq import Message, MessageProxy
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import current_millis
from dramatiq.errors import ConnectionClosed, DecodeError

logger = logging.getLogger(__name__)

#: Seconds between two looks of a consumer after the messages of dead workers.
MAINTENANCE_SECONDS = 2.0

#: Seconds after a (re)connection without such a look: after an outage all workers are silent, and none is dead.
GRACE_SECONDS = 5.0

#: Seconds between two attempts to reach a Redis that is away. Dramatiq would wait for 3 s.
AWAY_PAUSE_SECONDS = 0.5

#: Seconds between two heartbeats of a worker that takes nothing any more.
DRAINING_PAUSE_SECONDS = 0.2

#: BLMOVE takes 0 for ever.
SHORTEST_PAUSE_SECONDS = 0.001


class WakeBroker(RedisBroker):
    """The broker of both ends. What this process holds is kept here, as consumers come and go with their connections."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)  # type: ignore[no-untyped-call]
        self.held: defaultdict[str, set[str]] = defaultdict(set)
        """By queue, the Redis ids of the messages that were fetched and not acknowledged yet."""
        self.freed = threading.Condition()
        """Notified whenever a message is held no longer."""
        self.draining = False
        self.fetching = threading.Lock()
        self._clock = threading.local()  # a queue's maintenance is its own, and each consumer has a thread of its own

    @property
    def consumer_class(self) -> type["WakeConsumer"]:
        return WakeConsumer

    def drain(self) -> None:
        """Takes no message from now on: none is being fetched when this returns."""
        with self.fetching:
            self.draining = True
        with self.freed:
            self.freed.notify_all()

    def postpone_maintenance(self) -> None:
        """Gives the other workers the time to say that they live."""
        self._clock.due = time.monotonic() + GRACE_SECONDS

    def maintenance_is_due(self) -> bool:
        """Whether this thread's consumer is to look after what dead workers held."""
        return bool(time.monotonic() >= getattr(self._clock, "due", 0.0))

    def _should_do_maintenance(self, command: str) -> int:
        # By the clock: by chance, as Dramatiq has it, a killed worker's messages wait for minutes.
        if command != "fetch" or not self.maintenance_is_due():
            return 0
        self._clock.due = time.monotonic() + MAINTENANCE_SECONDS
        return 1

    def let_go(self, queue_name: str, redis_ids: Iterable[str]) -> None:
        """Notes that these messages are held here no longer."""
        self.held[queue_name].difference_update(redis_ids)
        with self.freed:
            self.freed.notify_all()

    def reclaim(self, queue_name: str) -> None:
        """Sends back what Redis believes to be with this process and is not: the reply that brought it was lost.

        What can't be decoded becomes a dead letter, else it would come again and again.
        """
        acks = f"{self.namespace}:__acks__.{self.broker_id}.{queue_name}"
        found: Any = self.client.smembers(acks)
        lost = sorted({each.decode() for each in found} - self.held[queue_name])
        if not lost:
            return
        bodies: Any = self.client.hmget(f"{self.namespace}:{queue_name}.msgs", lost)
        for redis_id, body in zip(lost, bodies, strict=True):
            if body is None or decoded(body) is not None:
                self.do_requeue(queue_name, redis_id)
            else:
                logger.error("a message of the queue %s can't be read: it is a dead letter now", queue_name)
                self.do_nack(queue_name, redis_id)

    def give_everything_back(self) -> None:
        """Sends back whatever this process still has; for its end. Where Redis is away, others do it later."""
        for queue_name in [*self.queues, *self.delay_queues]:
            self.held[queue_name].clear()
            with contextlib.suppress(redis.RedisError):
                self.reclaim(queue_name)


class WakeConsumer(_RedisConsumer):
    """Fetches the messages of one queue, in one thread; they are acknowledged from any.

    It outlives connections: while Redis is away there are no messages, and afterwards it goes on with what it holds.
    """

    broker: WakeBroker
    queue_name: str
    prefetch: int
    timeout: int
    message_cache: list[Message[Any]]

    def __init__(self, broker: WakeBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)  # type: ignore[no-untyped-call]
        self.queued_message_ids = broker.held[queue_name]
        self._delayed = queue_name.endswith(".DQ")
        self._key = f"{broker.namespace}:{queue_name}"
        self._etas: list[int] = []
        self._connected = False
        self._told_away = False
        if self._delayed:  # Dramatiq drops those with a consumer that broke
            self.queued_message_ids.clear()

    @property
    def outstanding_message_count(self) -> int:
        """What counts against the prefetch. All queues share one, so that a worker takes no more than it can start."""
        if self._delayed:
            return len(self.queued_message_ids)
        return sum(len(ids) for name, ids in list(self.broker.held.items()) if not name.endswith(".DQ"))

    def __next__(self) -> MessageProxy | None:
        if not self.message_cache:
            try:
                self._begin()
                self._wait()
                self._fetch()
            except redis.RedisError as error:
                self._rest(error)
        if not self.message_cache:
            return None
        message = self.message_cache.pop(0)
        if self._delayed and isinstance(message.options.get("eta"), int):
            heapq.heappush(self._etas, message.options["eta"])
        return MessageProxy(message)

    def ack(self, message: MessageProxy) -> None:
        """Raises ConnectionClosed where Redis has not answered; the message is held on then, to be acknowledged again."""
        redis_id = message.options["redis_message_id"]
        with _guarded():
            self.broker.do_ack(self.queue_name, redis_id)
        self.broker.let_go(self.queue_name, [redis_id])

    def nack(self, message: MessageProxy) -> None:
        """Makes it a dead letter. Raises ConnectionClosed like `ack`."""
        redis_id = message.options["redis_message_id"]
        with _guarded():
            self.broker.do_nack(self.queue_name, redis_id)
        self.broker.let_go(self.queue_name, [redis_id])

    def requeue(self, messages: Iterable[Any]) -> None:
        """Sends them back. Raises ConnectionClosed where Redis is away: the next `reclaim` finds them then."""
        redis_ids = [message.options["redis_message_id"] for message in messages]
        if not redis_ids:
            return
        self.broker.let_go(self.queue_name, redis_ids)
        with _guarded():
            self.broker.do_requeue(self.queue_name, *redis_ids)

    def close(self) -> None:
        """Sends back what was fetched and not handed out yet."""
        unused, self.message_cache = self.message_cache, []
        self.requeue(unused)

    def _begin(self) -> None:
        """At the first connection, and the first after an outage."""
        if self._connected:
            return
        self.broker.postpone_maintenance()
        self.broker.reclaim(self.queue_name)
        self._connected = True
        if self._told_away:
            self._told_away = False
            logger.info("the queue %s is back", self.queue_name)

    def _rest(self, error: Exception) -> None:
        """Redis is away: its words may quote an address, so that only their kind is told, once."""
        self._connected = False
        if not self._told_away:
            self._told_away = True
            logger.warning("the queue %s is away (%s): its messages wait", self.queue_name, type(error).__name__)
        time.sleep(AWAY_PAUSE_SECONDS)

    def _wait(self) -> None:
        """Returns when there may be something to fetch, and after the idle time at the latest."""
        pause = self._pause_seconds()
        if self.broker.draining:
            time.sleep(min(pause, DRAINING_PAUSE_SECONDS))
        elif self.outstanding_message_count < self.prefetch:
            self.broker.client.blmove(self._key, self._key, pause, "LEFT", "LEFT")  # type: ignore[arg-type]
        else:
            with self.broker.freed:
                self.broker.freed.wait_for(self._has_room_or_drains, pause)

    def _has_room_or_drains(self) -> bool:
        return self.broker.draining or self.outstanding_message_count < self.prefetch

    def _pause_seconds(self) -> float:
        """The idle time, or less where a delayed message is due before."""
        now = current_millis()
        while self._etas and self._etas[0] <= now:
            heapq.heappop(self._etas)
        milliseconds = min([self.timeout, *(eta - now for eta in self._etas[:1])])
        return max(SHORTEST_PAUSE_SECONDS, milliseconds / 1000)

    def _fetch(self) -> None:
        """Fetches what there is room for. It is the worker's heartbeat, too, so it also asks for nothing at all."""
        with self.broker.fetching:
            if self.broker.maintenance_is_due():  # an old fetch may have been carried out after its connection's end
                self.broker.reclaim(self.queue_name)
            room = 0 if self.broker.draining else max(0, self.prefetch - self.outstanding_message_count)
            bodies = self.broker.do_fetch(self.queue_name, room)
            messages = [message for body in bodies if body is not None and (message := decoded(body)) is not None]
            self.queued_message_ids.update(message.options["redis_message_id"] for message in messages)
            self.message_cache = messages
            if len(messages) < len(bodies):
                self.broker.reclaim(self.queue_name)


def decoded(body: bytes) -> Message[Any] | None:
    """The message, or None where it is none of ours."""
    try:
        message: Message[Any] = Message.decode(body)
        return message if isinstance(message.options["redis_message_id"], str) else None
    except (DecodeError, TypeError, KeyError, ValueError):
        return None


@contextlib.contextmanager
def _guarded() -> Iterator[None]:
    """Tells Dramatiq that Redis is away, or refuses, in the one way on which it tries again.

    On any other it gives up, and what was not acknowledged would count as held for good.
    """
    try:
        yield
    except redis.RedisError as error:
        raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
