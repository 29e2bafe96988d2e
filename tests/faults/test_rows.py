"""Each row of the matrix once, but those of providers, which have a file of their own.

All these stand in one file, so that they run one after the other, whatever runs beside them.
"""

from pathlib import Path

import pytest

from tests.faults.once import hold, some_rows
from tests.faults.rows import Row


@pytest.mark.parametrize("row", some_rows(of_providers=False))
async def test_holds(row: Row, tmp_path: Path) -> None:
    await hold(row, tmp_path)
