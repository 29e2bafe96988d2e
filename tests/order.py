"""The order in which tests begin, and which of them stay together, where several run at once.

The tests of a file share a runner, as they share what is dear to make; each row of the faults is by itself. What waits for
processes begins among what computes, and a little earlier: so that the processors have work to the end.
"""

from itertools import groupby
from pathlib import Path

import pytest

#: The rooms whose tests mostly wait.
WAITING = ("faults", "system", "browser")

#: By which part of the run the last of those has begun.
BEGUN_BY = 0.8


def keep_together(items: list[pytest.Item]) -> None:
    """Puts each test that has no group yet into its file's."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(_room_and_file(item)))


def mix(items: list[pytest.Item]) -> list[pytest.Item]:
    """The groups that wait spread among those that compute; each group's own order is kept."""
    groups = [list(each) for _, each in groupby(items, _group)]
    waiting = [each for each in groups if _room_and_file(each[0]).startswith(WAITING)]
    computing = [each for each in groups if not _room_and_file(each[0]).startswith(WAITING)]
    placed = [(BEGUN_BY * index / len(waiting), each) for index, each in enumerate(waiting)]
    placed += [(index / len(computing), each) for index, each in enumerate(computing)]
    return [item for _, each in sorted(placed, key=lambda pair: pair[0]) for item in each]


def _group(item: pytest.Item) -> str:
    mark = item.get_closest_marker("xdist_group")
    assert mark is not None
    return str(mark.args[0])


def _room_and_file(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).with_suffix("").as_posix()
