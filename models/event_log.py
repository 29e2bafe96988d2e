"""Every Redis key and command of the event log.

    key                    type      content
    events:{<id>}          stream    one generation's events; entry id = event id, fields k (kind) and d (JSON)
    events:{<id>}:live     channel   what was appended: the tail before, then a line `<id> <kind> <json>` an event
    cancel                 channel   ids of generations whose holder should look at the cancel flag now

The log is transport: the row in the database is the truth, and pub/sub only wakes readers.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from models.event import EventId, Frame

#: What a command raises when Redis is away, refuses or is out of memory.
LOG_AWAY = (RedisError, OSError, asyncio.TimeoutError)

#: Commands in one pipeline at most.
PIPELINE_COMMANDS = 256

#: Entries read at a time.
READ_ENTRIES = 1000

CANCEL_CHANNEL = "cancel"

_APPEND = (Path(__file__).parent / "append.lua").read_text()


class Append(NamedTuple):
    """Events for one log, and the tail that it is believed to have (None: there is no log)."""

    generation_id: str
    expected: EventId | None
    frames: Sequence[Frame]
    life_seconds: float
    """How long a log lives that this creates."""
    ended_life_seconds: float | None = None
    """How long it lives from now on, for an append that holds the terminal event."""


def log_key(generation_id: str) -> str:
    return f"events:{{{generation_id}}}"


def channel_name(generation_id: str) -> str:
    return f"events:{{{generation_id}}}:live"


def generation_of_channel(channel: bytes) -> str:
    """The generation id in a channel's name."""
    return channel[len("events:{") : -len("}:live")].decode()


def connect_redis(url: str, *, timeout_seconds: float | None = 5.0, connections: int = 16) -> redis.asyncio.Redis:
    """A client whose commands are not repeated behind our back: who calls knows whether a repetition is safe.

    `timeout_seconds` None is for connections that wait, such as a subscription's. More callers than `connections` wait for one.
    """
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=5.0,
        max_connections=connections,
        timeout=5.0,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    return redis.asyncio.Redis.from_pool(pool)


class EventLog:
    """The logs in one Redis. Calls must not be cancelled by a viewer's or a request's end: let a task of the process own them."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.client = client
        self._sha = ""
        self._kept: list[AbstractConnection] = []
        """The connection that appends go over, while none is under way."""

    async def append(self, appends: Sequence[Append]) -> list[EventId | Exception | None]:
        """Appends in one round trip. For each the tail afterwards, or what went wrong with it.

        An append has succeeded exactly where the tail is its last id; that holds for a repetition after a lost reply, too.
        Raises LOG_AWAY's errors where the whole pipeline failed: then nothing is known of any.
        """
        results: list[EventId | Exception | None] = []
        for start in range(0, len(appends), PIPELINE_COMMANDS):
            results += await self._append(appends[start : start + PIPELINE_COMMANDS])
        return results

    async def append_one(self, append: Append) -> EventId | None:
        """Appends to one log, and returns its tail afterwards. Raises what went wrong."""
        (result,) = await self.append([append])
        if isinstance(result, Exception):
            raise result
        return result

    async def _append(self, appends: Sequence[Append]) -> list[EventId | Exception | None]:
        if not self._sha:
            self._sha = await self.client.script_load(_APPEND)
        replies = await self._evaluate(appends)
        if any(isinstance(reply, NoScriptError) for reply in replies):  # Redis was restarted or flushed: no command ran
            await self.client.script_load(_APPEND)
            replies = await self._evaluate(appends)
        return [reply if isinstance(reply, Exception) else EventId.parse(reply.decode()) for reply in replies]

    async def _evaluate(self, appends: Sequence[Append]) -> list[Any]:
        """A reply or a refusal for each.

        One connection is kept for it: a pipeline of the client's, which takes one and gives it back, costs three times as
        much. Where it broke since the last append, another takes its place: a repetition is safe.
        """
        commands = [("EVALSHA", self._sha, 1, log_key(each.generation_id), *_arguments(each)) for each in appends]
        pool: Any = self.client.connection_pool
        while True:
            kept = self._kept.pop() if self._kept else None
            connection = kept or await pool.get_connection()
            try:
                replies = await _replies(connection, commands)
            except BaseException as error:  # its replies may still come: nobody else must read them
                await connection.disconnect(nowait=True)
                await pool.release(connection)
                if kept is None or not isinstance(error, redis.exceptions.ConnectionError):
                    raise
            else:
                if self._kept:  # another append was quicker
                    await pool.release(connection)
                else:
                    self._kept.append(connection)
                return replies

    async def read(self, generation_id: str, after: EventId | None = None) -> list[Frame]:
        """The events after `after` (None: all) to the tail, in order."""
        frames: list[Frame] = []
        while True:
            start = f"({after}" if after else "-"
            entries: Any = await self.client.xrange(log_key(generation_id), min=start, max="+", count=READ_ENTRIES)
            frames += [_frame(entry_id, fields) for entry_id, fields in entries]
            if len(entries) < READ_ENTRIES:
                return frames
            after = frames[-1].id

    async def tails(self, generation_ids: Sequence[str]) -> list[EventId | None]:
        """The last event's id of each log in one round trip, None where there is no log."""
        pipeline = self.client.pipeline(transaction=False)
        for each in generation_ids:
            pipeline.xrevrange(log_key(each), count=1)
        return [EventId.parse(entries[0][0].decode()) if entries else None for entries in await pipeline.execute()]

    async def delete(self, *generation_ids: str) -> None:
        """Erases logs in one round trip, a command each."""
        pipeline = self.client.pipeline(transaction=False)
        for each in generation_ids:
            pipeline.delete(log_key(each))
        await pipeline.execute()

    async def listeners(self, generation_id: str) -> int:
        """How many processes watch the generation."""
        ((_, count),) = await self.client.pubsub_numsub(channel_name(generation_id))
        return int(count)

    async def nudge_cancel(self, generation_id: str) -> None:
        """Tells the holder to look at the cancel flag now rather than at its next renewal."""
        await self.client.publish(CANCEL_CHANNEL, generation_id)


async def _replies(connection: AbstractConnection, commands: Sequence[Sequence[Any]]) -> list[Any]:
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response())
        except ResponseError as error:
            replies.append(error)
    return replies


def _arguments(each: Append) -> list[str | bytes | int]:
    ended = "" if each.ended_life_seconds is None else int(each.ended_life_seconds * 1000)
    found: list[str | bytes | int] = [
        channel_name(each.generation_id),
        str(each.expected or ""),
        max(1, int(each.life_seconds * 1000)),
        ended,
    ]
    for frame in each.frames:
        found += (str(frame.id), frame.kind, frame.data)
    return found


def _frame(entry_id: bytes, fields: dict[bytes, bytes]) -> Frame:
    found = EventId.parse(entry_id.decode())
    assert found is not None
    return Frame(found, fields[b"k"].decode(), fields[b"d"])


def parse_published(payload: bytes) -> tuple[EventId | None, list[Frame]]:
    """The tail before and the events of one message on a log's channel. JSON holds no raw line break, so lines are safe."""
    before, *lines = payload.split(b"\n")
    frames = []
    for line in lines:
        entry_id, kind, data = line.split(b" ", 2)
        found = EventId.parse(entry_id.decode())
        assert found is not None
        frames.append(Frame(found, kind.decode(), data))
    return EventId.parse(before.decode()), frames
