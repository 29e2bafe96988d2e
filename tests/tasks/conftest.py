"""The log that tests of the producing side look at, and the writer through which it is written."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from models.event_log import EventLog, connect_redis
from tasks.broker import Queue
from tasks.end_tasks import end_tasks
from tasks.log_writer import LogWriter
from tests.fakes.openai_server import FakeOpenAI
from tests.redis_process import RedisProcess


@contextlib.asynccontextmanager
async def running_writer(client: redis.asyncio.Redis) -> AsyncIterator[LogWriter]:
    """A log writer with its task."""
    writer = LogWriter(EventLog(client))
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        await end_tasks(task)


@pytest.fixture
async def log(redis_url: str) -> AsyncIterator[EventLog]:
    async with connect_redis(redis_url) as client:
        yield EventLog(client)


@pytest.fixture
async def writer(redis_url: str) -> AsyncIterator[LogWriter]:
    async with connect_redis(redis_url) as client, running_writer(client) as found:
        yield found


@pytest.fixture
def queue_url(redis_url: str) -> str:
    """The logical database that the queue has for itself."""
    return redis_url.replace("db=0", "db=1")


@pytest.fixture
def queue(queue_url: str) -> Iterator[Queue]:
    """The sending side."""
    found = Queue(queue_url)
    yield found
    found.close()


@pytest.fixture
def own_redis(redis_socket: Path) -> Iterator[RedisProcess]:
    """A Redis that the test may kill; not started yet."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        process = RedisProcess(Path(folder))
        yield process
        process.kill()


@pytest.fixture
async def own_log(own_redis: RedisProcess) -> AsyncIterator[EventLog]:
    async with connect_redis(own_redis.url) as client:
        yield EventLog(client)


@pytest.fixture
async def own_writer(own_redis: RedisProcess) -> AsyncIterator[LogWriter]:
    async with connect_redis(own_redis.url) as client, running_writer(client) as found:
        yield found


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as server:
        yield server
