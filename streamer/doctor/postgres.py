"""Postgres: whether the server is there, new enough, takes writes and has connections left."""

from collections.abc import Iterator

from peewee import PeeweeException

from models.postgres import Postgres, address_of, open_postgres
from models.settings import Settings
from streamer.doctor.check import Finding, failed, ok, warning

#: The oldest major version whose words we use.
OLDEST = 13

_ABOUT = """
SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000,
    current_setting('server_encoding'), current_setting('transaction_read_only'), current_setting('max_connections')::int,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    pg_database_size(current_database()) / 1048576
"""


def postgres(settings: Settings) -> Iterator[Finding]:
    """What there is to say of the server of DATABASE_URL. Raises SettingInvalid where that is no address."""
    bound = open_postgres(settings.database_url)
    try:
        with bound.connection_context():
            about = bound.execute_sql(_ABOUT).fetchone()
    except PeeweeException as error:
        words = " ".join(str(error).split())
        yield failed(f"{address_of(bound)} can't be used ({words})", "see DATABASE_URL, and who the server lets in")
        return
    yield from _judge(bound, settings, *about)


def _judge(
    bound: Postgres,
    settings: Settings,
    version: str,
    major: int,
    encoding: str,
    read_only: str,
    most: int,
    used: int,
    mb: int,
) -> Iterator[Finding]:
    where = address_of(bound)
    if major < OLDEST:
        yield failed(f"{where} is Postgres {version}", f"Postgres {OLDEST} or newer")
    if encoding != "UTF8":
        yield failed(f"{where} has the encoding {encoding}", "a database made with ENCODING 'UTF8'")
    if read_only != "off":
        yield failed(f"{where} takes no write", "name the primary server in DATABASE_URL, or mend its settings")
    process = settings.database_threads + 1
    if most - used < process:
        change = f"a process takes {process}: raise max_connections, or lower STREAMER_DATABASE_THREADS"
        yield warning(f"{where} has {most - used} connections of {most} left", change)
    if major >= OLDEST and encoding == "UTF8" and read_only == "off":
        yield ok(f"{where}, Postgres {version}, {mb} MB, {used} of {most} connections in use, takes writes")
