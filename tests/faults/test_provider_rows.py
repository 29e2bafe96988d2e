"""Each row about providers once. They wait more than they work, so they may run beside the other rows."""

from pathlib import Path

import pytest

from tests.faults.once import hold, some_rows
from tests.faults.rows import Row


@pytest.mark.parametrize("row", some_rows(of_providers=True))
async def test_holds(row: Row, tmp_path: Path) -> None:
    await hold(row, tmp_path)
