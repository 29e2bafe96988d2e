"""What the status page shows: the database's figures, the queue's length, the viewers; and which of them could not be had."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Literal, TypeVar

import msgspec

from models.database_threads import DatabaseThreads
from models.errors import Unavailable
from models.event_log import LOG_AWAY
from models.figures import Answers, Failures, Workers, read_figures
from models.settings import Settings
from streamer.hub import Hub
from streamer.presence import Presence
from tasks.broker import Queue
from tasks.end_tasks import end_tasks

#: Seconds after which a part that has not answered counts as away.
LOOK_SECONDS = 2.0

T = TypeVar("T")

There = Literal["ok", "away"]


class StatusChecks(msgspec.Struct, frozen=True, kw_only=True):
    """Whether each part answers. `queue` is the queue's Redis, which may be another than that of the event logs."""

    database: There
    redis: There
    queue: There


class Viewers(msgspec.Struct, frozen=True, kw_only=True):
    """Open event streams: in the process that says so, and in all `processes`, as each of them said within the last 15 s."""

    here: int
    everywhere: int | None
    processes: int | None


class StatusReport(msgspec.Struct, frozen=True, kw_only=True):
    """The service as a whole; null is what could not be had. `at`: Unix seconds.

    `queue_messages`: those that no worker has fetched.
    """

    at: float
    checks: StatusChecks
    answers: Answers | None
    queue_messages: int | None
    viewers: Viewers
    failures: Failures | None
    workers: Workers | None


class Look(Generic[T]):
    """Asks one part, once at a time: where an answer takes too long it is waited for the next time, too."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[T] | None = None

    async def result(self) -> T | None:
        """What the part says; None where it is away, or does not say so within LOOK_SECONDS."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        done, _ = await asyncio.wait({self._asking}, timeout=LOOK_SECONDS)
        if not done:
            return None
        answered, self._asking = self._asking, None
        try:
            return answered.result()
        except (Unavailable, *LOG_AWAY):
            return None

    async def close(self) -> None:
        """Ends what is under way."""
        if self._asking is not None:
            await end_tasks(self._asking)


class Reporter:
    """Makes reports. One per process, as one who asks is all that there may be."""

    def __init__(
        self, settings: Settings, threads: DatabaseThreads, queue: Queue, presence: Presence, hub: Hub
    ) -> None:
        async def queue_length() -> int:
            return await asyncio.get_running_loop().run_in_executor(queue.pool, queue.length)

        self._hub = hub
        self._figures = Look(lambda: threads.run(read_figures, settings))
        self._queue = Look(queue_length)
        self._others = Look(presence.others)

    async def report(self) -> StatusReport:
        """What is so now; a part that is away delays it by LOOK_SECONDS at most."""
        figures, messages, others = await asyncio.gather(
            self._figures.result(), self._queue.result(), self._others.result()
        )
        here = self._hub.viewers
        return StatusReport(
            at=time.time(),
            checks=StatusChecks(database=_there(figures), redis=_there(others), queue=_there(messages)),
            answers=figures.answers if figures else None,
            queue_messages=messages,
            viewers=Viewers(
                here=here,
                everywhere=here + others[0] if others else None,
                processes=1 + others[1] if others else None,
            ),
            failures=figures.failures if figures else None,
            workers=figures.workers if figures else None,
        )

    async def close(self) -> None:
        """Ends what is under way."""
        await asyncio.gather(self._figures.close(), self._queue.close(), self._others.close())


def _there(found: object) -> There:
    return "away" if found is None else "ok"
