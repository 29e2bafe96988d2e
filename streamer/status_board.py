"""The newest report, made once for all who watch, and only while somebody does."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from models.event import encode
from streamer.logging_setup import described
from streamer.sse import encode_unnumbered
from streamer.status_report import StatusReport
from tasks.end_tasks import end_tasks

logger = logging.getLogger(__name__)

#: What the event that brings a report is called.
STATUS = "status"


class Notice(NamedTuple):
    """A report as it goes to every watcher. `number` counts up."""

    number: int
    frame: bytes


class StatusBoard:
    """One per process. A look begins `pause_seconds` after the one before has ended."""

    def __init__(self, report: Callable[[], Awaitable[StatusReport]], pause_seconds: float) -> None:
        self._report = report
        self._pause_seconds = pause_seconds
        self._newest: Notice | None = None
        self._looking: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._numbered = 0
        self.watchers = 0
        self.draining = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Somebody watches for the length of the block."""
        self.watchers += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_on())
        try:
            yield
        finally:
            self.watchers -= 1

    async def newer(self, number: int, timeout_seconds: float) -> Notice | None:
        """A notice after that number, as soon as there is one; None after the time, or with a drain."""
        if (self._newest is None or self._newest.number <= number) and not self.draining:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await self._changed.wait()
        newest = self._newest
        return newest if newest is not None and newest.number > number else None

    def drain(self) -> None:
        """Lets every watcher know, at once, that the process stops."""
        self.draining = True
        self._wake()

    async def close(self) -> None:
        """Ends the looking."""
        if self._looking is not None:
            await end_tasks(self._looking)

    async def _look_on(self) -> None:
        while self.watchers:
            try:
                frame = encode_unnumbered(STATUS, encode(await self._report()))
            except Exception as error:
                logger.error("a look at the status broke off: %s", described(error))
            else:
                self._numbered += 1
                self._newest = Notice(self._numbered, frame)
                self._wake()
            await asyncio.sleep(self._pause_seconds)
        # What is here grows old from now on: who watches next waits for a look of its own.
        self._newest = self._looking = None

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
