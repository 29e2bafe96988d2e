"""How many viewers all web processes have together: each says its own number, and what it said is forgotten by itself.

key              type      content
web              set       the names of the web processes
web:<process>    string    its viewers; it ends with its time
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import redis.asyncio

from models.event_log import LOG_AWAY
from models.identifiers import random_name

#: Seconds between two times that a process says its number, and for how long one counts.
BEAT_SECONDS, LIFE_SECONDS = 5.0, 15

_ALL = "web"


class Presence:
    """One per web process. `viewers` gives the process's own number."""

    def __init__(self, client: redis.asyncio.Redis, viewers: Callable[[], int]) -> None:
        self._client = client
        self._viewers = viewers
        self._process = random_name("web")

    async def beat_forever(self) -> None:
        """Says the number again and again, until cancelled. While Redis is away nobody hears it."""
        with contextlib.suppress(*LOG_AWAY):
            await self.others()  # forgets those that have ended: nobody may ever look at the status
        while True:
            with contextlib.suppress(*LOG_AWAY):
                await self.beat()
            await asyncio.sleep(BEAT_SECONDS)

    async def beat(self) -> None:
        """Says the number once. Raises one of LOG_AWAY."""
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.sadd(_ALL, self._process)
            pipeline.set(f"{_ALL}:{self._process}", self._viewers(), ex=LIFE_SECONDS)
            await pipeline.execute()

    async def others(self) -> tuple[int, int]:
        """(viewers, processes) beside this one, as they last said. Raises one of LOG_AWAY."""
        names: Any = await self._client.smembers(_ALL)
        others = sorted(name for each in names if (name := each.decode()) != self._process)
        if not others:
            return 0, 0
        said = dict(zip(others, await self._client.mget([f"{_ALL}:{each}" for each in others]), strict=True))
        gone = [each for each, viewers in said.items() if viewers is None]
        if gone:
            await self._client.srem(_ALL, *gone)
        return sum(int(each) for each in said.values() if each is not None), len(others) - len(gone)
