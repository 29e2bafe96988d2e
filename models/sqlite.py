"""SQLite, whose one writer at a time the threads of a process take turns to be.

SQLite lets who waits for its lock look again now and then, and for BUSY_SECONDS only: of many threads on a busy machine some
never look in the right moment. Turns leave one that waits for it in each process, however many threads there are.
"""

import threading
from typing import Any

from peewee import OperationalError, SqliteDatabase

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

    def _take_turn(self) -> None:
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise OperationalError("database is locked by another thread")
