"""Publishes one run: numbers its events, joins its deltas, keeps its frames until they are safe, and heals its log."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from models.errors import Unavailable
from models.event import EventId, Frame, Kind, Started, Text, ToolCall, encode
from models.event_log import LOG_AWAY, Append
from models.generation import Generation
from models.kill_point import reach
from models.settings import Settings
from models.transcript import Transcript
from tasks.end_tasks import end_tasks
from tasks.log_writer import LogWriter

logger = logging.getLogger(__name__)

#: Seconds between two attempts while Redis is away: from, to.
RETRY_SECONDS = (0.1, 2.0)

#: Bytes that an event costs beside its data.
FRAME_OVERHEAD = 100


class RunLost(Exception):
    """The generation belongs to a newer run: nothing more may be written."""


class Publisher:
    """The events of one run of one generation, in the order in which they were given.

    `confirm` asks the database whether the run is still ours: before a log is made again, never from memory.
    """

    def __init__(
        self,
        row: Generation,
        writer: LogWriter,
        settings: Settings,
        confirm: Callable[[], Coroutine[Any, Any, bool]],
    ) -> None:
        self.run = row.run
        self.transcript = Transcript()
        """What the numbered events add up to: never more than what has an id."""
        self.last = EventId(self.run, -1)
        """The newest event that has an id."""
        self.tail: EventId | None = None
        """The log's tail, as far as known."""
        self._id = row.id
        self._life_seconds = max(1.0, row.deadline_at - row.created_at) + row.retention_seconds
        self._writer = writer
        self._settings = settings
        self._confirm = confirm
        self._confirmed = True  # the claim was the statement that confirmed it
        self._started: Frame | None = None
        self._kept: list[Frame] = []
        self._kept_bytes = 0
        self._trimmed = False
        self._buffer: list[str] = []
        self._buffer_kind = Kind.DELTA
        self._dirty = asyncio.Event()
        self._moved = asyncio.Condition()
        self._pump: asyncio.Task[None] | None = None

    # What a run says

    def start(self, provider: str, model: str, reason: str | None) -> None:
        """The first event: it clears what viewers show."""
        self._started = self._number(Kind.STARTED, Started(run=self.run, provider=provider, model=model, reason=reason))
        self._pump = asyncio.create_task(self._publish_forever())

    def text(self, text: str) -> None:
        self._add(Kind.DELTA, text)

    def reasoning(self, text: str) -> None:
        self._add(Kind.REASONING, text)

    def tool_call(self, piece: ToolCall) -> None:
        self.number_text()
        self.event(Kind.TOOL_CALL, piece)

    def event(self, kind: Kind, payload: msgspec.Struct) -> None:
        """Any other event; it goes out within the window."""
        self.number_text()
        self._number(kind, payload)

    def _add(self, kind: Kind, text: str) -> None:
        if kind is not self._buffer_kind:
            self.number_text()
            self._buffer_kind = kind
        self._buffer.append(text)
        self._dirty.set()

    def number_text(self) -> None:
        """Makes one event of the text that came up since the last, so that the transcript holds all that was said."""
        if self._buffer:
            text, self._buffer = "".join(self._buffer), []
            self._number(self._buffer_kind, Text(text=text))

    def _number(self, kind: Kind, payload: msgspec.Struct) -> Frame:
        self.last = EventId(self.run, self.last.seq + 1)
        frame = Frame(self.last, kind, encode(payload))
        self.transcript.apply(frame)
        self._keep(frame)
        self._dirty.set()
        return frame

    def _keep(self, frame: Frame) -> None:
        self._kept.append(frame)
        self._kept_bytes += len(frame.data) + FRAME_OVERHEAD
        if self._kept_bytes > self._settings.max_unsent_bytes:
            self._trim()

    def _trim(self) -> None:
        """Drops what is kept beyond the bound: what the log holds first, then all of it, for a snapshot to take its place."""
        acknowledged = [frame for frame in self._kept if self.tail is not None and frame.id <= self.tail]
        unsent = self._kept[len(acknowledged) :]
        self._kept = unsent
        self._kept_bytes = sum(len(frame.data) + FRAME_OVERHEAD for frame in unsent)
        if self._kept_bytes > self._settings.max_unsent_bytes // 2:
            self._kept, self._kept_bytes = [], 0
        self._trimmed = True

    # How it gets there

    async def _publish_forever(self) -> None:
        loop = asyncio.get_running_loop()
        pause = RETRY_SECONDS[0]
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            began = loop.time()
            try:
                await self._publish()
                pause = RETRY_SECONDS[0]
                if self.tail is not None and self.tail.seq > 0:  # after `started` alone, the first delta goes at once
                    await asyncio.sleep(max(0.0, began + self._settings.append_window_seconds - loop.time()))
            except (*LOG_AWAY, Unavailable) as error:  # Unavailable: whether the run is still ours can't be asked now
                logger.warning("events wait (%s); trying again in %.1f s", type(error).__name__, pause)
                self._confirmed = False
                self._dirty.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_SECONDS[1])

    async def _publish(self) -> None:
        """Appends until the log holds everything numbered by now; what is numbered meanwhile waits for the next window."""
        self.number_text()
        goal = self.last
        while self.tail is None or self.tail < goal:
            frames = self._missing()
            if self.tail is None or frames[0].id.seq == 0:
                await self._confirm_once()
            await self._learn(await self._writer.append(Append(self._id, self.tail, frames, self._life_seconds)))

    def _missing(self) -> list[Frame]:
        """What the log lacks after its tail; a snapshot of all of it where frames were dropped."""
        assert self._started is not None
        tail = self.tail if self.tail is not None else EventId(0, 0)
        first = self._kept[0].id if self._kept else EventId(self.run, self.last.seq + 1)
        if not self._trimmed or (tail.run == self.run and tail.seq >= first.seq - 1):
            return [frame for frame in self._kept if frame.id > tail]
        self.last = EventId(self.run, self.last.seq + 1)
        self._dirty.set()
        snapshot = Frame(self.last, Kind.SNAPSHOT, self.transcript.snapshot())
        self._kept, self._kept_bytes = [snapshot], len(snapshot.data) + FRAME_OVERHEAD
        return [snapshot] if tail >= self._started.id else [self._started, snapshot]

    async def _confirm_once(self) -> None:
        """A log is made, or made again, only after the database has said that the run is still ours."""
        if not self._confirmed:
            if not await self._confirm():
                raise RunLost
            self._confirmed = True

    async def _learn(self, tail: EventId | None) -> None:
        """Takes in what the log's tail is: ours as far as expected, shortened, gone, or a newer run's."""
        if tail is not None and (tail.run > self.run or tail > self.last):
            raise RunLost
        if self.tail is not None and (tail is None or tail < self.tail):
            self._confirmed = False
            await self._confirm_once()
        self.tail = tail
        if self.transcript and tail is not None:
            reach("after_first_delta", self._settings)
        async with self._moved:
            self._moved.notify_all()

    # The end

    async def complete(self, timeout_seconds: float) -> bool:
        """Waits until the log holds all events given so far; False where it does not in that time. Then nothing more is sent.

        Raises RunLost where the run is not ours any more.
        """
        self.number_text()
        assert self._pump is not None
        waiting = asyncio.create_task(self._reach_last())
        try:
            await asyncio.wait({waiting, self._pump}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            await self.stop()
        return self.tail == self.last

    async def _reach_last(self) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self.tail == self.last)

    async def stop(self) -> None:
        """Ends the publishing. Raises RunLost where that had ended it before."""
        if self._pump is not None:
            pump, self._pump = self._pump, None
            await end_tasks(pump)
            if not pump.cancelled():
                pump.result()

    async def lost(self) -> None:
        """Returns when the run turns out not to be ours any more, which may be never."""
        assert self._pump is not None
        with contextlib.suppress(RunLost):
            await asyncio.shield(self._pump)
