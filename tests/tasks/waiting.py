"""Waiting for what comes, never for time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

from models.event import Frame
from models.event_log import EventLog

T = TypeVar("T")


@overload
async def until(true: Callable[[], Awaitable[T]], seconds: float = ...) -> T: ...
@overload
async def until(true: Callable[[], T], seconds: float = ...) -> T: ...
async def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What `true()` gives, awaited if need be, as soon as it is true; TimeoutError if it isn't within `seconds`.

    It looks at the time itself: a cancel, as `asyncio.timeout` sends one, is lost in a Redis command that just succeeds.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = true()
        value = await found if inspect.isawaitable(found) else found
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(0)


async def frames_of(log: EventLog, generation_id: str, enough: Callable[[list[Frame]], bool]) -> list[Frame]:
    """The log's events as soon as they are enough."""

    async def look() -> list[Frame]:
        found = await log.read(generation_id)
        return found if enough(found) else []

    return await until(look)
