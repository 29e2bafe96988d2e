"""An event loop that never waits: its clock moves only when told, and it runs until nothing is left to do at this time."""

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

#: Turns of the loop at one time: beyond it, something turns in a circle.
MAX_TURNS = 100_000


class _Idle(selectors.SelectSelector):
    """Nothing comes from outside. Where the loop would wait, it stops, and leaves for how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.wait_seconds: float | None = None
        self.turns = 0
        self.stop: Callable[[], None] = lambda: None

    def select(self, timeout: float | None = None) -> list[Any]:
        self.turns += 1
        if timeout is None or timeout > 0:
            self.wait_seconds = timeout
            self.stop()
        elif self.turns > MAX_TURNS:
            self.stop()
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`settle()` runs what is due; `next_timer()` says when more will be; `now` is set by whoever owns the loop."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._idle = _Idle()
        super().__init__(self._idle)
        self._idle.stop = self.stop

    def time(self) -> float:
        return self.now

    def settle(self) -> None:
        """Runs until every task waits for something that only the owner can bring. AssertionError where that never is."""
        self._idle.turns = 0
        self.run_forever()
        assert self._idle.turns <= MAX_TURNS, f"no rest: {asyncio.all_tasks(self)}"

    def next_timer(self) -> float | None:
        """When the next timer is due, as of the last `settle`."""
        wait = self._idle.wait_seconds
        return None if wait is None else self.now + wait

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """At once, in this thread: there are no others."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future
