"""The few threads of a process in which all its database work runs, so that none of it holds up an event loop."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from peewee import OperationalError

from models.database import AWAY, database
from models.errors import Unavailable
from models.postgres import is_victim

P = ParamSpec("P")
R = TypeVar("R")

#: The pauses before work comes again that was undone for the sake of another transaction.
VICTIM_PAUSES_SECONDS = (0.01, 0.1)

#: Seconds beyond which a statement counts as a sign of an unhealthy database: renewals may have been late.
SLOW_SECONDS = 1.0


class DatabaseHealth:
    """Since when the database has answered this process promptly. Leases are judged only after one lease of good health."""

    def __init__(self) -> None:
        self._healthy_since = time.monotonic()

    def record(self, started: float, *, failed: bool) -> None:
        """Takes note of a piece of work that began at `started` (time.monotonic())."""
        ended = time.monotonic()
        if failed or ended - started > SLOW_SECONDS:
            self._healthy_since = ended

    def healthy_seconds(self) -> float:
        """For how long nothing has failed or been slow."""
        return time.monotonic() - self._healthy_since


class DatabaseThreads:
    """`await threads.run(find, id)` runs `find(id)` with the thread's own connection."""

    def __init__(self, count: int) -> None:
        self.health = DatabaseHealth()
        self._count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="database")

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of `work`. Raises Unavailable where the database is away or busy; what `work` raises otherwise."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: self.call(work, *args, **kwargs))

    def call(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The same in the calling thread."""
        started = time.monotonic()
        try:
            result = _carry_out(lambda: work(*args, **kwargs))
        except AWAY as error:
            self.health.record(started, failed=True)
            # A connection that failed may be broken for good; the next statement opens another.
            database.close()
            raise Unavailable("The database is away; nothing was stored. Try again.") from error
        self.health.record(started, failed=False)
        return result

    def close(self) -> None:
        """Waits for the work under way and closes each thread's connection."""
        together = threading.Barrier(self._count)

        def close_one() -> None:
            together.wait()
            database.close()

        for _ in range(self._count):
            self._pool.submit(close_one)
        self._pool.shutdown()


def _carry_out(work: Callable[[], R]) -> R:
    """Work that was undone for the sake of another transaction comes again, when that has had the time to get on.

    All work is one transaction, or statements that may be repeated.
    """
    for pause_seconds in VICTIM_PAUSES_SECONDS:
        try:
            return work()
        except OperationalError as error:
            if not is_victim(error):
                raise
            time.sleep(pause_seconds)
    return work()
