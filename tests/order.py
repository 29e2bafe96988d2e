"""The order in which tests begin, and which of them stay together, where several run at once.

The tests of a file share a runner, as they share what is dear to make; so do all that need a browser, while each row of the faults
is by itself. Each room's are spread over the run: at any time some wait for processes, and some compute.
"""

from itertools import groupby
from pathlib import Path

import pytest

#: Rooms whose tests take long begin a little earlier than others: so that the last to end is a short one.
LONG, BEGUN_BY = ("faults", "system", "browser"), 0.8

#: Whose tests all stay together.
TOGETHER = "browser"


def keep_together(items: list[pytest.Item]) -> None:
    """Puts each test that has no group yet into its file's, or its room's."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            place = _place(item)
            item.add_marker(pytest.mark.xdist_group(TOGETHER if place[0] == TOGETHER else "/".join(place)))


def mix(items: list[pytest.Item]) -> list[pytest.Item]:
    """The groups of each room spread among those of the others; each group's own order is kept."""
    placed: list[tuple[float, list[pytest.Item]]] = []
    for room, of_room in groupby(items, lambda item: _place(item)[0]):
        groups = [list(each) for _, each in groupby(of_room, _group)]
        span = (BEGUN_BY if room in LONG else 1.0) / len(groups)
        placed += [(span * index, group) for index, group in enumerate(groups)]
    return [item for _, group in sorted(placed, key=lambda pair: pair[0]) for item in group]


def _group(item: pytest.Item) -> str:
    mark = item.get_closest_marker("xdist_group")
    assert mark is not None
    return str(mark.args[0])


def _place(item: pytest.Item) -> tuple[str, ...]:
    """The folders and the file below `tests`."""
    return item.path.relative_to(Path(__file__).parent).parts
