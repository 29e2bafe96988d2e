"""Who takes part. Whatever an actor asks of Redis or the database waits at its gate, until the world executes it and answers.

Between execution and answer anything may happen; the answer may be lost, or the execution never take place. A prompt actor
is served at once, a stalled one only step by step.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import redis
from redis.exceptions import ConnectionError as RedisAway

from models.database_threads import DatabaseHealth, DatabaseThreads
from models.errors import Unavailable
from models.event_log import EventLog

R = TypeVar("R")

#: Kinds of calls that change nothing of the protocol: they don't wait.
UNGATED = frozenset({"turns_before", "begin_call", "end_call", "forget_worker"})


@dataclass
class Call:
    """Something asked of Redis or the database."""

    kind: str
    work: Callable[[], Any]
    answer: asyncio.Future[Any]
    to_redis: bool
    commands: list[tuple[Any, ...]] = field(default_factory=list)
    """What is asked in detail: the commands of an append, the arguments of a piece of database work."""
    executed: bool = False
    result: Any = None
    error: Exception | None = None

    @property
    def lost(self) -> Exception:
        """What the caller hears when no answer comes."""
        return RedisAway("no answer") if self.to_redis else Unavailable("No answer.")


class Actor:
    """A process: its tasks, its calls in their order, and the one fault that is armed against it."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.loop = loop
        self.calls: list[Call] = []
        self.stalled = False
        self.dead = False
        self.armed: tuple[str, str] | None = None
        """(kind of call, what happens at it)"""
        self.tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.dead:
            self.loop.call_exception_handler({"message": f"{self.name} broke off", "exception": error})

    async def ask(
        self, kind: str, work: Callable[[], R], *, to_redis: bool, commands: Iterable[tuple[Any, ...]] = ()
    ) -> R:
        """Waits at the gate, then for the answer."""
        if self.dead:
            raise asyncio.CancelledError
        call = Call(kind, work, self.loop.create_future(), to_redis, list(commands))
        self.calls.append(call)
        try:
            found: R = await call.answer
            return found
        finally:
            if call in self.calls:
                self.calls.remove(call)


class AlwaysHealthy(DatabaseHealth):
    """Leases may be judged at any time."""

    def healthy_seconds(self) -> float:
        return 1e9


class GatedThreads(DatabaseThreads):
    """Database work in the one thread there is, each piece behind the actor's gate."""

    def __init__(self, actor: Actor) -> None:
        self.health = AlwaysHealthy()
        self._actor = actor

    async def run(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        kind = work.__name__
        if kind in UNGATED:
            return self.call(work, *args, **kwargs)
        call = lambda: self.call(work, *args, **kwargs)  # noqa: E731
        return await self._actor.ask(kind, call, to_redis=False, commands=[args])

    def close(self) -> None:
        pass


class GatedRedis:
    """What `EventLog` uses of a client: asynchronous outside, behind the actor's gate, one blocking client inside."""

    def __init__(self, actor: Actor, client: redis.Redis) -> None:
        self._actor = actor
        self._client = client

    @property
    def connection_pool(self) -> "_Pool":
        """Where connections for appends come from."""
        return _Pool(self._actor, self._client)

    def pipeline(self, transaction: bool) -> "_Pipeline":
        return _Pipeline(self._actor, self._client)

    async def script_load(self, script: str) -> Any:
        return self._client.script_load(script)

    async def xrange(self, name: str, **arguments: Any) -> Any:
        return await self._actor.ask("read", lambda: self._client.xrange(name, **arguments), to_redis=True)


class _Pool:
    def __init__(self, actor: Actor, client: redis.Redis) -> None:
        self._actor = actor
        self._client = client

    async def get_connection(self) -> "_Connection":
        return _Connection(self._actor, self._client)

    async def release(self, connection: "_Connection") -> None:
        """Nothing is kept of it."""


class _Connection:
    """The commands of one append go and come as one call."""

    def __init__(self, actor: Actor, client: redis.Redis) -> None:
        self._actor = actor
        self._client = client
        self._replies: list[Any] = []

    def pack_commands(self, commands: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
        return commands

    async def send_packed_command(self, commands: Sequence[Sequence[Any]], check_health: bool) -> None:
        pipeline = self._client.pipeline(transaction=False)
        sent = [tuple(command[1:]) for command in commands]
        for arguments in sent:
            pipeline.evalsha(*arguments)
        work = lambda: pipeline.execute(raise_on_error=False)  # noqa: E731
        self._replies = list(await self._actor.ask("append", work, to_redis=True, commands=sent))

    async def read_response(self) -> Any:
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def disconnect(self, nowait: bool) -> None:
        self._replies.clear()


class _Pipeline:
    def __init__(self, actor: Actor, client: redis.Redis) -> None:
        self._actor = actor
        self._pipeline = client.pipeline(transaction=False)

    def xrevrange(self, name: str, *, count: int) -> None:
        self._pipeline.xrevrange(name, count=count)

    async def execute(self) -> Any:
        return await self._actor.ask("tails", self._pipeline.execute, to_redis=True)


def gated_log(actor: Actor, client: redis.Redis) -> EventLog:
    gated: Any = GatedRedis(actor, client)
    return EventLog(gated)
