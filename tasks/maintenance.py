"""Periodic work that is not urgent, in the sweeper's thread: erasing what is deleted, and what is too old.

Each turn is a row in the database, so that one process has it; each does a little at a time, so that nobody is held up.
"""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from models.database import truncate_wal
from models.database_threads import DatabaseThreads
from models.erasure import ERASE_ROWS, find_aged, find_deleted, mark_aged
from models.event_log import LOG_AWAY, EventLog
from models.periodic import claim_turn, hurry
from models.settings import Settings
from tasks.eraser import TRUNCATE, erase, erase_batch

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds between two looks for what is too old.
PURGE_SECONDS = 86_400.0

#: Seconds between two times that SQLite's write-ahead file is emptied where nothing is erased.
TRUNCATE_SECONDS = 86_400.0

#: Conversations that one turn erases at most, and answers of each.
TURN_CONVERSATIONS, TURN_ROWS = 20, 5 * ERASE_ROWS


class Maintenance:
    """Whoever has a turn does it, in its own thread."""

    def __init__(self, settings: Settings, threads: DatabaseThreads, owner: str) -> None:
        self._settings = settings
        self._threads = threads
        self._owner = owner

    async def take_turns(self, log: EventLog) -> None:
        """Does what is due. Raises Unavailable where the database is away."""
        try:
            if self._claim("purge", PURGE_SECONDS) and await self.purge(log):
                self._threads.call(hurry, "purge")
            if self._claim("erase", self._settings.sweep_seconds * 0.9):
                await self.erase(log)
        except LOG_AWAY as error:
            self._threads.call(hurry, "purge")
            logger.warning("what is deleted or too old waits to be erased (%s)", type(error).__name__)
        if self._claim(TRUNCATE, TRUNCATE_SECONDS) and not self._threads.call(truncate_wal):
            self._threads.call(hurry, TRUNCATE)

    def _claim(self, name: str, period_seconds: float) -> bool:
        return self._threads.call(claim_turn, name, self._owner, period_seconds)

    async def erase(self, log: EventLog) -> None:
        """Erases what is marked deleted and has nothing under way. Raises what the log raises, and Unavailable."""
        for conversation_id in self._threads.call(find_deleted, TURN_CONVERSATIONS):
            await erase(conversation_id, log, self._run, max_rows=TURN_ROWS)

    async def purge(self, log: EventLog) -> bool:
        """Marks conversations whose time is over, and erases answers without one. Whether there may be more.

        Raises what the log raises, and Unavailable.
        """
        days = self._settings.conversation_days
        if not days:
            return False
        marked = self._threads.call(mark_aged, days)
        ids = self._threads.call(find_aged, days)
        if ids:
            await erase_batch(ids, log, self._run)
        if marked or ids:
            logger.info("%d conversations and %d answers are older than %g days", marked, len(ids), days)
        return ERASE_ROWS in (marked, len(ids))

    async def _run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return self._threads.call(work, *args, **kwargs)
