"""Machines that scripts/install is run on."""

from pathlib import Path

import pytest

from tests.packaging.fake_machine import FakeMachine


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


@pytest.fixture
def root_machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path, user=0)
