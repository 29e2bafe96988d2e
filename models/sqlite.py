"""SQLite, whose one writer at a time the threads of a process take turns to be.

SQLite lets who waits for its lock look again now and then, and for BUSY_SECONDS only: of many threads on a busy machine some
never look in the right moment. Turns leave one that waits for it in each process, however many threads there are.
"""

import threading
from pathlib import Path
from typing import Any

from peewee import OperationalError, SqliteDatabase

from models.clock import boot_clock

#: Seconds that a statement waits for another process's transaction.
BUSY_SECONDS = 5

#: Milliseconds for which others may have to wait while the write-ahead file is emptied.
TRUNCATE_MS = 100

#: Seconds that a thread waits for its turn. Whoever has it waits for other processes for no longer than that.
TURN_SECONDS = 5.0

_WRITES = ("INSERT", "UPDATE", "DELETE")


class TurnTakingSqlite(SqliteDatabase):
    """A transaction, or a statement outside one that writes, waits for its turn; readers wait for nobody.

    Raises OperationalError, as for SQLite's own lock, where the turn does not come within TURN_SECONDS.
    """

    def __init__(self, database: str, **options: Any) -> None:
        self._turn = threading.RLock()
        super().__init__(database, **options)

    def begin(self, lock_type: str | None = None) -> None:
        self._take_turn()
        try:
            super().begin(lock_type)
        except BaseException:
            self._turn.release()
            raise

    def commit(self) -> None:
        super().commit()  # where it fails, peewee rolls back
        self._turn.release()

    def rollback(self) -> None:
        try:
            super().rollback()
        finally:
            self._turn.release()

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        if not sql.startswith(_WRITES):
            return super().execute_sql(sql, params)  # type: ignore[no-untyped-call]
        self._take_turn()
        try:
            return super().execute_sql(sql, params)  # type: ignore[no-untyped-call]
        finally:
            self._turn.release()

    def truncate_wal(self) -> bool:
        """Empties the write-ahead file, in which stands what was erased a moment ago. False: others were in the way."""
        self.execute_sql(f"PRAGMA busy_timeout = {TRUNCATE_MS}")
        try:
            busy, *_ = self.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self.execute_sql(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        return not busy

    def _take_turn(self) -> None:
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise OperationalError("database is locked by another thread")


def open_sqlite(path: Path) -> TurnTakingSqlite:
    """The database in that file; nothing is opened yet.

    WAL and synchronous=NORMAL survive any kill of a process; a power loss may cost the last commits. With secure_delete
    what is erased is overwritten: 100 rows of 10 KB take 12 ms instead of 2, and texts that grow take no longer.
    """
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
    bound.register_function(boot_clock, "database_now", 0)
    return bound
