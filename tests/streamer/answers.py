"""A worker played by hand: one generation's row and its log, a step at a time, each when the test wants it."""

import asyncio

from models import admission
from models.database_threads import DatabaseThreads
from models.ending import Ending, finish, terminal_event
from models.event import EventId, Frame, Kind, Started, Text, Usage, encode
from models.event_log import Append, EventLog, log_key
from models.generation import Generation, Status, find
from models.ownership import claim
from models.route import Route
from models.settings import Settings
from models.tenant import first_tenant

USAGE = Usage(input=11, output=3)


def post(settings: Settings, visitor: str = "u1", message: str = "hello") -> Generation:
    """A queued generation of the first tenant."""
    route = Route(model="demo:echo")
    request = admission.Request(
        tenant_id=int(first_tenant().get_id()),  # type: ignore[no-untyped-call]
        visitor=visitor,
        conversation=None,
        message=message,
        route_name="chat",
        route=route,
        idempotency_key=None,
        body_hash="",
    )
    return admission.admit(request, settings).generation


class Answer:
    """One generation and its worker. `text` is what was said in the run so far."""

    def __init__(self, row: Generation, threads: DatabaseThreads, log: EventLog) -> None:
        self.id: str = row.id
        self.text = ""
        self.last = EventId(0, 0)
        self._threads = threads
        self._log = log
        self._expected: EventId | None = None
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    async def queued(cls, settings: Settings, threads: DatabaseThreads, log: EventLog, visitor: str = "u1") -> "Answer":
        """A generation that nobody has begun."""
        return cls(await threads.run(post, settings, visitor), threads, log)

    @classmethod
    async def begun(cls, settings: Settings, threads: DatabaseThreads, log: EventLog, visitor: str = "u1") -> "Answer":
        """A generation in its first run, which has said nothing yet."""
        answer = await cls.queued(settings, threads, log, visitor)
        await answer.begin()
        return answer

    async def begin(self) -> None:
        """Claims it, and says that a run has started."""
        row = await self._threads.run(claim, self.id, "w", 60.0, judge_leases=True)
        assert row is not None
        self.last, self.text = EventId(row.run, -1), ""
        started = Started(run=row.run, provider=row.provider, model=row.model)
        await self._append([self._next(Kind.STARTED, encode(started))])

    async def say(self, *texts: str, published: bool = True) -> None:
        """A delta for each text, in one append; without `published` only the log has them."""
        async with self._one_at_a_time:
            frames = [self._next(Kind.DELTA, encode(Text(text=text))) for text in texts]
            self.text += "".join(texts)
            await self._append(frames, published=published)

    async def finish(self, *, logged: bool = True, published: bool = True, status: Status = Status.DONE) -> Generation:
        """Stores the end, and says so in the log, if `logged`."""
        terminal = EventId(self.last.run, self.last.seq + 1)
        ending = Ending(status=status, finish_reason="stop", usage=USAGE)
        row = await self._threads.run(
            finish, self.id, self.last.run, ending, terminal=terminal, text=self.text, reasoning="", tool_calls=None
        )
        assert row is not None
        self.last = terminal
        if logged:
            await self._append([terminal_event(row)], published=published)
        return row

    async def begun_and_finished(self, text: str = "answer", status: Status = Status.DONE) -> "Answer":
        """From the queue to the end at once."""
        await self.begin()
        await self.say(text)
        await self.finish(status=status)
        return self

    async def row(self) -> Generation:
        row = await self._threads.run(find, self.id)
        assert row is not None
        return row

    async def lose_log(self) -> None:
        """What a Redis without its data does."""
        await self._log.delete(self.id)
        self._expected = None

    def _next(self, kind: Kind, data: bytes) -> Frame:
        self.last = EventId(self.last.run, self.last.seq + 1)
        return Frame(self.last, kind, data)

    async def _append(self, frames: list[Frame], *, published: bool = True) -> None:
        if published:
            (tail,) = await self._log.append([Append(self.id, self._expected, frames, 600.0)])
            assert tail == frames[-1].id, tail
        else:
            for frame in frames:
                fields = {"k": frame.kind, "d": frame.data}
                await self._log.client.xadd(log_key(self.id), fields, id=str(frame.id))  # type: ignore[arg-type]
        self._expected = frames[-1].id
