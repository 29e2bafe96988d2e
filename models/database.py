"""One database from one URL: SQLite in WAL mode beside the data, or Postgres. Its clock, its transactions, its migrations.

Times in rows are seconds of the *database's* clock, near Unix time and never stepped: see `now()` and `models/clock.py`.
Statements are the same on both; what is of one of them alone stands in `models/sqlite.py` and `models/postgres.py`.
"""

import sqlite3
import time
from pathlib import Path
from typing import Any

import psycopg
from peewee import (
    Database,
    DatabaseProxy,
    DoubleField,
    InterfaceError,
    Model,
    OperationalError,
    PeeweeException,
    TextField,
    fn,
)
from playhouse.migrations import Runner

from models.clock import boot_clock, boot_id, boot_seconds
from models.errors import SettingInvalid
from models.postgres import Postgres, is_postgres, open_postgres
from models.settings import Settings
from models.sqlite import TurnTakingSqlite, open_sqlite

database = DatabaseProxy()

#: What a statement raises when the database is away or busy; the statement may be tried again.
#: peewee lets the driver's own error pass where it comes up while rows are read.
AWAY = (
    OperationalError,
    InterfaceError,
    sqlite3.OperationalError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
)

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
    url = settings.database_url
    bound = open_postgres(url, bounded=not migrating) if is_postgres(url) else open_sqlite(sqlite_path(settings))
    database.initialize(bound)
    try:
        with database.connection_context():
            if migrating:
                _migrate(bound)
            elif any(each.path and not each.applied for each in Runner(bound, str(MIGRATIONS)).status()):
                raise SettingInvalid("the database's schema is not up to date: run `streamer migrate`")
            _synchronise_clock()
    except PeeweeException as error:
        words = " ".join(str(error).split())
        raise SettingInvalid(f"the database can't be used ({words}): check DATABASE_URL and the data folder") from error
    return bound


def _migrate(bound: Database) -> None:
    if isinstance(bound, Postgres):  # two at a time would both begin; the lock ends with the connection
        bound.execute_sql("SELECT pg_advisory_lock(hashtextextended('migrate', 0))")
    Runner(bound, str(MIGRATIONS)).up()


def migration_names() -> list[tuple[str, bool]]:
    """Every migration, oldest first, and whether it is applied."""
    with database.connection_context():
        return [(each.name, bool(each.applied)) for each in Runner(database.obj, str(MIGRATIONS)).status()]


def now() -> Any:
    """The database's clock as an expression, in seconds: read when the statement runs, not when it is built."""
    return fn.database_now()


def read_now() -> float:
    """The database's clock, in seconds. It asks nobody: with Postgres it is as near as `keep_clock` brought it."""
    return boot_clock()


def execute(sql: str, *values: Any) -> Any:
    """The cursor of a statement with a `?` for each value."""
    return database.execute_sql(sql.replace("?", database.param), values)


def returned(statement: Any) -> list[Any]:
    """The rows of a statement with RETURNING, read to the end: only then has SQLite committed it, or failed to."""
    return list(statement.execute())


def shut_out(name: str) -> None:
    """Inside a transaction: whoever else shuts out others by that name waits until it ends. Call it before anything is read.

    What is counted and then stored by what was counted needs it. SQLite's transactions come one at a time anyway.
    """
    if isinstance(database.obj, Postgres):
        execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", name)


def truncate_wal() -> bool:
    """Empties SQLite's write-ahead file, in which stands what was erased a moment ago. False: others were in the way."""
    return database.obj.truncate_wal() if isinstance(database.obj, TurnTakingSqlite) else True


def is_there(settings: Settings) -> bool:
    """Whether there is a database to look at; of a Postgres only trying tells more. Raises SettingInvalid."""
    return is_postgres(settings.database_url) or sqlite_path(settings).exists()


def sqlite_path(settings: Settings) -> Path:
    """The file of the database, whether it is there or not. Raises SettingInvalid."""
    url = settings.database_url
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///"))
    if url:
        raise SettingInvalid("DATABASE_URL must start with sqlite:/// or postgresql://")
    return settings.data_path / "streamer.db"


def keep_clock() -> None:
    """With Postgres: reads its clock anew, as its machine's may be stepped, and goes otherwise than this one's."""
    if not isinstance(database.obj, Postgres):
        return
    before = boot_seconds()
    (found,) = execute("SELECT database_now()").fetchone()
    after, known = boot_seconds(), boot_clock.offset_seconds
    if known is None or not found - after <= known <= found - before:  # what may still be right stays
        boot_clock.offset_seconds = found - (before + after) / 2


def _synchronise_clock() -> None:
    """Agrees with all processes of this boot on the clock's offset; a later boot starts no earlier than the newest row."""
    if isinstance(database.obj, Postgres):
        keep_clock()
        return
    found = Clock.get_or_none(Clock.boot_id == boot_id())
    if found is None:  # only then: it reads the whole table
        with database.atomic():
            newest = database.execute_sql("SELECT max(created_at), max(finished_at) FROM generation").fetchone()
            offset = max(time.time(), *(each or 0.0 for each in newest)) - boot_seconds()
            Clock.insert(boot_id=boot_id(), offset_seconds=offset).on_conflict_ignore().execute()
            found = Clock.get_by_id(boot_id())
    boot_clock.offset_seconds = found.offset_seconds
