"""The service in figures: what waits, runs and failed, and which workers live; few statements, whatever the tables hold."""

from typing import Any

import pytest
from peewee import Database

from models import figures
from models.database import read_now
from models.dispatch import WAITS
from models.figures import FailureCount, read_figures
from models.generation import Generation, Status
from models.periodic import beat, forget_worker
from models.settings import Settings
from tests.models.rows import pass_seconds, queued, running

pytestmark = pytest.mark.usefixtures("database")


def failed(settings: Settings, code: str, seconds_ago: float, status: Status = Status.ERROR) -> Generation:
    return queued(settings, status=status, error_code=code, finished_at=read_now() - seconds_ago, terminal_id="1-1")


def test_an_empty_service_has_nothing_to_tell(settings: Settings) -> None:
    found = read_figures(settings)

    assert (found.answers.queued, found.answers.waiting_for_turn, found.answers.running) == (0, 0, 0)
    assert found.answers.oldest_queued_seconds is None
    assert (found.failures.total, found.failures.more, found.failures.codes) == (0, False, [])
    assert (found.workers.total, found.workers.listed) == (0, [])


def test_what_waits_and_what_runs_is_counted_and_what_has_ended_is_not(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    running(settings)
    pass_seconds(monkeypatch, 100.0)
    queued(settings)
    queued(settings, enqueue_at=WAITS)
    for status in (Status.DONE, Status.INCOMPLETE, Status.CANCELLED, Status.ERROR):
        queued(settings, status=status, finished_at=read_now(), terminal_id="1-1")
    pass_seconds(monkeypatch, 7.0)

    answers = read_figures(settings).answers

    assert (answers.queued, answers.waiting_for_turn, answers.running) == (2, 1, 1)
    assert answers.oldest_queued_seconds is not None
    assert 7.0 <= answers.oldest_queued_seconds < 100.0


def test_failures_are_those_of_the_last_hour_by_their_code(settings: Settings) -> None:
    for code, seconds_ago in (("crashed", 30.0), ("rate_limited", 50.0), ("rate_limited", 20.0), ("crashed", 3700.0)):
        failed(settings, code, seconds_ago)
    failed(settings, "rate_limited", 5.0, Status.INCOMPLETE)

    found = read_figures(settings).failures

    assert (found.total, found.more) == (3, False)
    assert [(each.code, each.count) for each in found.codes] == [("rate_limited", 2), ("crashed", 1)]
    assert [round(each.newest_seconds, -1) for each in found.codes] == [20, 30]


def test_of_very_many_failures_the_newest_are_counted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MAX_FAILURES", 2)
    for number, code in enumerate(("crashed", "internal", "rate_limited")):
        failed(settings, code, 30.0 - number)

    found = read_figures(settings).failures

    assert (found.total, found.more) == (2, True)
    assert [each.code for each in found.codes] == ["internal", "rate_limited"]
    assert all(isinstance(each, FailureCount) for each in found.codes)


@pytest.mark.one_store
def test_no_other_answers_are_looked_at_for_failures(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[tuple[str, Any]] = []
    execute: Any = database.execute_sql

    def noting(sql: str, parameters: Any = None) -> Any:
        statements.append((sql, parameters))
        return execute(sql, parameters)

    monkeypatch.setattr(database, "execute_sql", noting)
    read_figures(settings)
    monkeypatch.undo()

    assert len(statements) == 3
    (sql, parameters), *_ = [each for each in statements if "finished_at" in each[0]]
    plan = [step[3] for step in execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()]
    assert any("USING COVERING INDEX generation_failed (finished_at>?)" in step for step in plan)


def test_workers_are_listed_by_host_and_the_silent_among_them_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat("worker_c", "web2", 7, 0)
    pass_seconds(monkeypatch, 60.0)
    beat("worker_b", "web1", 12, 5)
    beat("worker_a", "web1", 9, 3)
    pass_seconds(monkeypatch, 2.0)

    found = read_figures(settings).workers

    assert found.total == 3
    assert [(each.host, each.pid, each.running, each.silent) for each in found.listed] == [
        ("web1", 9, 3, False),
        ("web1", 12, 5, False),
        ("web2", 7, 0, True),
    ]
    assert all(62.0 <= each < 70.0 for each in (found.listed[2].heartbeat_seconds, found.listed[2].up_seconds))
    forget_worker("worker_c")
    assert read_figures(settings).workers.total == 2


def test_of_very_many_workers_those_that_beat_last_are_listed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MAX_WORKERS", 2)
    for number in range(3):
        beat(f"worker_{number}", "web", number, 0)
        pass_seconds(monkeypatch, 1.0)

    found = read_figures(settings).workers

    assert found.total == 3
    assert [each.pid for each in found.listed] == [1, 2]
