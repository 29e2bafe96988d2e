"""What a web process's requests share: made in the lifespan, handed on as `request.state.services`."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from models.database_threads import DatabaseThreads
from models.errors import Unavailable
from models.event_log import LOG_AWAY, EventLog
from models.route import Route
from models.settings import Settings
from streamer.auth import Authenticator
from streamer.hub import Hub
from tasks.broker import Queue

#: Seconds that a request waits for a sign of life from Redis, and for the queue to take its message.
PING_SECONDS, ENQUEUE_SECONDS = 1.0, 2.0


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

    async def require_redis(self) -> None:
        """Raises Unavailable where Redis is away: before anything is stored for a request that needs it."""
        ping = asyncio.ensure_future(self.client.ping())
        ping.add_done_callback(_take_exception)  # it may come when nobody waits for it any more
        done, _ = await asyncio.wait({ping}, timeout=PING_SECONDS)
        if not done or isinstance(ping.exception(), LOG_AWAY):
            raise Unavailable("Redis is away; nothing was stored. Try again.", retry_after_seconds=2)
        ping.result()

    async def enqueue(self, generation_id: str) -> None:
        """Hands a committed generation to the workers. Raises Unavailable, soon; a sweeper does it later then."""
        sending = asyncio.get_running_loop().run_in_executor(self.queue.pool, self.queue.enqueue, generation_id)
        try:
            async with asyncio.timeout(ENQUEUE_SECONDS):
                await sending
        except TimeoutError:
            raise Unavailable("The queue is away.") from None


def _take_exception(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
