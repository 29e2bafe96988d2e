"""Each row of the matrix once, with short durations; a bound is a deadline here, `make faults` asserts the figures.

All rows stand in this one file, so that they run one after the other, whatever runs beside them.
"""

import asyncio
import random
from pathlib import Path

import pytest

from tests.faults.durations import Durations
from tests.faults.rows import Context, Row, all_rows

#: The longest row takes half a minute on a quiet machine; one that hangs must not hold up all the others.
DEADLINE_SECONDS = 200


@pytest.mark.parametrize("row", [pytest.param(each, id=f"{name}: {each.fault}") for name, each in all_rows().items()])
async def test_holds(row: Row, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    async with asyncio.timeout(DEADLINE_SECONDS):
        await row.show(Context(tmp_path, Durations(), random.Random(seed)))
