"""Periodic work goes to one process a period; a worker is alive as long as it beats."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.database import database
from models.periodic import Schedule, Worker, beat, claim_turn, forget_worker, hurry, live_slots, worker_age
from tests.models.rows import pass_seconds

pytestmark = pytest.mark.usefixtures("database")


def test_a_turn_is_had_once_a_period(monkeypatch: pytest.MonkeyPatch) -> None:
    assert claim_turn("sweep", "a", 2.0)
    assert not claim_turn("sweep", "a", 2.0)
    assert not claim_turn("sweep", "b", 2.0)

    pass_seconds(monkeypatch, 2.0)

    assert claim_turn("sweep", "b", 2.0)
    assert not claim_turn("sweep", "a", 2.0)
    assert Schedule.get_by_id("sweep").owner == "b"


def test_a_turn_that_was_missed_does_not_come_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert claim_turn("sweep", "a", 2.0)
    pass_seconds(monkeypatch, 1000.0)

    assert claim_turn("sweep", "a", 2.0)
    assert not claim_turn("sweep", "b", 2.0)


def test_each_kind_of_work_has_turns_of_its_own() -> None:
    assert claim_turn("sweep", "a", 2.0)
    assert claim_turn("recover", "b", 2.0)


def test_of_many_at_once_one_has_the_turn() -> None:
    together = threading.Barrier(10)

    def one(number: int) -> bool:
        together.wait(10)
        try:
            return claim_turn("sweep", f"process {number}", 60.0)
        finally:
            database.close()

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(one, range(10))) == 1


def test_there_is_no_age_before_the_first_worker() -> None:
    assert worker_age() is None


def test_the_age_is_that_of_the_newest_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    beat("worker_a", "host", 1, 0)
    pass_seconds(monkeypatch, 5.0)
    beat("worker_b", "host", 2, 0)
    pass_seconds(monkeypatch, 3.0)

    age = worker_age()

    assert age is not None
    assert 3.0 <= age < 5.0


def test_a_beat_says_how_much_a_worker_holds_and_not_when_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    beat("worker_a", "host", 1, 0)
    first = Worker.get_by_id("worker_a")
    pass_seconds(monkeypatch, 5.0)

    beat("worker_a", "host", 1, 7)

    found = Worker.get_by_id("worker_a")
    assert (found.running, found.started_at) == (7, first.started_at)
    assert found.heartbeat_at >= first.heartbeat_at + 5


def test_slots_are_those_of_workers_that_live(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not live_slots(10.0).scalar()
    beat("worker_a", "host", 1, 0, 8)
    pass_seconds(monkeypatch, 9.0)
    beat("worker_b", "host", 2, 0, 4)
    assert live_slots(10.0).scalar() == 12
    pass_seconds(monkeypatch, 2.0)
    assert live_slots(10.0).scalar() == 4
    beat("worker_b", "host", 2, 3, 0)
    assert live_slots(10.0).scalar() == 0


def test_a_worker_that_stops_is_forgotten_with_those_long_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    beat("worker_dead", "host", 1, 0)
    pass_seconds(monkeypatch, 3601.0)
    beat("worker_a", "host", 2, 0)
    beat("worker_b", "host", 3, 0)

    forget_worker("worker_a")

    assert [each.id for each in Worker.select()] == ["worker_b"]


def test_work_that_is_hurried_is_due_in_time_and_never_later(monkeypatch: pytest.MonkeyPatch) -> None:
    claim_turn("work", "one", 1000)

    hurry("work", 10)
    assert not claim_turn("work", "one", 1000)
    pass_seconds(monkeypatch, 9)
    hurry("work", 10)
    pass_seconds(monkeypatch, 1)
    assert claim_turn("work", "one", 1000)
    hurry("work")
    assert claim_turn("work", "another", 1000)
    hurry("nothing")
