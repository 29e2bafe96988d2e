"""The order in which tests begin, and which of them stay together, where several run at once.

The tests of a file share a runner, as they share what is dear to make; so do all that need a browser, while each row of the faults
is by itself. Each room's are spread over the run: at any time some wait for processes, and some compute.
"""

from itertools import groupby
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

#: Rooms whose tests take long begin a little earlier than others, and the files that take longest begin first: so that the last
#: to end is a short one.
LONG, BEGUN_BY = ("faults", "system", "browser"), 0.8
LONGEST = ("tests/browser", "tests/streamer/test_up.py", "tests/system/test_processes.py", "tests/tasks/test_worker.py")


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out a group at a time, in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def group(nodeid: str) -> str:
    """What a test stays together with."""
    path = nodeid.partition("::")[0]
    if path.startswith("tests/browser/"):
        return "tests/browser"
    return nodeid if path == "tests/faults/test_rows.py" else path


def mix(items: list[pytest.Item]) -> list[pytest.Item]:
    """The groups of each room spread among those of the others; each group's own order is kept."""
    placed: list[tuple[float, list[pytest.Item]]] = []
    for room, of_room in groupby(items, lambda item: item.nodeid.split("/")[1]):
        groups = [list(each) for _, each in groupby(of_room, lambda item: group(item.nodeid))]
        span = (BEGUN_BY if room in LONG else 1.0) / len(groups)
        for index, each in enumerate(groups):
            placed.append((0.0 if group(each[0].nodeid) in LONGEST else span * index, each))
    return [item for _, each in sorted(placed, key=lambda pair: pair[0]) for item in each]


def make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """What pytest-xdist asks for."""
    return Scheduling(config, log)
