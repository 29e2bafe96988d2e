"""A sweeper: the real one's steps, each of which may come long after the look at the rows that called for it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import redis

from models.errors import Unavailable
from models.event_log import EventLog
from models.generation import Generation
from models.settings import Settings
from tasks.sweeper import Sweeper
from tests.stateful.actors import Actor, GatedThreads, gated_log


class Queue:
    """The queue: ids that no worker has taken."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def enqueue(self, generation_id: str) -> None:
        self.ids.append(generation_id)

    def length(self) -> int:
        return len(self.ids)


class Repairer(Actor):
    """Looks when told to, and when its time comes if it is `periodic`."""

    KINDS = ("_recover", "_end_queued", "_publish", "read", "tails", "append")

    def __init__(
        self,
        name: str,
        loop: asyncio.AbstractEventLoop,
        client: redis.Redis,
        settings: Settings,
        queue: Queue,
        *,
        periodic: bool,
    ) -> None:
        super().__init__(name, loop)
        self._log = gated_log(self, client)
        any_queue: Any = queue
        self._sweeper = _SteppedSweeper(settings, GatedThreads(self), any_queue, "")
        self._sweeper.actor = self
        self._now = asyncio.Event()
        self.spawn(self._look_forever(settings.sweep_seconds if periodic else None))

    def look(self) -> None:
        self._now.set()

    async def _look_forever(self, period_seconds: float | None) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._now.wait(), period_seconds)
            self._now.clear()
            await self._sweeper.recover(self._log)
            await self._sweeper.sweep(self._log)


class _SteppedSweeper(Sweeper):
    """Has a gate between the reading of a row and what is done about it."""

    actor: Actor

    async def _each(
        self,
        find: Callable[[], list[Generation]],
        work: Callable[[Generation, EventLog], Awaitable[None]],
        log: EventLog,
    ) -> None:
        for row in find():
            with contextlib.suppress(Unavailable):
                await self.actor.ask(work.__name__, lambda: None, to_redis=False)
                await work(row, log)
