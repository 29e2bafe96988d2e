"""The database: whether it can be used as the service uses it, and what it knows about workers."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.database import AWAY, MIGRATIONS, connect, database, is_there, migration_names, now, sqlite_path
from models.errors import SettingInvalid
from models.periodic import Schedule, Worker
from models.postgres import is_postgres
from models.settings import Settings
from streamer.doctor.check import Finding, failed, ok, warning
from streamer.doctor.postgres import postgres

MB = 1024 * 1024

#: A write-ahead log that has grown beyond this is kept from being cleared.
LARGE_WAL_MB = 512

_NONE_YET = "`streamer up` makes it; before `serve` and `worker` run `streamer migrate`"


def store(settings: Settings) -> Iterator[Finding]:
    """Whether the database opens, keeps its log as it must, and takes a write (which is taken back)."""
    if is_postgres(settings.database_url):
        yield from postgres(settings)
        return
    path = sqlite_path(settings)
    if not path.exists():
        yield warning(f"{path} is not there yet", _NONE_YET)
        return
    connect(settings)
    with database.connection_context():
        mode = str(database.execute_sql("PRAGMA journal_mode").fetchone()[0])
        try:
            with database.atomic() as transaction:
                Schedule.insert(name="doctor", next_at=0, owner="doctor").on_conflict_ignore().execute()
                transaction.rollback()
        except AWAY as error:
            yield failed(f"{path} takes no write ({error})", "see its owner, the disk's space, and who holds it locked")
            return
    if mode != "wal":
        yield failed(f"{path} has journal_mode {mode}, not wal", "put the data folder on a local disk: see --data")
    wal = _megabytes(path.with_name(f"{path.name}-wal"))
    if wal > LARGE_WAL_MB:
        yield warning(
            f"{path}-wal has {wal} MB", "end the program that reads the database without an end, such as a backup"
        )
    yield ok(f"{path}, {_megabytes(path)} MB and {wal} MB not yet merged, takes writes")


def migrations(settings: Settings) -> Iterator[Finding]:
    """Whether the schema is this release's."""
    if not is_there(settings):
        yield ok("none yet, as there is no database")
        return
    with contextlib.suppress(SettingInvalid):  # the tables are bound before it says that some are missing
        connect(settings)
    try:
        found = migration_names()
    except AWAY:
        yield failed("the database can't be asked", "see the line `database`")
        return
    pending = [name for name, applied in found if not applied]
    foreign = [name for name, _ in found if not (MIGRATIONS / f"{name}.py").exists()]
    if foreign:
        yield failed(f"the database is of a newer release: {', '.join(foreign)}", "install that release, or a backup")
    if pending:
        yield failed(f"{len(pending)} of {len(found)} are not applied: {', '.join(pending)}", "`streamer migrate`")
    if not pending and not foreign:
        yield ok(f"all {len(found)} are applied, the last {found[-1][0] if found else 'none'}")


def workers(settings: Settings) -> Iterator[Finding]:
    """Whether a worker lives: without one, requests wait."""
    if not is_there(settings):
        yield warning("none, as there is no database", _NONE_YET)
        return
    connect(settings)
    with database.connection_context():
        rows: Any = Worker.select(now() - Worker.heartbeat_at, Worker.host, Worker.pid, Worker.running).tuples()
        found: list[tuple[float, str, int, int]] = sorted(rows)
    live = [each for each in found if each[0] <= settings.heartbeat_seconds]
    if live:
        each = ", ".join(f"{host} (process {pid}) with {running} answers" for _, host, pid, running in live[:5])
        more = f" and {len(live) - 5} more" if len(live) > 5 else ""
        yield ok(f"{len(live)} live, the last sign of life {max(0.0, live[0][0]):.1f} s ago: {each}{more}")
    else:
        last = f"the last sign of life came {found[0][0]:.0f} s ago" if found else "no worker has given a sign of life"
        yield warning(last, "`streamer up` starts one; else start `streamer worker`")


def _megabytes(path: Path) -> int:
    return path.stat().st_size // MB if path.exists() else 0
