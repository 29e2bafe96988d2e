"""What this worker process holds: renewed by one statement for all, which stores their texts and brings back their cancels."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from enum import StrEnum

import redis.asyncio

from models.database import database
from models.database_threads import DatabaseThreads
from models.errors import Unavailable
from models.event_log import CANCEL_CHANNEL, LOG_AWAY
from models.generation import Generation
from models.identifiers import random_name
from models.ownership import Held, renew
from models.periodic import beat, forget_worker
from models.settings import Settings
from tasks.publisher import Publisher

logger = logging.getLogger(__name__)

#: Seconds before a lost subscription is tried again.
RESUBSCRIBE_SECONDS = 1.0


class Stop(StrEnum):
    """Why a holder has to stop before its provider has come to an end."""

    CANCELLED = "cancelled"
    LOST = "lost"
    DRAINING = "draining"


class Holding:
    """One generation that this process works on."""

    def __init__(self, generation_id: str, run: int) -> None:
        self.id = generation_id
        self.run = run
        self.publisher: Publisher | None = None
        self.stop: Stop | None = None
        self.stopped = asyncio.Event()
        self.frozen = False
        """Set from the first attempt to finish on: the text in the row is not touched any more."""
        self.moving = False
        """Set while the holder takes its next run: a renewal can tell nothing about it then."""
        self._stored: str | None = None

    def stop_for(self, reason: Stop) -> None:
        """The first reason counts, but a lost run overrides any."""
        if self.stop is None or reason is Stop.LOST:
            self.stop = reason
        self.stopped.set()

    @contextlib.contextmanager
    def next_run(self) -> Iterator[Callable[[int], None]]:
        """While the holder takes its next run; what this gives is called with that run, if it got it."""
        self.moving = True
        try:
            yield self._move_to
        finally:
            self.moving = False

    def _move_to(self, run: int) -> None:
        self.run, self.publisher = run, None

    def held(self) -> Held:
        """What the renewal stores: the text, where it has grown since the last."""
        if self.frozen or self.publisher is None or str(self.publisher.last) == self._stored:
            return Held(self.id, self.run)
        transcript, reached = self.publisher.transcript, str(self.publisher.last)
        self._stored = reached
        return Held(self.id, self.run, transcript.text, transcript.reasoning, transcript.tool_calls_json(), reached)

    def forget_stored(self) -> None:
        """A renewal failed: the next one stores the text again."""
        self._stored = None


class Holdings:
    """All of them, by id, with the two tasks that keep them."""

    def __init__(self, settings: Settings, threads: DatabaseThreads) -> None:
        self.worker = random_name("worker")
        self._settings = settings
        self._threads = threads
        self._held: dict[str, Holding] = {}
        self._slots = settings.worker_threads
        self._retired = False
        self._stopping: Stop | None = None
        self._now = asyncio.Event()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def stopping(self) -> bool:
        """Whether everything was told to stop: nothing may be claimed any more."""
        return self._stopping is not None

    @contextlib.contextmanager
    def hold(self, row: Generation) -> Iterator[Holding]:
        """Keeps the lease of `row` for as long as the block runs."""
        if row.id in self._held:  # claimed again by this very process: the run before is over
            self._held[row.id].stop_for(Stop.LOST)
        holding = self._held[row.id] = Holding(row.id, row.run)
        if self._stopping is not None:
            holding.stop_for(self._stopping)
        try:
            yield holding
        finally:
            if self._held.get(row.id) is holding:
                del self._held[row.id]
            if self._retired:
                self._now.set()

    def retire(self) -> None:
        """Tells the others at once that this worker takes nothing new: its slots are those that it still fills.

        What it holds counts as handed on until it ends: without those slots it would stand in the way of other workers' free ones.
        """
        self._retired = True
        self._now.set()

    def stop_all(self, reason: Stop) -> None:
        """Stops everything that is held, and whatever a claim under way still brings."""
        self._stopping = reason
        for holding in list(self._held.values()):
            holding.stop_for(reason)

    async def renew_forever(self) -> None:
        """Renews every `renew_seconds`, and at once when somebody cancels."""
        while True:
            await self._renew()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.renew_seconds):
                    await self._now.wait()
            self._now.clear()

    async def _renew(self) -> None:
        asked = [(each, each.held()) for each in self._held.values()]
        try:
            kept = await self._threads.run(
                _renew_and_beat,
                [held for _, held in asked],
                self._settings.lease_seconds,
                self.worker,
                len(asked) if self._retired else self._slots,
            )
        except Unavailable:
            for each, _ in asked:
                each.forget_stored()
            logger.warning("the database is away: %d leases were not renewed", len(asked))
            return
        for each, held in asked:
            if each.moving or each.run != held.run:  # the answer is about a run that its holder has left
                continue
            if each.id not in kept:
                each.stop_for(Stop.LOST)
            elif kept[each.id]:
                each.stop_for(Stop.CANCELLED)

    async def listen_forever(self, client: redis.asyncio.Redis) -> None:
        """Hears of cancels as they are asked for; the renewal would bring them anyway.

        Whenever it begins to listen, it looks once for what was asked for while it could not hear.
        """
        while True:
            try:
                async with client.pubsub() as channel:
                    await channel.subscribe(CANCEL_CHANNEL)
                    async for message in channel.listen():
                        if message["type"] == "subscribe" or message["data"].decode() in self._held:
                            self._now.set()
            except LOG_AWAY:
                await asyncio.sleep(RESUBSCRIBE_SECONDS)

    async def forget(self) -> None:
        """Takes the worker off the list of the living."""
        with contextlib.suppress(Unavailable):
            await self._threads.run(forget_worker, self.worker)


def _renew_and_beat(held: list[Held], lease_seconds: float, worker: str, slots: int) -> dict[str, bool]:
    with database.atomic():
        beat(worker, socket.gethostname(), os.getpid(), len(held), slots)
        return renew(held, lease_seconds)
