"""What a web process's requests share: made in the lifespan, handed on as `request.state.services`."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import redis.asyncio

from models.database_threads import DatabaseThreads
from models.errors import Unavailable
from models.event_log import LOG_AWAY, EventLog
from models.rate_limit import Limit, RateLimit, Window
from models.route import Route
from models.settings import Settings
from streamer.auth import Authenticator
from streamer.hub import Hub
from streamer.signature import Signatures
from tasks.broker import Queue

#: Seconds that a request waits for a sign of life from Redis, and for the queue to take its message.
PING_SECONDS, ENQUEUE_SECONDS = 1.0, 2.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Nothing in it belongs to a single request."""

    settings: Settings
    routes: Mapping[str, Route]
    threads: DatabaseThreads
    auth: Authenticator
    hub: Hub
    log: EventLog
    queue: Queue
    client: redis.asyncio.Redis
    rate_limit: RateLimit
    signatures: Signatures

    async def require_redis(self) -> None:
        """Raises Unavailable where Redis is away."""
        await _sign_of_life(self.client.ping())

    async def count_request(self, key: str, limit: Limit) -> Window:
        """Counts a request in its visitor's window, unless that is full.

        Raises Unavailable where Redis is away: before anything is stored for a request that needs it.
        """
        return await _sign_of_life(self.rate_limit.count(key, limit))

    async def enqueue(self, generation_id: str) -> None:
        """Hands a committed generation to the workers. Raises Unavailable, soon; a sweeper does it later then."""
        sending = asyncio.get_running_loop().run_in_executor(self.queue.pool, self.queue.enqueue, generation_id)
        try:
            async with asyncio.timeout(ENQUEUE_SECONDS):
                await sending
        except TimeoutError:
            raise Unavailable("The queue is away.") from None


async def _sign_of_life(command: Awaitable[T]) -> T:
    """Redis's reply to the command. Raises Unavailable, soon."""
    asking = asyncio.ensure_future(command)
    asking.add_done_callback(_take_exception)  # it may come when nobody waits for it any more
    done, _ = await asyncio.wait({asking}, timeout=PING_SECONDS)
    if not done or isinstance(asking.exception(), LOG_AWAY):
        raise Unavailable("Redis is away; nothing was stored. Try again.", retry_after_seconds=2)
    return asking.result()


def _take_exception(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
