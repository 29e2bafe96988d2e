"""Of each tenant the broker holds so many and no more; who holds the fewest goes on next, each tenant's oldest first."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from models.admission import admit
from models.database import database
from models.dispatch import WAITS, Rule, may_go_on, oldest_seconds, position, take_next
from models.generation import IS_OPEN, Generation, Status
from models.periodic import beat
from models.settings import Settings
from tests.models.rows import changed, other_tenant, pass_seconds, request, reread, tenant_id

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


def test_what_is_beyond_the_operators_number_waits_in_the_table_and_other_tenants_do_not(settings: Settings) -> None:
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


def test_who_holds_the_fewest_is_next(settings: Settings) -> None:
    other, third = other_tenant("ten_b"), other_tenant("ten_c")
    mine = [ask(settings) for _ in range(5)]
    theirs = [ask(settings, other) for _ in range(4)]
    few = [ask(settings, third) for _ in range(3)]
    end(mine[0], mine[1], theirs[0], theirs[1], few[0])
    assert take_next(settings) == [mine[2].id, theirs[2].id, mine[3].id, theirs[3].id, few[2].id]


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


# By the workers' slots


@pytest.fixture
def by_slots(settings: Settings) -> Settings:
    """No number of the operator's; a visitor may ask as often as a test does."""
    return dataclasses.replace(settings, max_in_broker_per_tenant=0, max_open_per_visitor=100)


def workers(*slots: int) -> None:
    """One worker of each size lives."""
    for number, each in enumerate(slots):
        beat(f"worker_{number}", "host", number, 0, each)


def handed(*rows: Generation) -> list[Generation]:
    """Those that the broker or a worker has."""
    found = {row.id for row in Generation.select(Generation.id).where(IS_OPEN & (Generation.enqueue_at < WAITS))}
    return [row for row in rows if row.id in found]


def test_a_tenant_alone_has_all_workers_slots_but_an_eighth(by_slots: Settings) -> None:
    workers(8, 16)
    rows = [ask(by_slots) for _ in range(24)]
    assert handed(*rows) == rows[:21]
    assert take_next(by_slots) == []
    end(*rows[:2])
    assert take_next(by_slots) == [row.id for row in rows[21:23]]


def test_who_comes_later_has_what_is_kept_and_the_first_of_each_tenant_never_waits(by_slots: Settings) -> None:
    workers(16)
    second, third = other_tenant("ten_b"), other_tenant("ten_c")
    assert len(handed(*(ask(by_slots) for _ in range(20)))) == 14
    theirs = [ask(by_slots, second) for _ in range(3)]
    assert handed(*theirs) == theirs[:2]
    first, another = ask(by_slots, third), ask(by_slots, third)
    assert handed(first, another) == [first]


def test_those_who_want_more_than_there_is_come_to_hold_the_same(by_slots: Settings) -> None:
    workers(16)
    mine = [ask(by_slots) for _ in range(30)]
    other = other_tenant()
    theirs = [ask(by_slots, other) for _ in range(30)]
    assert (len(handed(*mine)), len(handed(*theirs))) == (14, 2)
    for row in mine[:10]:
        end(row)
        take_next(by_slots)
        assert len(handed(*mine, *theirs)) <= 16
    assert (len(handed(*mine)), len(handed(*theirs))) == (7, 7)
    end(theirs[0])
    assert take_next(by_slots) == [theirs[7].id]


def test_a_worker_that_is_silent_lends_nothing_and_without_any_one_is_assumed(
    by_slots: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_slots = dataclasses.replace(by_slots, worker_threads=4)
    workers(8, 8)
    pass_seconds(monkeypatch, by_slots.heartbeat_seconds + 1)
    rows = [ask(by_slots) for _ in range(20)]
    assert handed(*rows) == rows[:3]
    workers(8)
    assert take_next(by_slots) == [row.id for row in rows[3:7]]
    workers(8, 8)
    assert take_next(by_slots) == [row.id for row in rows[7:14]]


@pytest.mark.parametrize(("slots", "alone", "kept"), [(1, 1, 1), (2, 1, 1), (8, 7, 1), (200, 175, 25)])
def test_some_slots_are_kept_for_those_who_hold_few(by_slots: Settings, slots: int, alone: int, kept: int) -> None:
    rule = Rule.of(slots, by_slots)
    assert rule.allows(alone, alone - 1)
    assert not rule.allows(alone + 1, alone)
    assert rule.allows(kept, slots - 1)
    assert not rule.allows(kept + 1, slots - 1)
    assert rule.allows(1, slots)


def test_one_statement_tells_whether_a_post_goes_on(by_slots: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant, statements, execute_sql = tenant_id(), [], database.obj.execute_sql

    def noted(sql: str, params: Any = None) -> Any:
        statements.append(sql)
        return execute_sql(sql, params)

    monkeypatch.setattr(database.obj, "execute_sql", noted)
    assert may_go_on(tenant, by_slots)
    assert len(statements) == 1


# What is told


def test_the_place_in_line_counts_whoever_goes_before(settings: Settings) -> None:
    other = other_tenant()
    mine = [ask(settings) for _ in range(5)]
    theirs = [ask(settings, other) for _ in range(4)]
    assert [position(reread(row)) for row in mine[:2]] == [1, 2]
    assert [position(reread(row)) for row in theirs[:2]] == [3, 4]
    assert [position(reread(row)) for row in mine[2:]] == [6, 8, 9]
    assert [position(reread(row)) for row in theirs[2:]] == [6, 8]


def test_what_has_ended_by_the_time_of_the_look_has_a_place_as_well(settings: Settings) -> None:
    *_, last = [ask(settings) for _ in range(3)]
    stale = reread(last)
    end(last)
    assert position(stale) == 3


def test_the_oldest_that_waits_has_an_age(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert oldest_seconds() is None
    row = ask(settings)
    pass_seconds(monkeypatch, 7)
    ask(settings)
    assert 7 <= (oldest_seconds() or 0) < 60
    changed(row, status=Status.RUNNING)
    assert (oldest_seconds() or 0) < 7
