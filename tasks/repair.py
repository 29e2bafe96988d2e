"""Completes the log of an ended generation, from its row: the same events under the same ids, whoever does it."""

from collections.abc import Awaitable, Callable

from models.ending import missing_frames
from models.event import EventId
from models.event_log import Append
from models.generation import Generation

#: How often the tail may turn out to be another while we append.
ATTEMPTS = 5


async def complete_log(
    row: Generation,
    tail: EventId | None,
    append: Callable[[Append], Awaitable[EventId | None]],
    confirm: Callable[[], Awaitable[bool]],
) -> bool:
    """Appends what the log lacks after `tail`, with the terminal event as the last. Whether the log is complete now.

    A wrong `tail` does no harm: the append answers with the true one. `confirm` asks the database whether the row is there and
    its end unsaid (`is_unsaid`), before a log is made again: that of an erased answer must not be. Raises what both raise.
    """
    for _ in range(ATTEMPTS):
        frames = missing_frames(row, tail)
        if not frames:
            return True
        if tail is None and not await confirm():
            return False
        tail = await append(
            Append(row.id, tail, frames, row.retention_seconds, ended_life_seconds=row.retention_seconds)
        )
    return not missing_frames(row, tail)
