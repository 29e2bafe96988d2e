"""What all examples share."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import coverage
import pytest
import redis
from peewee import Database

from models import clock
from models.clock import boot_clock
from models.event import Usage
from models.settings import Settings
from models.tenant import first_tenant
from tasks import calls, sweeper
from tests.stateful.machine import Ground


@pytest.fixture(autouse=True)
def unmeasured() -> Iterator[None]:
    """Measuring the branches of so many small steps takes ten times as long as they do; the other tests measure them."""
    measuring = coverage.Coverage.current()
    if measuring is not None:
        measuring.stop()
    yield
    if measuring is not None:
        measuring.start()


@pytest.fixture
def ground(
    redis_socket: Path, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ground]:
    monkeypatch.setattr(boot_clock, "offset_seconds", 1.7e9)
    monkeypatch.setattr(calls, "estimate", lambda sent, text, model: Usage(source="estimated"))

    def use_clock(seconds: Callable[[], float]) -> None:
        monkeypatch.setattr(clock, "boot_seconds", seconds)
        monkeypatch.setattr(sweeper, "time", SimpleNamespace(monotonic=seconds))

    logging.disable(logging.WARNING)
    with redis.Redis(unix_socket_path=str(redis_socket)) as client:
        yield Ground(
            client,
            settings,
            int(first_tenant().get_id()),  # type: ignore[no-untyped-call]
            use_clock,
        )
    logging.disable(logging.NOTSET)
