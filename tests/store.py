"""The two stores that the tests of models and tasks run on, and what a test does to the clock of the second."""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from models.database import database, sqlite_path
from models.postgres import Postgres
from models.settings import Settings
from tests.postgres_server import PostgresServer

#: SQLite first: what fails there fails at once.
STORES = ("sqlite", "postgres")

#: The rooms whose tests run on both, but for those with the mark `one_store`.
ROOMS = ("tests/models/", "tests/tasks/")

_CLOCK = """
CREATE OR REPLACE FUNCTION database_now() RETURNS double precision LANGUAGE sql STABLE
AS 'SELECT extract(epoch FROM clock_timestamp())::double precision + {shift}'
"""

_SHIFT = "SELECT database_now() - extract(epoch FROM clock_timestamp())"

#: Those that others refer to last.
TABLES = (
    "feedback",
    "provider_call",
    "generation",
    "conversation",
    "api_key",
    "tenant",
    "schedule",
    "worker",
    "clock",
    "host_claim",
)

_EMPTY = "; ".join(f"DELETE FROM {table}" for table in TABLES).encode()


class Lock:
    """Nobody else reads or writes while it is held."""

    def __init__(self, settings: Settings) -> None:
        url = settings.database_url
        self._sqlite = None if url else sqlite3.connect(sqlite_path(settings), isolation_level=None)
        self._postgres = psycopg.connect(url, autocommit=True) if url else None

    def take(self) -> None:
        if self._sqlite is not None:
            self._sqlite.execute("BEGIN EXCLUSIVE")
        if self._postgres is not None:
            self._postgres.execute("BEGIN")
            self._postgres.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE".encode())

    def give(self) -> None:
        for each in (self._sqlite, self._postgres):
            if each is not None:
                each.execute("ROLLBACK")

    def close(self) -> None:
        for each in (self._sqlite, self._postgres):
            if each is not None:
                each.close()


class TestDatabase:
    """One migrated database for all tests of a runner, which each of them finds empty: that costs a tenth of making one."""

    __test__ = False

    def __init__(self, server: PostgresServer, url: str) -> None:
        self.url = url
        self._connection = server.connection("tests")

    def empty(self) -> str:
        """Its address, once it holds no rows and its clock is right."""
        self._connection.execute(_EMPTY)
        (shift,) = self._one(_SHIFT)
        if abs(shift) > 0.5:
            self._connection.execute(_CLOCK.format(shift=0.0).encode())
        return self.url

    def close(self) -> None:
        self._connection.close()

    def _one(self, sql: str) -> Any:
        return self._connection.execute(sql.encode()).fetchone()


@contextlib.contextmanager
def closed_afterwards() -> Iterator[None]:
    """Closes whatever connections the block has opened and left open, as threads do that end by themselves."""
    opened: list[psycopg.Connection[Any]] = []
    connect = Postgres._connect

    def noted(self: Postgres) -> psycopg.Connection[Any]:
        opened.append(connect(self))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Postgres, "_connect", noted)
        yield
    for connection in opened:
        connection.close()


def shift_clock(seconds: float) -> None:
    """Moves the clock of the Postgres that is bound on."""
    (shift,) = database.execute_sql(_SHIFT).fetchone()
    database.execute_sql(_CLOCK.format(shift=float(shift) + seconds))
