"""Each row of the matrix once."""

from pathlib import Path

import pytest

from tests.faults.once import every_row, hold
from tests.faults.rows import Row


@pytest.mark.parametrize("row", every_row())
async def test_holds(row: Row, tmp_path: Path) -> None:
    await hold(row, tmp_path)
