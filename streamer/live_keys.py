"""Which API keys are still good, remembered for a few seconds: what they minted is worth no more than they are."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from models.api_key import find_key
from models.database import read_now
from models.database_threads import DatabaseThreads

#: For how long a key that was revoked may still pass.
REMEMBERED_SECONDS = 5.0

#: Keys that are remembered at most; the one looked up longest ago goes first.
REMEMBERED_KEYS = 1024


@dataclass(frozen=True, slots=True)
class LiveKey:
    """A key as it was when it was looked up. Times are those of the cache's clock."""

    key_id: str
    tenant_id: int
    tenant: str
    good_until: float
    looked_up_at: float


class LiveKeys:
    """One per process. Look up only ids that came under a signature of ours, so that strangers can't cause statements."""

    def __init__(self, threads: DatabaseThreads, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads = threads
        self._clock = clock
        self._known: OrderedDict[str, LiveKey] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[LiveKey]] = {}

    async def find(self, key_id: str) -> LiveKey | None:
        """The key, None where it is unknown, revoked or expired. Raises Unavailable where the database is away."""
        key = self._known.get(key_id)
        if key is None or self._clock() - key.looked_up_at >= REMEMBERED_SECONDS:
            key = await self._look_up_once(key_id)
        # The clock is read anew: the lookup took time, and a dead key is good until the moment of its lookup.
        return key if self._clock() < key.good_until else None

    async def _look_up_once(self, key_id: str) -> LiveKey:
        """However many ask at once, one statement answers; that one of them is cancelled disturbs no other."""
        task = self._lookups.get(key_id)
        if task is None:
            task = self._lookups[key_id] = asyncio.create_task(self._look_up(key_id))
            task.add_done_callback(lambda done: self._forget(key_id, done))
        return await asyncio.shield(task)

    def _forget(self, key_id: str, done: asyncio.Task[LiveKey]) -> None:
        self._lookups.pop(key_id, None)
        if not done.cancelled():
            done.exception()  # taken, so that asyncio does not report it where everybody who asked is gone

    async def _look_up(self, key_id: str) -> LiveKey:
        started = self._clock()
        tenant_id, tenant, good_seconds = await self._threads.run(_read_key, key_id)
        key = LiveKey(key_id, tenant_id, tenant, started + good_seconds, started)
        self._known[key_id] = key
        self._known.move_to_end(key_id)
        if len(self._known) > REMEMBERED_KEYS:
            self._known.popitem(last=False)
        return key


def _read_key(key_id: str) -> tuple[int, str, float]:
    """(tenant's id, its public id, for how many seconds the key is still good); nothing good about an unknown key."""
    row = find_key(key_id)
    if row is None:
        return 0, "", 0.0
    if row.revoked_at is not None:
        good_seconds = 0.0
    elif row.expires_at is None:
        good_seconds = float("inf")
    else:
        good_seconds = row.expires_at - read_now()
    return row.tenant_id, row.tenant.public_id, good_seconds
