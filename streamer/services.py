"""What a web process's requests share: made in the lifespan, handed on as `request.state.services`."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import redis.asyncio

from models.database_threads import DatabaseThreads
from models.errors import Unavailable
from models.event_log import EventLog
from models.rate_limit import Limit, RateLimit, Window
from models.route import Route
from models.settings import Settings
from streamer.auth import Authenticator
from streamer.hub import Hub
from streamer.sign_of_life import SignOfLife
from streamer.signature import Signatures
from streamer.status_board import StatusBoard
from tasks.broker import Queue

#: Seconds that a request waits for the queue to take its message.
ENQUEUE_SECONDS = 2.0


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
    board: StatusBoard
    sign_of_life: SignOfLife = field(default_factory=SignOfLife)

    async def require_redis(self) -> None:
        """Raises Unavailable where Redis is away."""
        await self.sign_of_life.reply(self.client.ping())

    async def count_request(self, key: str, limit: Limit) -> Window:
        """Counts a request in its visitor's window, unless that is full.

        Raises Unavailable where Redis is away: before anything is stored for a request that needs it.
        """
        return await self.sign_of_life.reply(self.rate_limit.count(key, limit))

    async def enqueue(self, generation_id: str) -> None:
        """Hands a committed generation to the workers. Raises Unavailable, soon; a sweeper does it later then."""
        sending = asyncio.get_running_loop().run_in_executor(self.queue.pool, self.queue.enqueue, generation_id)
        try:
            async with asyncio.timeout(ENQUEUE_SECONDS):
                await sending
        except TimeoutError:
            raise Unavailable("The queue is away.") from None
