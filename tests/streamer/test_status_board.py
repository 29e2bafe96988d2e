"""One report for all who watch, none for nobody."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from streamer.status_board import StatusBoard
from streamer.status_report import StatusChecks, StatusReport, Viewers
from tests.streamer.eventually import eventually
from tests.streamer.frames import parse

PAUSE_SECONDS = 0.01


class Looks:
    """Reports whose `at` counts up; each waits while `gate` is closed, and fails where `broken`."""

    def __init__(self) -> None:
        self.count = 0
        self.broken = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def report(self) -> StatusReport:
        self.count += 1
        await self.gate.wait()
        if self.broken:
            raise KeyError("secret")
        return StatusReport(
            at=float(self.count),
            checks=StatusChecks(database="away", redis="away", queue="away"),
            answers=None,
            queue_messages=None,
            viewers=Viewers(here=0, everywhere=None, processes=None),
            failures=None,
            workers=None,
        )


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
async def board(looks: Looks) -> AsyncIterator[StatusBoard]:
    board = StatusBoard(looks.report, PAUSE_SECONDS)
    yield board
    await board.close()


async def test_all_who_watch_get_the_same_report_and_one_look_makes_it(board: StatusBoard, looks: Looks) -> None:
    looks.gate.clear()
    with board.watching(), board.watching():
        waiting = [asyncio.create_task(board.newer(0, 60.0)) for _ in range(2)]
        await eventually(lambda: looks.count == 1)
        looks.gate.set()
        first, second = await asyncio.gather(*waiting)
        assert first is second
        assert first is not None
        (event,) = parse(first.frame)
        assert (event.kind, event.id, event.data["at"]) == ("status", None, 1.0)
        third = await board.newer(first.number, 60.0)
        assert third is not None
        assert third.number > first.number
        assert json.loads(third.frame.split(b"data: ")[1])["at"] > 1.0


async def test_nobody_looks_while_nobody_watches_and_old_reports_are_not_told(board: StatusBoard, looks: Looks) -> None:
    assert looks.count == 0
    with board.watching():
        assert await board.newer(0, 60.0) is not None
    await eventually(lambda: board._looking is None)
    count = looks.count
    assert await board.newer(0, 0.0) is None

    with board.watching():
        notice = await board.newer(0, 60.0)
        assert notice is not None
        assert parse(notice.frame)[0].data["at"] > count


async def test_who_waits_in_vain_is_told_so(board: StatusBoard, looks: Looks) -> None:
    looks.gate.clear()
    with board.watching():
        assert await board.newer(0, 0.01) is None


async def test_a_look_that_breaks_off_is_logged_without_its_words_and_repeated(
    board: StatusBoard, looks: Looks, caplog: pytest.LogCaptureFixture
) -> None:
    looks.broken = True
    with board.watching():
        await eventually(lambda: looks.count > 1)
        looks.broken = False
        assert await board.newer(0, 60.0) is not None
    assert "a look at the status broke off: KeyError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_drain_wakes_everybody_at_once(board: StatusBoard, looks: Looks) -> None:
    looks.gate.clear()
    with board.watching():
        waiting = asyncio.create_task(board.newer(0, 60.0))
        await eventually(lambda: looks.count == 1)
        board.drain()
        assert await waiting is None
        assert await board.newer(0, 60.0) is None  # and who comes later does not wait


async def test_who_never_looked_has_nothing_to_end(looks: Looks) -> None:
    await StatusBoard(looks.report, PAUSE_SECONDS).close()
