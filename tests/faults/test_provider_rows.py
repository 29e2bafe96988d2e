"""Each row about providers once. They wait more than they work, so they may run beside the other rows."""

from pathlib import Path

import pytest

from tests.faults.once import hold, rows_in
from tests.faults.rows import Row


@pytest.mark.parametrize("row", rows_in(lambda file: file == "provider_rows"))
async def test_holds(row: Row, tmp_path: Path) -> None:
    await hold(row, tmp_path)
