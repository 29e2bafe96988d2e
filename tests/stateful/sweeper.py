"""A sweeper: the real one's steps, each of which may come long after the look at the rows that called for it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import redis

from models.generation import Generation
from models.settings import Settings
from tasks.sweeper import Sweeper, _lost, _queued_in_vain, _unpublished
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

    KINDS = ("lost", "queued_in_vain", "unpublished", "read", "tails", "append")

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
        self._settings = settings
        self._log = gated_log(self, client)
        self._threads = GatedThreads(self)
        any_queue: Any = queue
        self._sweeper = Sweeper(settings, self._threads, {}, any_queue, "")
        self._now = asyncio.Event()
        self.spawn(self._look_forever(settings.sweep_seconds if periodic else None))

    def look(self) -> None:
        self._now.set()

    async def _look_forever(self, period_seconds: float | None) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._now.wait(), period_seconds)
            self._now.clear()
            await self._look()

    async def _look(self) -> None:
        """As `Sweeper.recover` and `Sweeper.sweep`, with a gate between a row's reading and what is done about it."""
        await self._each("lost", _lost(), self._sweeper._recover)
        await self._each("queued_in_vain", _queued_in_vain(), self._sweeper._end_queued)
        self._sweeper._enqueue_waiting()
        await self._each("unpublished", _unpublished(self._settings), self._sweeper._publish)

    async def _each(self, kind: str, rows: list[Generation], act: Callable[..., Awaitable[None]]) -> None:
        for row in rows:
            with contextlib.suppress(_Skipped):
                await self._seen(kind)
                await act(row, self._log)

    async def _seen(self, kind: str) -> None:
        try:
            await self.ask(kind, lambda: None, to_redis=False)
        except Exception as error:
            raise _Skipped from error


class _Skipped(Exception):
    """A fault struck where there is no call."""
