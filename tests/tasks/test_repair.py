"""Completing the log of an ended generation: the same events under the same ids, whatever the log holds, whoever does it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import ConnectionError as RedisAway

from models.ending import Ending, finish, is_unsaid, mark_published, snapshot_event, terminal_event
from models.event import EventId, Frame, Kind, Text, encode
from models.event_log import Append, EventLog, log_key
from models.generation import Generation, Status
from models.settings import Settings
from models.transcript import transcript_of_run
from tasks.log_writer import LogWriter
from tasks.repair import ATTEMPTS, complete_log
from tests.models.rows import running

TERMINAL = EventId(1, 4)

pytestmark = [pytest.mark.usefixtures("database"), pytest.mark.one_store]  # the log is repaired, not the store


@pytest.fixture
def row(settings: Settings) -> Generation:
    """An ended generation, whose terminal event is `1-4`."""
    ending = Ending(status=Status.DONE, finish_reason="stop")
    begun = running(settings)
    found = finish(begun.id, 1, ending, terminal=TERMINAL, text="a0 a1 a2 a3 ", reasoning="", tool_calls=None)
    assert found is not None
    return found


async def confirmed() -> bool:
    """The row is there, and its end unsaid."""
    return True


def deltas(first: int, last: int) -> list[Frame]:
    return [Frame(EventId(1, seq), Kind.DELTA, encode(Text(text=f"a{seq} "))) for seq in range(first, last + 1)]


async def begun(log: EventLog, row: Generation, frames: list[Frame]) -> None:
    await log.append([Append(row.id, None, frames, 60.0)])


async def test_a_log_that_lacks_the_terminal_event_gets_it(row: Generation, log: EventLog, writer: LogWriter) -> None:
    await begun(log, row, deltas(0, 3))

    assert await complete_log(row, EventId(1, 3), writer.append, confirmed)

    assert await log.read(row.id) == [*deltas(0, 3), terminal_event(row)]
    assert 0 < await log.client.pttl(log_key(row.id)) <= row.retention_seconds * 1000


@pytest.mark.parametrize("believed", [None, EventId(1, 1), EventId(1, 3), TERMINAL._replace(seq=2)])
async def test_a_wrong_belief_about_the_tail_does_no_harm(
    row: Generation, log: EventLog, writer: LogWriter, believed: EventId | None
) -> None:
    await begun(log, row, deltas(0, 3))

    assert await complete_log(row, believed, writer.append, confirmed)
    assert (await log.read(row.id))[-1] == terminal_event(row)
    assert transcript_of_run(await log.read(row.id), 1).text == row.text


@pytest.mark.parametrize("held", [0, 1, 2])
async def test_a_log_that_lost_something_gets_a_snapshot(
    row: Generation, log: EventLog, writer: LogWriter, held: int
) -> None:
    if held:
        await begun(log, row, deltas(0, held - 1))

    assert await complete_log(row, EventId(1, 3), writer.append, confirmed)

    snapshot = snapshot_event(row, EventId(1, 3))
    assert await log.read(row.id) == [*deltas(0, held - 1), snapshot, terminal_event(row)]


async def test_a_complete_log_is_left_alone(row: Generation, log: EventLog, writer: LogWriter) -> None:
    await begun(log, row, [*deltas(0, 3), terminal_event(row)])
    before = await log.read(row.id)

    assert await complete_log(row, TERMINAL, writer.append, confirmed)
    assert await complete_log(row, EventId(1, 3), writer.append, confirmed)
    assert await complete_log(row, None, writer.append, confirmed)
    assert await log.read(row.id) == before


async def test_many_repairs_at_once_make_one_terminal_event(row: Generation, log: EventLog, writer: LogWriter) -> None:
    await begun(log, row, deltas(0, 1))

    done = await asyncio.gather(
        *(
            complete_log(row, tail, writer.append, confirmed)
            for tail in (None, EventId(1, 1), EventId(1, 3), TERMINAL, None)
        )
    )

    assert all(done)
    assert [frame.id.seq for frame in await log.read(row.id)] == [0, 1, 3, 4]


async def test_what_the_append_raises_goes_to_who_asked(row: Generation) -> None:
    async def away(_: Append) -> EventId | None:
        raise RedisAway("away")

    with pytest.raises(RedisAway):
        await complete_log(row, None, away, confirmed)


def tails(*found: EventId | None) -> tuple[Callable[[Append], Awaitable[EventId | None]], list[Append]]:
    """A log whose tail is another at each look."""
    asked: list[Append] = []

    async def append(each: Append) -> EventId | None:
        asked.append(each)
        return found[min(len(asked), len(found)) - 1]

    return append, asked


async def test_a_log_that_changes_all_the_time_is_left_for_another_time(row: Generation) -> None:
    append, asked = tails(EventId(1, 0), None)

    assert not await complete_log(row, EventId(1, 3), append, confirmed)
    assert len(asked) == ATTEMPTS
    assert [len(each.frames) for each in asked] == [1, 2, 2, 2, 2]


async def test_a_log_that_is_completed_by_others_in_the_last_moment_is_complete(row: Generation) -> None:
    append, _ = tails(*[EventId(1, 0)] * (ATTEMPTS - 1), TERMINAL)

    assert await complete_log(row, EventId(1, 1), append, confirmed)


async def test_the_log_of_an_erased_answer_is_not_made_again(row: Generation, log: EventLog, writer: LogWriter) -> None:
    await begun(log, row, deltas(0, 3))

    async def erased_meanwhile(each: Append) -> EventId | None:
        row.delete_instance()
        await log.delete(row.id)
        return await writer.append(each)

    async def confirm() -> bool:
        return is_unsaid(row.id)

    assert not await complete_log(row, EventId(1, 3), erased_meanwhile, confirm)
    assert await log.read(row.id) == []


async def test_whether_an_end_is_unsaid_is_known_from_the_row(row: Generation, settings: Settings) -> None:
    assert is_unsaid(row.id)
    assert not is_unsaid(running(settings).id)
    mark_published(row.id)
    assert not is_unsaid(row.id)
    assert not is_unsaid("none")
