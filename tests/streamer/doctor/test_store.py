"""What the doctor sees of the database."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from peewee import Database

from models import sqlite as module
from models.periodic import Schedule, beat
from models.settings import Settings
from streamer.doctor import store
from streamer.doctor.check import Check, Verdict, carry_out
from tests.streamer.doctor.finding import only


@pytest.fixture
def locked(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody holds the database, and nobody waits for long."""
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(settings.data_path / "streamer.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_a_database_in_use_is_fine_and_keeps_nothing_of_the_trial(settings: Settings, database: Database) -> None:
    assert only(store.store, settings).verdict is Verdict.OK
    assert only(store.migrations, settings).verdict is Verdict.OK
    with database.connection_context():
        assert Schedule.get_or_none(Schedule.name == "doctor") is None


def test_a_database_that_is_not_there_is_not_made(settings: Settings) -> None:
    assert only(store.store, settings).verdict is Verdict.WARNING
    assert only(store.migrations, settings).verdict is Verdict.OK
    assert only(store.workers, settings).verdict is Verdict.WARNING
    assert list(settings.data_path.iterdir()) == []


@pytest.mark.usefixtures("locked")
def test_a_locked_database_is_told(settings: Settings) -> None:
    (line,) = carry_out([Check("database", store.store)], settings)
    assert (line.finding.verdict, "locked" in line.finding.found) == (Verdict.FAILED, True)


def test_a_file_that_is_no_database_is_told(settings: Settings) -> None:
    (settings.data_path / "streamer.db").write_bytes(b"no database" * 1000)
    for look in (store.store, store.migrations, store.workers):
        (line,) = carry_out([Check("check", look)], settings)
        assert line.finding.verdict is Verdict.FAILED


def test_a_schema_that_is_behind_says_what_to_run(settings: Settings) -> None:
    (settings.data_path / "streamer.db").touch()
    finding = only(store.migrations, settings)
    assert (finding.verdict, finding.change) == (Verdict.FAILED, "`streamer migrate`")


def test_a_database_of_a_newer_release_is_told(settings: Settings, database: Database) -> None:
    with database.connection_context():
        (table,) = (name for name in database.get_tables() if "migration" in name)
        columns = [each.name for each in database.get_columns(table) if each.name != "id"]
        row = {name: "9999_later" if name == "name" else "2030-01-01 00:00:00" for name in columns}
        marks = ", ".join("?" * len(row))
        database.execute_sql(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))  # type: ignore[no-untyped-call]
    assert "9999_later" in only(store.migrations, settings).found


def test_a_log_that_nobody_merges_is_told(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LARGE_WAL_MB", -1)
    first, _ = store.store(settings)
    assert (first.verdict, "streamer.db-wal" in first.found) == (Verdict.WARNING, True)


def test_a_live_worker_is_shown_and_a_silent_one_is_not(settings: Settings, database: Database) -> None:
    assert only(store.workers, settings).found == "no worker has given a sign of life"
    with database.connection_context():
        beat("worker_1", "host-a", 42, 3)
    assert "host-a (process 42) with 3 answers" in only(store.workers, settings).found
    with database.connection_context():
        database.execute_sql("UPDATE worker SET heartbeat_at = heartbeat_at - 60")  # type: ignore[no-untyped-call]
    finding = only(store.workers, settings)
    assert (finding.verdict, finding.found) == (Verdict.WARNING, "the last sign of life came 60 s ago")
