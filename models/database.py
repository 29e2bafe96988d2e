"""One database from one URL: SQLite in WAL mode beside the data, or Postgres. Its clock, its transactions, its migrations.

Times in rows are seconds of the *database's* clock, near Unix time and never stepped: see `now()` and `models/clock.py`.
"""

import sqlite3
import time
from pathlib import Path
from typing import Any

from peewee import (
    Database,
    DatabaseProxy,
    DoubleField,
    InterfaceError,
    Model,
    OperationalError,
    PeeweeException,
    SqliteDatabase,
    TextField,
    fn,
)
from playhouse.migrations import Runner

from models.clock import boot_clock, boot_id, boot_seconds
from models.errors import SettingInvalid
from models.settings import Settings
from models.sqlite import TurnTakingSqlite

database = DatabaseProxy()

#: What a statement raises when the database is away or busy; the statement may be tried again.
#: peewee lets the driver's own error pass where it comes up while rows are read.
AWAY = (OperationalError, InterfaceError, sqlite3.OperationalError)

#: Seconds that a statement waits for another process's SQLite transaction.
BUSY_SECONDS = 5

#: Milliseconds for which others may have to wait while the write-ahead file is emptied.
TRUNCATE_MS = 100

MIGRATIONS = Path(__file__).parent / "migrations"


class Table(Model):
    """Base of every table."""

    class Meta:
        database = database
        legacy_table_names = False


class Clock(Table):
    """SQLite only: what is added to the boot-time clock, a row a boot."""

    boot_id = TextField(primary_key=True)
    offset_seconds = DoubleField()


def connect(settings: Settings, *, migrating: bool = False) -> Database:
    """Binds the tables to the database of `settings` and sets its clock; connections open on first use, one a thread.

    Raises SettingInvalid, in one line, where it can't be opened or its schema is not up to date.
    """
    bound = _sqlite(sqlite_path(settings))
    database.initialize(bound)
    try:
        with database.connection_context():
            runner = Runner(bound, str(MIGRATIONS))
            if migrating:
                runner.up()
            elif any(each.path and not each.applied for each in runner.status()):
                raise SettingInvalid("the database's schema is not up to date: run `streamer migrate`")
            _synchronise_clock()
    except PeeweeException as error:
        raise SettingInvalid(f"the database can't be used ({error}): check DATABASE_URL and the data folder") from error
    return bound


def migration_names() -> list[tuple[str, bool]]:
    """Every migration, oldest first, and whether it is applied."""
    with database.connection_context():
        return [(each.name, bool(each.applied)) for each in Runner(database.obj, str(MIGRATIONS)).status()]


def now() -> Any:
    """The database's clock as an expression, in seconds: read when the statement runs, not when it is built."""
    return fn.boot_now()


def returned(statement: Any) -> list[Any]:
    """The rows of a statement with RETURNING, read to the end: only then has SQLite committed it, or failed to."""
    return list(statement.execute())


def truncate_wal() -> bool:
    """Empties SQLite's write-ahead file, in which stands what was erased a moment ago. False: others were in the way."""
    database.execute_sql(f"PRAGMA busy_timeout = {TRUNCATE_MS}")
    try:
        busy, *_ = database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        database.execute_sql(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    return not busy


def read_now() -> float:
    """The database's clock, in seconds."""
    return boot_clock()


def sqlite_path(settings: Settings) -> Path:
    """The file of the database, whether it is there or not. Raises SettingInvalid."""
    url = settings.database_url
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///"))
    if url:
        raise SettingInvalid("DATABASE_URL must start with sqlite:///")
    return settings.data_path / "streamer.db"


def _sqlite(path: Path) -> SqliteDatabase:
    # WAL and synchronous=NORMAL survive any kill of a process; a power loss may cost the last commits. With secure_delete
    # what is erased is overwritten: 100 rows of 10 KB take 12 ms instead of 2, and texts that grow take no longer.
    bound = TurnTakingSqlite(
        str(path),
        pragmas={
            "journal_mode": "wal",
            "synchronous": "normal",
            "foreign_keys": 1,
            "cache_size": -16000,
            "secure_delete": 1,
        },
        timeout=BUSY_SECONDS,
        lock_type="IMMEDIATE",
    )
    bound.register_function(boot_clock, "boot_now", 0)
    return bound


def _synchronise_clock() -> None:
    """Agrees with all processes of this boot on the clock's offset; a later boot starts no earlier than the newest row."""
    found = Clock.get_or_none(Clock.boot_id == boot_id())
    if found is None:  # only then: it reads the whole table
        with database.atomic():
            newest = database.execute_sql("SELECT max(created_at), max(finished_at) FROM generation").fetchone()
            offset = max(time.time(), *(each or 0.0 for each in newest)) - boot_seconds()
            Clock.insert(boot_id=boot_id(), offset_seconds=offset).on_conflict_ignore().execute()
            found = Clock.get_by_id(boot_id())
    boot_clock.offset_seconds = found.offset_seconds
