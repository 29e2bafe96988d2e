"""How many requests of one visitor a route takes in a sliding window.

    key                                     type         content
    requests:<tenant>:<route>:<visitor>     sorted set   a member for each request in the window, by its time in µs

The visitor's name is hashed, the time is Redis's own: web processes whose clocks differ, or step, count alike.
"""

import hashlib
import math
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import redis.asyncio
from redis.exceptions import NoScriptError

from models.route import Route
from models.settings import Settings

_COUNT = (Path(__file__).parent / "rate_limit.lua").read_text()
_SHA = hashlib.sha1(_COUNT.encode(), usedforsecurity=False).hexdigest()  # the name that Redis gives a script


class Limit(NamedTuple):
    """`requests` in any `seconds`."""

    requests: int
    seconds: float

    @classmethod
    def of(cls, route: Route, settings: Settings) -> "Limit":
        """The route's, else the settings'."""
        return cls(
            route.max_requests or settings.max_requests,
            route.request_window_seconds or settings.request_window_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A visitor's window after a request. `admitted`: the request is counted; else there was no place for it."""

    limit: Limit
    admitted: bool
    count: int
    free_seconds: float
    """Until a request leaves the window and makes room for another."""
    key: str
    member: str

    @property
    def remaining(self) -> int:
        return max(0, self.limit.requests - self.count)

    @property
    def reset_seconds(self) -> int:
        """`free_seconds`, rounded up: who waits so long is not refused again for being early."""
        return max(1, math.ceil(self.free_seconds))


def window_key(tenant_id: int, route_name: str, visitor: str) -> str:
    return f"requests:{tenant_id}:{route_name}:{hashlib.sha256(visitor.encode()).hexdigest()[:32]}"


class RateLimit:
    """The windows in one Redis. Both calls raise LOG_AWAY's errors where it is away."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def count(self, key: str, limit: Limit) -> Window:
        """Counts a request, unless the window is full, in one round trip."""
        member = secrets.token_hex(8)
        arguments = (key, limit.requests, math.ceil(limit.seconds * 1_000_000), member)
        try:
            reply = await self._client.evalsha(_SHA, 1, *arguments)
        except NoScriptError:  # Redis was restarted or flushed: nothing ran
            reply = await self._client.eval(_COUNT, 1, *arguments)
        admitted, count, free = map(int, reply)
        return Window(
            limit=limit,
            admitted=bool(admitted),
            count=count,
            free_seconds=free / 1_000_000,
            key=key,
            member=member,
        )

    async def give_back(self, window: Window) -> None:
        """Takes a request out again that was counted, but of which nothing came."""
        await self._client.zrem(window.key, window.member)
