"""One Redis subscription a process, one shared log a live generation, a cursor a viewer.

Redis pub/sub only wakes us; what we tell comes from the log and the row.

The order of every look at a generation is: subscription acknowledged, row, log, then live. A message that does not fit what is
here sends us to the log. Nothing here is cancelled by a viewer: all Redis connections belong to the hub's own tasks.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterable
from typing import Any

import redis.asyncio
from redis.asyncio.client import PubSub

from models.database_threads import DatabaseThreads
from models.errors import Unavailable
from models.event import EventId
from models.event_log import LOG_AWAY, EventLog, channel_name, generation_of_channel, parse_published
from models.generation import ENDED, Generation, find
from models.settings import Settings
from streamer.channel import Channel, Viewer

logger = logging.getLogger(__name__)

#: A channel of the process's own, so that the connection is always subscribed to something and can be asked for a sign of life.
HOME = "hub"

#: Seconds between two looks at everything that is due.
TICK_SECONDS = 1.0

#: Seconds without a word after which the subscription is asked for a sign of life, and then given up.
PING_SECONDS, DEAD_SECONDS = 3.0, 6.0

#: Seconds that a join waits for Redis before it goes on without.
JOIN_SECONDS = 2.0


class Hub:
    """Who is watching what, in one web process."""

    def __init__(
        self, settings: Settings, threads: DatabaseThreads, log: EventLog, subscriber: redis.asyncio.Redis
    ) -> None:
        self._settings = settings
        self._threads = threads
        self._log = log
        self._subscriber = subscriber
        self._channels: dict[str, Channel] = {}
        self._pubsub: PubSub | None = None
        self._heard = 0.0
        self._acks: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.draining = False

    # Viewers come and go

    @property
    def viewers(self) -> int:
        """Open streams."""
        return sum(len(channel.viewers) for channel in self._channels.values())

    @property
    def channels(self) -> int:
        """Generations that somebody watches."""
        return len(self._channels)

    async def join(self, generation_id: str, cursor: EventId | None) -> Viewer:
        """A viewer of the generation, placed after `cursor` in its log. Call `leave` in the end."""
        channel = self._channels.get(generation_id)
        if channel is None:
            channel = self._channels[generation_id] = Channel(generation_id)
            self._spawn(self._open(channel))
        viewer = Viewer(channel, cursor)
        viewer.quiet_since = asyncio.get_running_loop().time()
        channel.viewers.add(viewer)
        try:
            await channel.loaded.wait()
            if cursor is not None and not channel.ended and not channel.holds(cursor):
                # It may come from another process that is ahead of us: only what Redis lacks, too, is beyond the log.
                reading = self._spawn(self._read(channel))
                await asyncio.wait({reading}, timeout=JOIN_SECONDS)
        except BaseException:
            self.leave(viewer)
            raise
        viewer.place()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """The stream has ended, for whatever reason."""
        channel = viewer.channel
        channel.viewers.discard(viewer)
        if not channel.viewers and self._channels.get(channel.id) is channel:
            del self._channels[channel.id]
            if channel.subscribed:
                self._spawn(self._unsubscribe(channel.id))

    def drain(self) -> None:
        """Tells every viewer to come back elsewhere; new ones are told at once."""
        self.draining = True
        for viewer in self._all_viewers():
            viewer.close("draining", reconnect=True)

    def _all_viewers(self) -> Iterable[Viewer]:
        return [viewer for channel in self._channels.values() for viewer in channel.viewers]

    # A generation's log

    async def _open(self, channel: Channel) -> None:
        """Subscribe, await the acknowledgement, read the row, then the log."""
        try:
            await self._subscribe(channel)
            await self._look(channel)
            while channel.missed:
                channel.missed = False
                await self._read(channel)
        except (*LOG_AWAY, Unavailable) as error:
            logger.warning("a generation is watched without its log for now (%s)", type(error).__name__)
        finally:
            channel.loaded.set()
            channel.wake()

    async def _look(self, channel: Channel) -> None:
        """The row first, then the log, then the end where the log lacks it."""
        row = await self._threads.run(find, channel.id)
        try:
            await self._read(channel)
        finally:
            if row is not None and row.ended:
                channel.end_from_row(row)

    async def _read(self, channel: Channel) -> None:
        """Takes in what the log holds beyond what is here."""
        channel.extend(await self._log.read(channel.id, channel.tail))
        channel.touched = asyncio.get_running_loop().time()

    async def _read_quietly(self, channel: Channel) -> None:
        with contextlib.suppress(*LOG_AWAY):
            await self._read(channel)

    # The subscription

    async def _subscribe(self, channel: Channel) -> None:
        """Returns once Redis has acknowledged. Raises one of LOG_AWAY where it does not in time."""
        pubsub = self._pubsub
        if pubsub is None:
            raise ConnectionError("no subscription yet")
        name = channel_name(channel.id)
        ack = self._acks[name] = asyncio.get_running_loop().create_future()
        try:
            await pubsub.subscribe(name)
            await asyncio.wait_for(ack, JOIN_SECONDS)
        finally:
            self._acks.pop(name, None)
        channel.subscribed = True

    async def _unsubscribe(self, generation_id: str) -> None:
        if generation_id not in self._channels and self._pubsub is not None:
            with contextlib.suppress(*LOG_AWAY):
                await self._pubsub.unsubscribe(channel_name(generation_id))

    async def listen_forever(self) -> None:
        """Keeps the one subscription, and makes it anew, with everything that is watched, when it breaks."""
        while True:
            try:
                async with self._subscriber.pubsub() as pubsub:
                    await self._listen(pubsub)
            except LOG_AWAY as error:
                logger.warning("the subscription broke (%s)", type(error).__name__)
            self._pubsub = None
            for channel in self._channels.values():
                channel.subscribed = False
            await asyncio.sleep(0.2 + random.random() * 0.3)  # noqa: S311

    async def _listen(self, pubsub: PubSub) -> None:
        await pubsub.subscribe(HOME)
        self._pubsub = pubsub
        self._heard = asyncio.get_running_loop().time()
        for channel in list(self._channels.values()):
            self._spawn(self._open(channel))
        while True:
            message = await pubsub.get_message(timeout=TICK_SECONDS)
            now = asyncio.get_running_loop().time()
            if message is not None:
                self._heard = now
                self._hear(message)
            elif now - self._heard > DEAD_SECONDS:
                raise ConnectionError("silent")
            elif now - self._heard > PING_SECONDS:
                await pubsub.ping()

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "message":
            self._hear_events(message["channel"], message["data"])
        elif message["type"] == "subscribe":
            ack = self._acks.get(message["channel"].decode())
            if ack is not None and not ack.done():
                ack.set_result(None)

    def _hear_events(self, name: bytes, payload: bytes) -> None:
        if name == HOME.encode():
            return
        channel = self._channels.get(generation_of_channel(name))
        if channel is None:
            return
        if not channel.loaded.is_set():
            channel.missed = True  # it may have come after the log was read
            return
        channel.touched = asyncio.get_running_loop().time()
        before, frames = parse_published(payload)
        if before == channel.tail:
            channel.extend(frames)
        elif channel.tail is None or frames[-1].id > channel.tail:
            self._spawn(self._read_quietly(channel))

    # The wheel

    async def tick_forever(self) -> None:
        """Once a second: who was silent too long is looked at again, who heard nothing gets a byte."""
        while True:
            await asyncio.sleep(min(TICK_SECONDS, self._settings.idle_check_seconds, self._settings.keepalive_seconds))
            now = asyncio.get_running_loop().time()
            for viewer in self._all_viewers():
                if now - viewer.quiet_since >= self._settings.keepalive_seconds:
                    viewer.wake()
            idle = [
                channel
                for channel in self._channels.values()
                if channel.loaded.is_set()
                and not channel.ended
                and now - channel.touched >= self._settings.idle_check_seconds
            ]
            if idle:
                try:
                    await self._check(idle, now)
                except Exception as error:
                    logger.error("the idle check broke off: %s", type(error).__name__)

    async def _check(self, idle: list[Channel], now: float) -> None:
        """One query for all rows, then one pipeline for all tails, then what differs."""
        for channel in idle:
            channel.touched = now
            if not channel.subscribed:
                self._spawn(self._open(channel))
        try:
            ended = await self._threads.run(_ended, [channel.id for channel in idle])
        except Unavailable:
            ended = {}
        try:
            tails = await self._log.tails([channel.id for channel in idle])
        except LOG_AWAY:
            tails = [None] * len(idle)
        for channel, tail in zip(idle, tails, strict=True):
            if tail is not None and (channel.tail is None or tail > channel.tail):
                await self._read_quietly(channel)
            row = ended.get(channel.id)
            if row is not None:
                channel.end_from_row(row)

    # Tasks

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Ends the hub's own tasks."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _ended(generation_ids: list[str]) -> dict[str, Generation]:
    rows = Generation.select().where(Generation.id.in_(generation_ids) & Generation.status.in_(ENDED))
    return {row.id: row for row in rows}
