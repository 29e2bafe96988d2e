"""Erases a conversation that is marked deleted: its end is told, its logs go, then its rows."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from models.ending import is_unsaid, mark_published
from models.erasure import (
    ERASE_ROWS,
    erase_conversation,
    erase_generations,
    find_erasable,
    find_unsaid,
)
from models.event_log import EventLog
from models.generation import Generation
from models.periodic import hurry
from tasks.repair import complete_log

#: The turn in which SQLite's write-ahead file is emptied, and the seconds in which that comes after an erasure.
TRUNCATE, TRUNCATE_WITHIN_SECONDS = "truncate", 10.0

#: Runs a statement: in a thread of the process, or in the caller's own.
Run = Callable[..., Coroutine[Any, Any, Any]]


async def erase(conversation_id: int, log: EventLog, run: Run, *, max_rows: int) -> bool:
    """Erases up to `max_rows` of its answers, and itself after the last. Whether it is gone.

    Logs go before rows, and only of answers whose end is told: nobody writes to such a log again. So a Redis that is away
    leaves rows that lead to what is still to be erased. Raises what the log raises, and Unavailable.
    """
    for row in await run(find_unsaid, conversation_id):
        await _tell_end(row, log, run)
    for _ in range(0, max_rows, ERASE_ROWS):
        ids = await run(find_erasable, conversation_id)
        if not ids:
            break
        await erase_batch(ids, log, run)
    return bool(await run(erase_conversation, conversation_id))


async def erase_batch(ids: Sequence[str], log: EventLog, run: Run) -> None:
    """Erases ended answers: their logs, then their rows, and soon what SQLite's write-ahead file still holds of them."""
    await log.delete(*ids)
    await run(erase_generations, ids)
    await run(hurry, TRUNCATE, TRUNCATE_WITHIN_SECONDS)


async def _tell_end(row: Generation, log: EventLog, run: Run) -> None:
    """Its viewers hear of the end before the log goes."""

    async def confirm() -> bool:
        return bool(await run(is_unsaid, row.id))

    (tail,) = await log.tails([row.id])
    if await complete_log(row, tail, log.append_one, confirm):
        await run(mark_published, row.id)
