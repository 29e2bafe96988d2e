"""Tells a Redis that is away from a process that is busy: both are late with a reply, but only one of them deserves a refusal."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

from models.errors import Unavailable
from models.event_log import LOG_AWAY

#: Seconds without a reply to anybody after which Redis counts as away, and in how many looks they pass.
SILENT_SECONDS, LOOKS = 1.0, 4

T = TypeVar("T")


class SignOfLife:
    """When Redis last replied to this process. One for all of its requests: a reply to one is a sign of life to all.

    A burst keeps many waiting for a connection, each for longer than Redis may be silent; replies keep coming meanwhile. And a
    process that was held up itself finds its time over before it has read what came: so the silence is looked at in pieces, of
    which a hold-up swallows one.
    """

    def __init__(self) -> None:
        self._replied = -SILENT_SECONDS

    async def reply(self, command: Awaitable[T]) -> T:
        """Redis's reply to the command.

        Raises Unavailable after a second of silence, or where the connection fails; whatever else `command` raises.
        """
        asking = asyncio.ensure_future(command)
        asking.add_done_callback(self._take_note)  # it may come when nobody waits for it any more
        silent = 0
        while silent < LOOKS:
            began = time.monotonic()
            done, _ = await asyncio.wait({asking}, timeout=SILENT_SECONDS / LOOKS)
            if done:
                break
            silent = 0 if self._replied >= began else silent + 1
        if not asking.done() or isinstance(asking.exception(), LOG_AWAY):
            raise Unavailable("Redis is away; nothing was stored. Try again.", retry_after_seconds=2)
        return asking.result()

    def _take_note(self, task: asyncio.Future[Any]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._replied = time.monotonic()
