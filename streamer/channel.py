"""One generation's log in this process: read once, encoded once, shared by all its viewers, each of which is a cursor."""

import asyncio
import math
from bisect import bisect_right
from collections.abc import Iterable

from models.ending import snapshot_event, terminal_event
from models.event import NOWHERE, TERMINAL, EventId, Frame
from models.generation import Generation
from streamer.sse import encode_frame

#: Bytes that one write to a viewer holds at most, if no single event is larger.
WRITE_BYTES = 64 * 1024


class Channel:
    """The events so far, and what ends them."""

    def __init__(self, generation_id: str) -> None:
        self.id = generation_id
        self.viewers: set[Viewer] = set()
        self.loaded = asyncio.Event()
        """Set once the log was read, or found to be unreachable."""
        self.reading: asyncio.Task[None] | None = None
        """What reads the log, or did so last."""
        self.unread = False
        """Whether the log may hold what no reading under way has seen."""
        self.touched = 0.0
        """When something last came, or was last looked for, in the event loop's time."""
        self._ids: list[EventId] = []
        self._frames: list[bytes] = []
        self._complete = False
        self._row_end: bytes | None = None

    @property
    def tail(self) -> EventId | None:
        """The newest event here."""
        return self._ids[-1] if self._ids else None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._complete or self._row_end is not None

    def extend(self, frames: Iterable[Frame]) -> None:
        """Adds what is newer than the tail, in order, and wakes the viewers."""
        for frame in frames:
            if self._ids and frame.id <= self._ids[-1]:
                continue
            self._ids.append(frame.id)
            self._frames.append(encode_frame(frame))
            self._complete = self._complete or frame.kind in TERMINAL
        self.wake()

    def end_from_row(self, row: Generation) -> None:
        """Ends the stream from the row, where the log does not end as the row says: everything at once, then the terminal event.

        The snapshot's id is the cursor of nothing: who is cut off between the two is told everything again.
        """
        if row.terminal is None or (self._complete and self.tail == row.terminal):
            return
        self._row_end = encode_frame(snapshot_event(row, NOWHERE)) + encode_frame(terminal_event(row))
        self.wake()

    def wake(self) -> None:
        for viewer in self.viewers:
            viewer.wake()

    def holds(self, cursor: EventId) -> bool:
        """Whether a cursor lies within what is here."""
        return bool(self._ids) and cursor <= self._ids[-1]

    def position_after(self, cursor: EventId | None) -> int:
        """The index of the first event after `cursor`."""
        return bisect_right(self._ids, cursor) if cursor is not None else 0

    def take(self, position: int) -> tuple[bytes, int, bool]:
        """Whole frames from `position` on for one write, the position after them, and whether they are the last ever."""
        if self._row_end is not None:
            return self._row_end, len(self._frames), True
        size, end = 0, position
        while end < len(self._frames) and (end == position or size + len(self._frames[end]) <= WRITE_BYTES):
            size += len(self._frames[end])
            end += 1
        return b"".join(self._frames[position:end]), end, self._complete and end == len(self._frames)


class Viewer:
    """One open event stream: a position in a channel's log, and what it is told beside that."""

    def __init__(self, channel: Channel, cursor: EventId | None) -> None:
        self.channel = channel
        self.cursor = cursor
        self.position = 0
        self.closing: tuple[str, bool] | None = None
        """Why the server ends this connection (a close code), and whether to come back."""
        self.gone = False
        self.quiet_since = 0.0
        self.closes_at = math.inf
        """When it is asked to come back on a new connection; both in the event loop's time."""
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    def place(self) -> None:
        """Finds the position of the cursor, now that the log is here; one beyond the log means: from the beginning."""
        cursor = self.cursor if self.cursor is not None and self.channel.holds(self.cursor) else None
        self.position = self.channel.position_after(cursor)

    def take(self) -> tuple[bytes, bool]:
        """What to write now, perhaps nothing, and whether it ends the stream."""
        data, self.position, last = self.channel.take(self.position)
        return data, last

    def close(self, code: str, *, reconnect: bool) -> None:
        """Asks the stream to end with a `close` event."""
        self.closing = self.closing or (code, reconnect)
        self.wake()

    async def wait(self) -> None:
        """Returns when there may be something to do."""
        await self._wake.wait()
        self._wake.clear()
