"""A row of the matrix once, with short durations; a bound is a deadline here, `make faults` asserts the figures."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from tests.faults.durations import Durations
from tests.faults.rows import Context, Row, all_rows

#: The longest row takes half a minute on a quiet machine; one that hangs must not hold up all the others.
DEADLINE_SECONDS = 200


def every_row() -> list[Any]:
    """The parameters of a test of each row."""
    return [pytest.param(each, id=f"{each.name}: {each.fault}") for each in all_rows().values()]


async def hold(row: Row, folder: Path) -> None:
    """Fails where the row does not hold, with the seed that it had."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    async with asyncio.timeout(DEADLINE_SECONDS):
        await row.show(Context(folder, Durations(), random.Random(seed)))
