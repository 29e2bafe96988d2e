"""Tasks that nobody waits for: kept until they end, and a defect of one is told."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from models.event_log import LOG_AWAY
from streamer.logging_setup import described
from tasks.end_tasks import end_tasks

logger = logging.getLogger(__name__)

T = TypeVar("T")


class OwnTasks:
    """One owner's. `what` one of them does, for the log. That Redis is away is no defect."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begins `work`. Who wants its result may wait for the task; who leaves does not end it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, LOG_AWAY):
            logger.error("%s broke off: %s", self._what, described(error))

    async def close(self) -> None:
        """Ends them all."""
        await end_tasks(*self._tasks)
