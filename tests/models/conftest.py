"""A database of its own for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from peewee import Database

from models.database import connect
from models.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=str(tmp_path))


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    bound = connect(settings, migrating=True)
    yield bound
    bound.close()
