"""Each row of the matrix once, with short durations; a bound is a deadline here, `make faults` asserts the figures."""

import random
from pathlib import Path

import pytest

from tests.faults.durations import Durations
from tests.faults.rows import Context, Row, all_rows

#: One after the other, whatever else runs beside them.
pytestmark = pytest.mark.xdist_group("faults")


@pytest.mark.parametrize("row", [pytest.param(each, id=f"{name}: {each.fault}") for name, each in all_rows().items()])
async def test_holds(row: Row, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    await row.show(Context(tmp_path, Durations(), random.Random(seed)))
