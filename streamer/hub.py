"""One Redis subscription a process, one shared log a live generation, a cursor a viewer.

Redis pub/sub only wakes us; what we tell comes from the log and the row.

The order of every look at a generation is: subscription acknowledged, row, log, then live. A message that does not fit what is
here sends us to the log. Nothing here is cancelled by a viewer: all Redis connections belong to the hub's own tasks.
"""

import asyncio
import contextlib
import logging
import random
from typing import TypeVar

import redis.asyncio

from models.database_threads import DatabaseThreads
from models.errors import Unavailable
from models.event import EventId
from models.event_log import LOG_AWAY, EventLog, channel_name, generation_of_channel, parse_published
from models.generation import ENDED, Generation, find
from models.settings import Settings
from streamer.channel import Channel, Viewer
from streamer.own_tasks import OwnTasks
from streamer.subscription import Subscription

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds between two looks at everything that is due.
TICK_SECONDS = 1.0

#: Seconds over which a drain spreads its goodbyes at most, and in how many steps: not all come back at once.
DRAIN_SECONDS, DRAIN_STEPS = 2.0, 20

#: Seconds that a look waits for the log before it goes on without.
LOG_SECONDS = 2.0


class Hub:
    """Who is watching what, in one web process."""

    def __init__(
        self, settings: Settings, threads: DatabaseThreads, log: EventLog, subscriber: redis.asyncio.Redis
    ) -> None:
        self._settings = settings
        self._threads = threads
        self._log = log
        self._subscription = Subscription(subscriber, self._hear, self._look_at_all)
        self._channels: dict[str, Channel] = {}
        self._viewers = 0
        self._tasks = OwnTasks("a look at what is watched")
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
            self._tasks.spawn(self._open(channel))
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
            if channel_name(channel.id) in self._subscription:
                self._tasks.spawn(self._unsubscribe(channel.id))

    def drain(self) -> None:
        """Tells every viewer to come back elsewhere, in a random order over some time; new ones are told at once."""
        if not self.draining:
            self.draining = True
            self._tasks.spawn(self._close_in_turn(self._all_viewers()))

    async def _close_in_turn(self, viewers: list[Viewer]) -> None:
        random.shuffle(viewers)
        share = -(-len(viewers) // DRAIN_STEPS) or 1
        pause_seconds = min(DRAIN_SECONDS, self._settings.web_drain_seconds / 4) / DRAIN_STEPS
        for begin in range(0, len(viewers), share):
            for viewer in viewers[begin : begin + share]:
                viewer.close("draining", reconnect=True)
            await asyncio.sleep(pause_seconds)

    def _all_viewers(self) -> list[Viewer]:
        return [viewer for channel in self._channels.values() for viewer in channel.viewers]

    # A generation's log

    async def _open(self, channel: Channel) -> None:
        """Subscribe, await the acknowledgement, read the row, then the log. What Redis can't give comes from the row alone."""
        try:
            with contextlib.suppress(*LOG_AWAY):
                await self._subscription.add(channel_name(channel.id))
            await self._look(channel)
        except LOG_AWAY as error:
            logger.warning("a generation is watched without its log for now (%s)", type(error).__name__)
        finally:
            channel.loaded.set()
            channel.wake()
            await self._unsubscribe(channel.id)  # where its viewers left meanwhile

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
        await _in_time(self._begin_reading(channel))

    def _begin_reading(self, channel: Channel) -> asyncio.Task[None]:
        """The one task that reads this log. If it reads already, it does so once more, for what came since."""
        channel.unread = True
        if channel.reading is None or channel.reading.done():
            channel.reading = self._tasks.spawn(self._read_on(channel))
        return channel.reading

    async def _read_on(self, channel: Channel) -> None:
        while channel.unread:
            channel.unread = False
            channel.extend(await self._log.read(channel.id, channel.tail))
            channel.touched = asyncio.get_running_loop().time()

    # The subscription

    async def listen_forever(self) -> None:
        """Hears what is published."""
        await self._subscription.keep()

    def _look_at_all(self) -> None:
        if self._channels:
            self._tasks.spawn(self._open_again(list(self._channels.values())))

    async def _open_again(self, channels: list[Channel]) -> None:
        """Puts everything that is watched on a new subscription, and looks at all of it together."""
        names = [channel_name(channel.id) for channel in channels]
        await asyncio.gather(*(self._subscription.add(name) for name in names), return_exceptions=True)
        await self._check(channels)

    async def _unsubscribe(self, generation_id: str) -> None:
        """Where nobody watches it any more."""
        if generation_id not in self._channels and channel_name(generation_id) in self._subscription:
            await self._subscription.drop(channel_name(generation_id))

    def _hear(self, name: bytes, payload: bytes) -> None:
        generation_id = generation_of_channel(name)
        channel = self._channels.get(generation_id)
        if channel is None:
            self._tasks.spawn(self._unsubscribe(generation_id))
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
        """Once a second: what was silent too long is looked at again; who heard nothing gets a byte, who is too old is let go."""
        checking: asyncio.Task[None] | None = None
        while True:
            await asyncio.sleep(min(TICK_SECONDS, self._settings.idle_check_seconds, self._settings.keepalive_seconds))
            now = asyncio.get_running_loop().time()
            for viewer in self._all_viewers():
                if now >= viewer.closes_at:
                    viewer.close("max_age", reconnect=True)
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
                checking = self._tasks.spawn(self._check(idle))

    async def _check(self, idle: list[Channel]) -> None:
        """One query for all rows, then one pipeline for all tails, then what differs."""
        now = asyncio.get_running_loop().time()
        for channel in idle:
            if self._subscription.up and channel_name(channel.id) not in self._subscription:
                self._tasks.spawn(self._open(channel))
        ended: dict[str, Generation] = {}
        tails: list[EventId | None] = [None] * len(idle)
        away = False
        try:
            ended = await self._threads.run(_ended, [channel.id for channel in idle])
        except Unavailable:
            away = True
        try:
            tails = await _in_time(self._tasks.spawn(self._log.tails([channel.id for channel in idle])))
        except LOG_AWAY:
            away = True
        if not away:  # else the next tick looks again
            for channel in idle:
                channel.touched = max(channel.touched, now)
        if not away:
            self._tasks.spawn(
                self._leave_erased([each for each, tail in zip(idle, tails, strict=True) if tail is None])
            )
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

    async def _leave_erased(self, logless: list[Channel]) -> None:
        """Lets the viewers of erased generations go; only what has no log can be one."""
        if not logless:
            return
        try:
            there = await self._threads.run(_there, [channel.id for channel in logless])
        except Unavailable:  # the next tick looks again
            return
        for channel in logless:
            if channel.id not in there and not channel.ended:
                for viewer in channel.viewers:
                    viewer.close("deleted", reconnect=False)

    async def close(self) -> None:
        """Ends the hub's own tasks."""
        await self._tasks.close()


async def _in_time(task: asyncio.Task[T]) -> T:
    """Its result. TimeoutError after LOG_SECONDS; it goes on then: cancelled, it would leave half a reply on its connection."""
    done, _ = await asyncio.wait({task}, timeout=LOG_SECONDS)
    if not done:
        raise TimeoutError
    return task.result()


def _there(generation_ids: list[str]) -> set[str]:
    return {row.id for row in Generation.select(Generation.id).where(Generation.id.in_(generation_ids))}


def _ended(generation_ids: list[str]) -> dict[str, Generation]:
    rows = Generation.select().where(Generation.id.in_(generation_ids) & Generation.status.in_(ENDED))
    return {row.id: row for row in rows}
