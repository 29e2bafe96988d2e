"""Waiting for a condition, with a deadline."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

#: Between two looks.
LOOK_SECONDS = 0.005


async def eventually(true: Callable[[], bool | Awaitable[bool]], timeout_seconds: float = 60.0) -> None:
    """Returns once `true()`; AssertionError after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        found = true()
        if await found if inspect.isawaitable(found) else found:
            return
        assert time.monotonic() < deadline, f"not so after {timeout_seconds} s"
        await asyncio.sleep(LOOK_SECONDS)
