"""The end of a process's own asyncio tasks."""

import asyncio
from typing import Any

#: Seconds between two cancels of a task that goes on.
AGAIN_SECONDS = 0.1


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancels `tasks` and returns once they have ended, however they do.

    Before Python 3.12 `asyncio.wait_for`, and with it every command that redis-py sends, swallows a cancel that comes in the
    moment of its success: the task goes on as if nothing had been said. So it is said until it is heard.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
