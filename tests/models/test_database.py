"""The database: its migrations make what the models say, its clock is one for all processes and never goes back."""

import multiprocessing
import re
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from peewee import SqliteDatabase

from models import clock
from models import database as module
from models.api_key import ApiKey
from models.clock import boot_clock
from models.conversation import Conversation
from models.database import Clock, Table, connect, migration_names, now, read_now
from models.errors import SettingInvalid
from models.feedback import Feedback
from models.generation import Generation
from models.host_claim import HostClaim
from models.periodic import Schedule, Worker
from models.provider_call import ProviderCall
from models.settings import Settings
from models.sqlite import BUSY_SECONDS
from models.tenant import Tenant
from tests.models.rows import pass_seconds, queued, reread

TABLES: list[type[Table]] = [
    Clock,
    Tenant,
    ApiKey,
    Conversation,
    Generation,
    Feedback,
    ProviderCall,
    Schedule,
    Worker,
    HostClaim,
]


def schema(bound: Any) -> dict[str, object]:
    """Every table by its columns, references and checks, whatever their order; every index as SQL of one spelling."""
    rows = bound.execute_sql("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    found: dict[str, object] = {}
    for kind, name, sql in rows:
        spelled = " ".join(sql.replace("IF NOT EXISTS ", "").split())
        if kind == "table":
            columns = bound.execute_sql(f'PRAGMA table_info("{name}")').fetchall()
            references = bound.execute_sql(f'PRAGMA foreign_key_list("{name}")').fetchall()
            found[name] = (
                {column[1:] for column in columns},
                {reference[2:] for reference in references},
                re.findall(r"CHECK \(.*?\)\)", spelled),
            )
        else:
            found[name] = spelled
    return found


@pytest.mark.one_store
def test_the_migrated_schema_is_the_models_schema(database: Any) -> None:
    fresh = SqliteDatabase(":memory:")
    with fresh.bind_ctx(TABLES):
        fresh.create_tables(TABLES)
        wanted = schema(fresh)
    fresh.close()

    migrated = {name: sql for name, sql in schema(database).items() if "migration" not in name}
    assert migrated == wanted


def test_every_table_of_the_models_is_compared() -> None:
    assert {each for each in Table.__subclasses__() if each.__module__.startswith("models.")} == set(TABLES)


@pytest.mark.one_store
def test_the_database_is_made_for_many_processes_at_once(database: Any) -> None:
    def pragma(name: str) -> Any:
        return database.execute_sql(f"PRAGMA {name}").fetchone()[0]

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 1
    assert pragma("foreign_keys") == 1
    assert pragma("busy_timeout") == BUSY_SECONDS * 1000


@pytest.mark.one_store
def test_a_transaction_takes_the_write_lock_at_its_start(database: Any, settings: Settings) -> None:
    with sqlite3.connect(settings.data_path / "streamer.db", timeout=0, isolation_level=None) as other:
        with database.atomic(), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE").execute("ROLLBACK")
    other.close()


# What stands in the settings


@pytest.mark.usefixtures("database")
def test_a_migrated_database_is_opened_as_it_is(settings: Settings) -> None:
    row = queued(settings)

    connect(settings)

    assert reread(row).message == "hello"


@pytest.mark.usefixtures("database")
def test_migrating_again_changes_nothing(settings: Settings) -> None:
    row = queued(settings)

    connect(settings, migrating=True)

    assert reread(row).message == "hello"
    assert all(applied for _, applied in migration_names())


def test_migrations_are_listed_before_and_after_they_are_applied(settings: Settings) -> None:
    with pytest.raises(SettingInvalid):
        connect(settings)
    before = migration_names()
    connect(settings, migrating=True)
    after = migration_names()

    assert [name for name, _ in before] == [name for name, _ in after]
    assert before[0] == ("0001_first_tables", False)
    assert after[0] == ("0001_first_tables", True)


def test_an_empty_database_is_refused_until_it_is_migrated(settings: Settings) -> None:
    with pytest.raises(SettingInvalid, match=r"^the database's schema is not up to date: run `streamer migrate`$"):
        connect(settings)


@pytest.mark.one_store
@pytest.mark.usefixtures("database")
def test_a_database_that_lacks_a_migration_is_refused(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    for path in module.MIGRATIONS.glob("*.py"):
        (folder / path.name).write_text(path.read_text())
    (folder / "9999_more.py").write_text("def up(migrator, db):\n    db.execute_sql('CREATE TABLE more (a)')\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MIGRATIONS", folder)
        with pytest.raises(SettingInvalid, match="not up to date"):
            connect(settings)
        connect(settings, migrating=True)
        connect(settings)


def test_another_path_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere ü.db"

    connect(Settings(data=str(tmp_path), database_url=f"sqlite:///{path}"), migrating=True)

    assert path.is_file()


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite://", "streamer.db", "sqlite:/x.db"])
def test_an_address_of_another_kind_is_refused_by_its_variable(settings: Settings, url: str) -> None:
    with pytest.raises(SettingInvalid, match="DATABASE_URL"):
        connect(Settings(data=settings.data, database_url=url))


def refused(settings: Settings) -> str:
    """The one line that says why the database can't be used."""
    with pytest.raises(SettingInvalid) as caught:
        connect(settings, migrating=True)
    message = caught.value.message
    assert "\n" not in message
    assert "check DATABASE_URL and the data folder" in message
    return message


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    assert "unable to open" in refused(Settings(data=str(tmp_path / "missing")))


def test_a_path_through_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    refused(Settings(data=str(tmp_path / "file")))


def test_a_folder_in_the_files_place_is_told(settings: Settings) -> None:
    (settings.data_path / "streamer.db").mkdir()

    refused(settings)


def test_a_file_that_is_no_database_is_told_and_left_alone(settings: Settings) -> None:
    path = settings.data_path / "streamer.db"
    path.write_bytes(b"something else entirely" * 100)

    assert "not a database" in refused(settings)
    assert path.read_bytes() == b"something else entirely" * 100


def test_a_database_of_another_program_is_told(settings: Settings) -> None:
    with sqlite3.connect(settings.data_path / "streamer.db") as other:
        other.execute("CREATE TABLE generation (id TEXT)")
    other.close()

    refused(settings)


# Its clock


def test_the_clock_is_near_the_time_of_day(database: Any) -> None:
    assert abs(read_now() - time.time()) < 5


@pytest.mark.one_store
def test_an_expression_and_a_reading_are_one_clock(database: Any) -> None:
    before = read_now()
    (found,) = database.execute_sql("SELECT database_now()").fetchone()

    assert before <= found <= read_now()


def test_an_expression_is_read_when_its_statement_runs(
    database: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = queued(settings)
    later = Generation.select().where((Generation.id == row.id) & (Generation.created_at + 100 <= now()))
    assert not later.exists()

    pass_seconds(monkeypatch, 100)

    assert later.exists()


@pytest.mark.usefixtures("database")
def test_a_step_of_the_wall_clock_does_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_now()
    monkeypatch.setattr(time, "time", lambda: 1.0)
    connect(settings)

    assert 0 <= read_now() - before < 5


def _reading(data: str, answers: Any) -> None:
    """In another process, whose wall clock is a day behind."""
    day_behind = time.time() - 86_400
    time.time = lambda: day_behind
    connect(Settings(data=data))
    answers.put((read_now(), boot_clock.offset_seconds))


@pytest.mark.one_store
@pytest.mark.usefixtures("database")
def test_two_processes_read_one_clock(settings: Settings) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    before = read_now()
    other = context.Process(target=_reading, args=(settings.data, answers))
    other.start()
    reading, offset = answers.get(timeout=20)
    other.join(20)

    assert before <= reading <= read_now()
    assert offset == boot_clock.offset_seconds


@pytest.mark.one_store
@pytest.mark.usefixtures("database")
def test_after_a_boot_the_clock_begins_no_earlier_than_the_newest_row(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    future = time.time() + 10_000
    queued(settings, created_at=future - 5)
    queued(settings, finished_at=future)
    monkeypatch.setattr("models.database.boot_id", lambda: "the next boot")
    monkeypatch.setattr("models.database.boot_seconds", lambda: 7.0)
    monkeypatch.setattr(clock, "boot_seconds", lambda: 7.0)

    connect(settings)

    assert read_now() == pytest.approx(future, abs=0.001)
    assert {each.boot_id for each in Clock.select()} == {clock.boot_id(), "the next boot"}


def test_the_boot_is_told_by_the_kernel() -> None:
    assert sys.platform != "linux" or len(clock.boot_id()) == 36
    assert 0 < clock.boot_seconds() == pytest.approx(clock.boot_seconds(), abs=1)


def test_without_a_kernels_word_all_boots_are_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "none")

    assert clock.boot_id() == "unknown"


def test_the_clock_is_not_to_be_read_before_the_database() -> None:
    with pytest.raises(AssertionError, match="before"):
        clock.BootClock()()


def test_tables_are_bound_to_the_database_that_was_connected_last(database: Any) -> None:
    assert Table._meta.database.obj is database
