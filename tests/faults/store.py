"""The store that a row's installation runs on: SQLite, or with STORE=postgres a database of its own in a real Postgres.

A row looks past the service with the same statements, and makes the store go away and come back.
"""

import contextlib
import os
import secrets
import sqlite3
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg.rows import dict_row

from tests.postgres_server import PostgresServer, shared_postgres


class Store(Protocol):
    """Rows are read with a `?` for each value."""

    url: str
    """What DATABASE_URL says."""

    def dicts(self, sql: str, *values: Any) -> list[dict[str, Any]]: ...

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]: ...

    def take_away(self) -> None:
        """From now on nobody can write."""

    def give_back(self) -> None:
        """Now they can again."""

    def remove(self) -> None:
        """It is not needed any more."""


def chosen() -> str:
    """The name of the store that the environment chooses."""
    return os.environ.get("STORE") or "sqlite"


def make_store(path: Path) -> Store:
    """A new one; SQLite's file will be made at `path`."""
    return PostgresStore(shared_postgres()) if chosen() == "postgres" else SqliteStore(path)


class SqliteStore:
    """It is away while somebody else holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self._lock: sqlite3.Connection | None = None

    def dicts(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        with contextlib.closing(self._connection()) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, values)]

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with contextlib.closing(self._connection()) as connection:
            return connection.execute(sql, values).fetchall()

    def take_away(self) -> None:
        self._lock = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        self._lock.execute("BEGIN IMMEDIATE")

    def give_back(self) -> None:
        assert self._lock is not None
        self._lock.execute("ROLLBACK")
        self._lock.close()

    def remove(self) -> None:
        """It goes with its folder."""

    def _connection(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=60)


class PostgresStore:
    """It is away while its server is dead: killed, not stopped, so that nobody is told."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._name = f"row_{secrets.token_hex(4)}"
        self.url = server.make(self._name)

    def dicts(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        with self.server.connection(self._name) as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_marked(sql), values).fetchall()

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.server.connection(self._name) as connection:
            return connection.execute(_marked(sql), values).fetchall()

    def take_away(self) -> None:
        self.server.kill()

    def give_back(self) -> None:
        self.server.start()

    def remove(self) -> None:
        with contextlib.suppress(psycopg.OperationalError), self.server.connection() as connection:
            connection.execute(f'DROP DATABASE "{self._name}" WITH (FORCE)'.encode())


def _marked(sql: str) -> bytes:
    return sql.replace("%", "%%").replace("?", "%s").encode()
