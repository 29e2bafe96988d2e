"""Of each tenant the broker holds so many and no more; the others go on in turns, each tenant's oldest first."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from models.admission import admit
from models.database import database
from models.dispatch import WAITS, oldest_seconds, position, share, take_next
from models.generation import Generation, Status
from models.settings import Settings
from tests.models.rows import changed, other_tenant, pass_seconds, request, reread

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(settings, max_in_broker_per_tenant=2)


def ask(settings: Settings, tenant: Any = None) -> Generation:
    return admit(request(tenant=tenant), settings).generation


def waits(row: Generation) -> bool:
    return bool(reread(row).enqueue_at >= WAITS)


def end(*rows: Generation) -> None:
    for row in rows:
        changed(row, status=Status.CANCELLED, finished_at=1.0, terminal_id="1-1", finish_reason="cancelled")


def test_half_the_slots_are_a_tenants_share_unless_the_operator_says_otherwise(settings: Settings) -> None:
    assert share(settings) == 2
    assert share(dataclasses.replace(settings, max_in_broker_per_tenant=0, worker_threads=200)) == 100
    assert share(dataclasses.replace(settings, max_in_broker_per_tenant=0, worker_threads=1)) == 1


def test_what_is_beyond_the_share_waits_in_the_table_and_other_tenants_do_not(settings: Settings) -> None:
    rows = [ask(settings) for _ in range(4)]
    assert [waits(row) for row in rows] == [False, False, True, True]
    assert not waits(ask(settings, other_tenant()))
    assert take_next(settings) == []


def test_what_runs_counts_and_what_has_ended_makes_room_for_the_oldest(settings: Settings) -> None:
    first, second, third, fourth, fifth = [ask(settings) for _ in range(5)]
    changed(first, status=Status.RUNNING)
    assert take_next(settings) == []
    end(first)
    assert take_next(settings) == [third.id]
    assert take_next(settings) == []
    assert reread(third).enqueue_at < WAITS
    end(second, third)
    assert take_next(settings) == [fourth.id, fifth.id]
    assert not any(waits(row) for row in (fourth, fifth))


def test_who_comes_later_does_not_pass_who_waits(settings: Settings) -> None:
    first, _, third = [ask(settings) for _ in range(3)]
    end(first)
    late = ask(settings)
    assert waits(late)
    assert take_next(settings) == [third.id]


def test_tenants_take_turns(settings: Settings) -> None:
    other, third = other_tenant("ten_b"), other_tenant("ten_c")
    mine = [ask(settings) for _ in range(5)]
    theirs = [ask(settings, other) for _ in range(4)]
    few = [ask(settings, third) for _ in range(3)]
    end(mine[0], mine[1], theirs[0], theirs[1], few[0])
    assert take_next(settings) == [mine[2].id, theirs[2].id, few[2].id, mine[3].id, theirs[3].id]


def test_many_who_hand_on_at_once_hand_on_no_more_than_one_would(settings: Settings) -> None:
    rows = [ask(settings) for _ in range(8)]
    end(rows[0])
    together = threading.Barrier(6)

    def take(_: int) -> list[str]:
        together.wait(60)
        found = take_next(settings)
        database.close()
        return found

    with ThreadPoolExecutor(6) as pool:
        assert [each for found in pool.map(take, range(6)) for each in found] == [rows[2].id]


def test_what_ends_while_it_waits_takes_no_place(settings: Settings) -> None:
    first, _, third, fourth = [ask(settings) for _ in range(4)]
    end(first, third)
    assert take_next(settings) == [fourth.id]


def test_the_place_in_line_counts_whoever_goes_before(settings: Settings) -> None:
    other = other_tenant()
    mine = [ask(settings) for _ in range(5)]
    theirs = [ask(settings, other) for _ in range(4)]
    assert [position(reread(row)) for row in mine[:2]] == [1, 2]
    assert [position(reread(row)) for row in theirs[:2]] == [3, 4]
    assert [position(reread(row)) for row in mine[2:]] == [6, 8, 9]
    assert [position(reread(row)) for row in theirs[2:]] == [6, 8]


def test_the_oldest_that_waits_has_an_age(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert oldest_seconds() is None
    row = ask(settings)
    pass_seconds(monkeypatch, 7)
    ask(settings)
    assert 7 <= (oldest_seconds() or 0) < 60
    changed(row, status=Status.RUNNING)
    assert (oldest_seconds() or 0) < 7
