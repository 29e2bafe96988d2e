"""Threads of one process take turns at writing, and whoever reads waits for nobody."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from peewee import OperationalError

from models import sqlite as module
from models.sqlite import TurnTakingSqlite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "turns.db"


@pytest.fixture
def shared(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TurnTakingSqlite]:
    """SQLite itself waits for nobody here: all patience is the turn's."""
    monkeypatch.setattr(module, "TURN_SECONDS", 60.0)
    bound = TurnTakingSqlite(
        str(path), timeout=0, pragmas={"journal_mode": "wal", "busy_timeout": 0}, lock_type="IMMEDIATE"
    )
    with bound.connection_context():
        bound.execute_sql("CREATE TABLE counter (value INTEGER)")
        bound.execute_sql("INSERT INTO counter VALUES (0)")
    yield bound
    bound.close()


def value(bound: TurnTakingSqlite) -> int:
    return int(bound.execute_sql("SELECT value FROM counter").fetchone()[0])


def test_no_thread_of_many_is_refused(shared: TurnTakingSqlite) -> None:
    together = threading.Barrier(8)

    def count(number: int) -> None:
        with shared.connection_context():
            together.wait()
            for _ in range(10):
                if number % 2:
                    shared.execute_sql("UPDATE counter SET value = value + 1")
                else:
                    with shared.atomic():
                        seen = value(shared)
                        time.sleep(0.001)  # so that others come meanwhile
                        with shared.atomic():
                            shared.execute_sql("UPDATE counter SET value = ?", (seen + 1,))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    assert value(shared) == 80


def test_readers_wait_for_nobody_and_a_writer_whose_turn_does_not_come_is_told(
    shared: TurnTakingSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.01)

    def meanwhile() -> int:
        with shared.connection_context():
            with pytest.raises(OperationalError, match="locked by another thread"):
                shared.execute_sql("UPDATE counter SET value = 7")
            with pytest.raises(OperationalError, match="locked by another thread"), shared.atomic():
                pass
            return value(shared)

    with ThreadPoolExecutor(1) as pool, shared.atomic():
        shared.execute_sql("UPDATE counter SET value = 5")
        assert pool.submit(meanwhile).result() == 0
    assert value(shared) == 5


def test_a_turn_ends_with_its_transaction_however_that_ends(shared: TurnTakingSqlite, path: Path) -> None:
    def write() -> None:
        with shared.connection_context():
            shared.execute_sql("UPDATE counter SET value = value + 1")

    class Undone(Exception):
        pass

    other = TurnTakingSqlite(str(path), timeout=0, lock_type="IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(Undone), shared.atomic():
            raise Undone
        pool.submit(write).result()
        with other.atomic():
            with pytest.raises(OperationalError, match="database is locked"), shared.atomic():
                pass
            with pytest.raises(OperationalError, match="database is locked"):
                shared.execute_sql("UPDATE counter SET value = 9")
        pool.submit(write).result()
        with pytest.raises(OperationalError), shared.atomic():
            shared.close()  # its connection is lost
        pool.submit(write).result()
    other.close()
    assert value(shared) == 3
