"""The queue: Dramatiq over Redis. A message holds a generation's id and nothing else."""

import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import dramatiq
import redis
import uvloop
from dramatiq.asyncio import EventLoopThread, set_event_loop_thread
from dramatiq.middleware import AsyncIO
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.errors import Unavailable
from tasks.wake_consumer import WakeBroker

logger = logging.getLogger(__name__)

QUEUE = "generate"
ACTOR = "generate"

#: Milliseconds of silence after which a worker's unfinished messages are given to others. The leases in the database are
#: quicker; this is for messages that were fetched and never claimed.
HEARTBEAT_TIMEOUT_MS = 5_000

#: Seconds after which a thread that waits for its generation looks up; nothing of ours interrupts it.
LOOK_UP_SECONDS = 60.0

NAMESPACE = "queue"


class UvloopAsyncIO(AsyncIO):
    """Dramatiq's event loop thread, on uvloop."""

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        thread = EventLoopThread(self.logger, interrupt_check_ival=LOOK_UP_SECONDS)
        thread.loop.close()
        thread.loop = uvloop.new_event_loop()
        thread.start(timeout=5.0)
        set_event_loop_thread(thread)


def make_broker(url: str, *, connections: int, middleware: list[dramatiq.Middleware] | None = None) -> WakeBroker:
    """A broker on the server and logical database of `url`; its maintenance walks all keys there, so that is its own."""
    client = redis.Redis.from_url(
        url, max_connections=connections, socket_timeout=5.0, socket_connect_timeout=5.0, retry=Retry(NoBackoff(), 0)
    )
    broker = WakeBroker(
        client=client,
        namespace=NAMESPACE,
        middleware=middleware or [],
        heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
    )
    broker.declare_queue(QUEUE)
    return broker


def declare_actor(broker: WakeBroker, generate: Callable[[str], Awaitable[None]]) -> None:
    """The one actor. It is never retried by the queue: a second run is decided by the database's lease."""

    async def run(generation_id: str) -> None:
        await generate(generation_id)

    dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE, broker=broker)(run)


class Queue:
    """The sending side, for web processes and sweepers."""

    def __init__(self, url: str) -> None:
        self._broker = make_broker(url, connections=8)
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="queue")

    @property
    def pool(self) -> ThreadPoolExecutor:
        """The threads in which an event loop lets the calls below run, as they wait for Redis."""
        return self._pool

    def enqueue(self, generation_id: str) -> None:
        """Sends the id to a worker. Raises Unavailable where Redis is away; a sweeper sends it later then."""
        message: dramatiq.Message[object] = dramatiq.Message(
            queue_name=QUEUE, actor_name=ACTOR, args=(generation_id,), kwargs={}, options={}
        )
        try:
            self._broker.enqueue(message)
        except redis.RedisError as error:
            raise Unavailable("The queue is away.") from error

    def length(self) -> int:
        """Messages that no worker has fetched yet. Raises Unavailable where Redis is away.

        Dramatiq's own count has those that were fetched, too, also by workers that have died since.
        """
        try:
            return int(self._broker.client.llen(f"{NAMESPACE}:{QUEUE}"))
        except redis.RedisError as error:
            raise Unavailable("The queue is away.") from error

    def close(self) -> None:
        self._pool.shutdown()
        self._broker.close()
        self._broker.client.close()
