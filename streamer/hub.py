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
from streamer.logging_setup import described

logger = logging.getLogger(__name__)

#: A channel of the process's own, so that the connection is always subscribed to something and can be asked for a sign of life.
HOME = "hub"

#: Seconds between two looks at everything that is due.
TICK_SECONDS = 1.0

#: Seconds without a word after which the subscription is asked for a sign of life, and then given up.
PING_SECONDS, DEAD_SECONDS = 3.0, 6.0

#: Seconds that a join waits for an acknowledgement, and then for the log, before it goes on without.
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
        self._viewers = 0
        self._pubsub: PubSub | None = None
        self._heard = 0.0
        self._acks: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.draining = False

    # Viewers come and go

    @property
    def viewers(self) -> int:
        """Open streams."""
        return self._viewers

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
        self._viewers += 1
        if self.draining:
            viewer.close("draining", reconnect=True)
        try:
            await channel.loaded.wait()
            if cursor is not None and not channel.ended and not channel.holds(cursor):
                # It may come from another process that is ahead of us: only what Redis lacks, too, is beyond the log.
                with contextlib.suppress(*LOG_AWAY):
                    await self._read(channel)
        except BaseException:
            self.leave(viewer)
            raise
        viewer.place()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """The stream has ended, for whatever reason."""
        channel = viewer.channel
        if viewer not in channel.viewers:
            return
        channel.viewers.remove(viewer)
        self._viewers -= 1
        if not channel.viewers and self._channels.get(channel.id) is channel:
            del self._channels[channel.id]
            if channel.subscribed and self._pubsub is not None:
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
        """Subscribe, await the acknowledgement, read the row, then the log. What Redis can't give comes from the row alone."""
        try:
            with contextlib.suppress(*LOG_AWAY):
                await self._subscribe(channel)
            await self._look(channel)
        except LOG_AWAY as error:
            logger.warning("a generation is watched without its log for now (%s)", type(error).__name__)
        finally:
            channel.loaded.set()
            channel.wake()
            if channel.subscribed and channel.id not in self._channels:  # its viewers left meanwhile
                await self._unsubscribe(channel.id)

    async def _look(self, channel: Channel) -> None:
        """The row first, then the log, then the end where the log lacks it."""
        row = None
        with contextlib.suppress(Unavailable):
            row = await self._threads.run(find, channel.id)
        try:
            await self._read(channel)
        finally:
            if row is not None and row.ended:
                channel.end_from_row(row)

    async def _read(self, channel: Channel) -> None:
        """Takes in what the log holds beyond what is here. Raises one of LOG_AWAY where that can't be had in time."""
        reading = self._begin_reading(channel)
        done, _ = await asyncio.wait({reading}, timeout=JOIN_SECONDS)
        if not done:
            raise TimeoutError
        reading.result()

    def _begin_reading(self, channel: Channel) -> asyncio.Task[None]:
        """The one task that reads this log. If it reads already, it does so once more, for what came since."""
        channel.unread = True
        if channel.reading is None or channel.reading.done():
            channel.reading = self._spawn(self._read_on(channel))
        return channel.reading

    async def _read_on(self, channel: Channel) -> None:
        while channel.unread:
            channel.unread = False
            channel.extend(await self._log.read(channel.id, channel.tail))
            channel.touched = asyncio.get_running_loop().time()

    # The subscription

    async def _subscribe(self, channel: Channel) -> None:
        """Returns once Redis has acknowledged. Raises one of LOG_AWAY where it does not in time."""
        pubsub = self._pubsub
        if pubsub is None:
            raise ConnectionError("no subscription yet")
        name = channel_name(channel.id)
        ack = self._acks.get(name)
        if ack is None:
            ack = self._acks[name] = asyncio.get_running_loop().create_future()
        try:
            await pubsub.subscribe(name)
            await asyncio.wait({ack}, timeout=JOIN_SECONDS)
            if not ack.done():
                raise TimeoutError
        finally:
            if self._acks.get(name) is ack:
                del self._acks[name]
        channel.subscribed = pubsub is self._pubsub

    async def _unsubscribe(self, generation_id: str) -> None:
        if generation_id not in self._channels and self._pubsub is not None:
            with contextlib.suppress(*LOG_AWAY):
                await self._pubsub.unsubscribe(channel_name(generation_id))

    async def listen_forever(self) -> None:
        """Keeps the one subscription, and makes it anew, with everything that is watched, when it breaks."""
        told = False
        while True:
            try:
                async with self._subscriber.pubsub() as pubsub:
                    await self._listen(pubsub)
            except LOG_AWAY as error:
                if self._pubsub is not None or not told:
                    logger.warning("the subscription broke (%s)", type(error).__name__)
                told = True
            except Exception as error:
                logger.error("the subscription ended by a defect: %s", described(error))
            self._pubsub = None
            for channel in self._channels.values():
                channel.subscribed = False
            await asyncio.sleep(0.2 + random.random() * 0.3)  # noqa: S311

    async def _listen(self, pubsub: PubSub) -> None:
        async with asyncio.timeout(DEAD_SECONDS):
            await pubsub.subscribe(HOME)
        self._pubsub = pubsub
        self._heard = asyncio.get_running_loop().time()
        if self._channels:
            self._spawn(self._open_again(list(self._channels.values())))
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

    async def _open_again(self, channels: list[Channel]) -> None:
        """Puts everything that is watched on a new subscription, and looks at all of it together."""
        await asyncio.gather(*(self._subscribe(channel) for channel in channels), return_exceptions=True)
        await self._check(channels)

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
        generation_id = generation_of_channel(name)
        channel = self._channels.get(generation_id)
        if channel is None:
            self._spawn(self._unsubscribe(generation_id))
            return
        try:
            before, frames = parse_published(payload)
        except (ValueError, AssertionError):  # no message of ours: the log says what there is
            before, frames = None, []
        if not frames:
            self._begin_reading(channel)
            return
        channel.touched = asyncio.get_running_loop().time()
        if before == channel.tail:
            channel.extend(frames)
        elif channel.tail is None or frames[-1].id > channel.tail:
            self._begin_reading(channel)

    # The wheel

    async def tick_forever(self) -> None:
        """Once a second: who was silent too long is looked at again, who heard nothing gets a byte."""
        checking: asyncio.Task[None] | None = None
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
            if idle and (checking is None or checking.done()):
                checking = self._spawn(self._check(idle))

    async def _check(self, idle: list[Channel]) -> None:
        """One query for all rows, then one pipeline for all tails, then what differs."""
        now = asyncio.get_running_loop().time()
        for channel in idle:
            if not channel.subscribed and self._pubsub is not None:
                self._spawn(self._open(channel))
        ended: dict[str, Generation] = {}
        tails: list[EventId | None] = [None] * len(idle)
        away = False
        try:
            ended = await self._threads.run(_ended, [channel.id for channel in idle])
        except Unavailable:
            away = True
        try:
            tails = await self._log.tails([channel.id for channel in idle])
        except LOG_AWAY:
            away = True
        if not away:  # else the next tick looks again
            for channel in idle:
                channel.touched = max(channel.touched, now)
        behind = [
            channel
            for channel, tail in zip(idle, tails, strict=True)
            if tail is not None and (channel.tail is None or tail > channel.tail)
        ]
        await asyncio.gather(*(self._read(channel) for channel in behind), return_exceptions=True)
        for channel in idle:
            row = ended.get(channel.id)
            if row is not None:
                channel.end_from_row(row)

    # Tasks

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, LOG_AWAY):
            logger.error("a look at what is watched broke off: %s", described(error))

    async def close(self) -> None:
        """Ends the hub's own tasks. Who leaves later starts none."""
        self._pubsub = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _ended(generation_ids: list[str]) -> dict[str, Generation]:
    rows = Generation.select().where(Generation.id.in_(generation_ids) & Generation.status.in_(ENDED))
    return {row.id: row for row in rows}
