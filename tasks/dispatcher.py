"""Hands on what waits for its tenant's turn, as soon as an answer of this worker has ended."""

import asyncio
import logging

from models.database_threads import DatabaseThreads
from models.dispatch import take_next
from models.errors import Unavailable
from models.settings import Settings
from tasks.broker import Queue

logger = logging.getLogger(__name__)

#: Seconds between two looks, however many answers end.
PAUSE_SECONDS = 0.05


class Dispatcher:
    """`wake` whenever a place may be free. What can't be handed on is a sweeper's."""

    def __init__(self, settings: Settings, threads: DatabaseThreads, queue: Queue) -> None:
        self._settings = settings
        self._threads = threads
        self._queue = queue
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self._hand_on()
            except Unavailable as error:
                logger.warning("what waits for its tenant's turn waits on: %s", error.message)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _hand_on(self) -> None:
        loop = asyncio.get_running_loop()
        for generation_id in await self._threads.run(take_next, self._settings):
            await loop.run_in_executor(self._queue.pool, self._queue.enqueue, generation_id)
