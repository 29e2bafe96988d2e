"""Postgres: a connection a thread, opened on first use, left when it is lost, and never waited for without an end."""

import re
import select
import time
from typing import Any

import psycopg
from peewee import OperationalError, PostgresqlDatabase
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.string import StrDumperUnknown

from models.errors import SettingInvalid

SCHEMES = ("postgresql://", "postgres://")

#: Seconds to reach a server; of one statement; of its wait for a lock; of a transaction whose process says nothing.
CONNECT_SECONDS, STATEMENT_SECONDS, LOCK_SECONDS, IDLE_SECONDS = 3, 5, 3, 10

#: Seconds without an answer after which a server counts as gone: a live one has ended the statement by then.
SILENCE_SECONDS = STATEMENT_SECONDS + 1.0

#: Seconds for which nobody tries again to reach a server that did not answer: else each request would wait for that in its turn.
REST_SECONDS = 1.0

_PORTS = re.compile(r"[\d,]*")

_NO_ADDRESS = (
    "DATABASE_URL is no address of a Postgres: postgresql://user:password@host:5432/database, "
    "with a percent sign for what is special in a password"
)


class Postgres(PostgresqlDatabase):
    """The database behind `parameters`, which are libpq's. READ COMMITTED, as every server has it unless told otherwise.

    `silence_seconds`: after which a server that does not answer counts as gone; None: never.
    """

    def __init__(self, parameters: dict[str, Any], silence_seconds: float | None) -> None:
        self._silence_seconds = silence_seconds
        self._resting_until = 0.0
        super().__init__(parameters["dbname"], prefer_psycopg3=True, **parameters)

    def _connect(self) -> psycopg.Connection[Any]:
        if time.monotonic() < self._resting_until:
            raise psycopg.OperationalError("the server did not answer a moment ago")
        try:
            connection = _Connection.connect(autocommit=True, **self.connect_params)
        except errors.ConnectionTimeout:
            self._resting_until = time.monotonic() + REST_SECONDS
            raise
        connection.silence_seconds = self._silence_seconds
        return connection

    def begin(self, isolation_level: Any = None) -> None:
        self._leave_lost_connection()
        super().begin(isolation_level)

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        if not self.in_transaction():
            self._leave_lost_connection()
        return super().execute_sql(sql, params)  # type: ignore[no-untyped-call]

    def _leave_lost_connection(self) -> None:
        """Between transactions, so that a server that was restarted meanwhile costs nobody a request.

        A connection that nothing was asked of has nothing to say but its end. Within a `connection_context` it stays: what is
        bound to the connection, such as the lock of a migration, would go with it unnoticed.
        """
        if self.is_closed() or self._state.ctx:  # type: ignore[attr-defined]
            return
        connection = self.connection()  # type: ignore[no-untyped-call]
        if connection.closed or _has_something_to_read(connection):
            self.close()


class _Connection(psycopg.Connection[Any]):
    """Gives up on a server that does not answer: the server's own bounds are of no use where it hangs or is out of reach."""

    silence_seconds: float | None = SILENCE_SECONDS

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, self.silence_seconds if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:  # its answer may still come: it is nobody's
                self.close()
            raise
        except (errors.ReadOnlySqlTransaction, errors.IdleInTransactionSessionTimeout) as error:
            # After a failover this server is the wrong one; or this process stood still, and the server has gone on.
            self.close()
            raise psycopg.OperationalError(*error.args) from error


class _Text(StrDumperUnknown):
    """Postgres has no U+0000. What is stored has none either; what is looked for with one is nowhere to be found."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


def is_postgres(url: str) -> bool:
    """Whether the address is one of a Postgres, whatever else is wrong with it."""
    return url.startswith(SCHEMES)


def open_postgres(url: str, *, bounded: bool = True) -> Postgres:
    """The database of that address; nothing is connected yet. `bounded`: statements have their time, as migrations have not.

    Raises SettingInvalid where it is no address; its words quote nothing of it, as a password stands in it.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        raise SettingInvalid(_NO_ADDRESS) from None
    host, port, name = (str(given.get(key) or "") for key in ("host", "port", "dbname"))
    # Else a part of a password that has special characters would be told as one of these.
    if not name or "@" in host + name or not _PORTS.fullmatch(port):
        raise SettingInvalid(_NO_ADDRESS)
    ours = {
        "options": " ".join(str(part) for part in (given.get("options"), _bounds() if bounded else "") if part),
        "client_encoding": "utf8",
        "application_name": "streamer",
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": STATEMENT_SECONDS * 1000,
    }
    return Postgres({**ours, **given, "options": ours["options"]}, SILENCE_SECONDS if bounded else None)


def _bounds() -> str:
    """The server's own, in milliseconds, as options of a connection."""
    seconds = {
        "statement_timeout": STATEMENT_SECONDS,
        "lock_timeout": LOCK_SECONDS,
        "idle_in_transaction_session_timeout": IDLE_SECONDS,
    }
    return " ".join(f"-c {name}={each * 1000:.0f}" for name, each in seconds.items())


def is_victim(error: OperationalError) -> bool:
    """Whether the server undid a transaction for the sake of another one: nothing of it was stored, and it may come again."""
    return isinstance(getattr(error, "orig", None), errors.DeadlockDetected | errors.SerializationFailure)


def address_of(database: Postgres) -> str:
    """Where it is, for people: no user, no password."""
    given = database.connect_params
    return f"{given.get('host', 'this machine')}:{given.get('port', 5432)}/{given['dbname']}"


def _has_something_to_read(connection: psycopg.Connection[Any]) -> bool:
    look = select.poll()
    look.register(connection.fileno(), select.POLLIN)
    return bool(look.poll(0))


psycopg.adapters.register_dumper(str, _Text)
