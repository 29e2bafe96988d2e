"""Finds what was left behind, in every web and worker process: unclaimed, past its deadline, without a worker, unpublished.

Each step is one conditional statement, so that any number of sweepers do no harm; a row in the database lets one at a time work.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from peewee import Case
from redis.exceptions import ResponseError

from models.database import database, keep_clock, now, read_now
from models.database_threads import DatabaseThreads
from models.dispatch import WAITS, take_next
from models.ending import Ending, end_unheld, is_unsaid, mark_published
from models.errors import DeadlineExceeded, GenerationFailure, Unavailable, WorkerCrashed
from models.event import Usage
from models.event_log import LOG_AWAY, EventLog, connect_redis
from models.generation import ENDED, IS_OPEN, Generation, Status
from models.host_claim import claim_host
from models.identifiers import random_name
from models.ownership import put_back
from models.periodic import claim_turn
from models.provider_call import end_lost_calls
from models.settings import Settings
from models.transcript import Transcript, transcript_of_row, transcript_of_run
from tasks.broker import Queue
from tasks.estimate import estimate
from tasks.maintenance import Maintenance
from tasks.repair import complete_log

logger = logging.getLogger(__name__)

#: Rows that one sweep takes of each kind.
BATCH = 500

#: The longest pause between two enqueues of one unclaimed generation, in seconds.
MAX_BACKOFF_SECONDS = 300


class Sweeper(threading.Thread):
    """A thread with an event loop and a Redis connection of its own; its statements run in the thread itself."""

    def __init__(
        self,
        settings: Settings,
        threads: DatabaseThreads,
        queue: Queue,
        redis_url: str,
    ) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._settings = settings
        self._threads = threads
        self._queue = queue
        self._redis_url = redis_url
        self._owner = random_name("sweeper")
        self._maintenance = Maintenance(settings, threads, self._owner)
        self._log_away_until = 0.0
        """Until when (time.monotonic()) a Redis that was away is not waited for again, row after row."""
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ends the thread after the sweep under way; `join` waits for it."""
        self._stopping.set()

    def run(self) -> None:
        asyncio.run(self._sweep_forever())

    async def _sweep_forever(self) -> None:
        client = connect_redis(self._redis_url, connections=2)
        log = EventLog(client)
        try:
            while not self._stopping.wait(self._settings.sweep_seconds):
                try:
                    await self._take_turns(log)
                except Unavailable as error:
                    logger.warning("nothing was swept: %s", error.message)
                except Exception:
                    logger.exception("a sweep broke off")
        finally:
            await client.aclose()
            database.close()

    async def _take_turns(self, log: EventLog) -> None:
        """Recovering has a turn of its own: a process that may not judge leases yet must not take it from one that may."""
        self._threads.call(keep_clock)
        period = self._settings.sweep_seconds * 0.9
        healthy = self._threads.health.healthy_seconds() >= self._settings.lease_seconds
        if healthy and self._threads.call(claim_turn, "recover", self._owner, period):
            await self.recover(log)
        if self._threads.call(claim_turn, "sweep", self._owner, period):
            self._threads.call(claim_host)
            await self.sweep(log)
        await self._maintenance.take_turns(log)

    async def recover(self, log: EventLog) -> None:
        """Takes up what lost its worker. Raises Unavailable where the database or the queue is away."""
        await self._each(_lost, self._recover, log)

    async def sweep(self, log: EventLog) -> None:
        """One look at everything else. Raises Unavailable where the database or the queue is away."""
        await self._each(_queued_in_vain, self._end_queued, log)
        await self._each(lambda: _unpublished(self._settings), self._publish, log)
        for generation_id in self._threads.call(take_next, self._settings):
            self._queue.enqueue(generation_id)
        self._enqueue_waiting()

    async def _each(
        self,
        find: Callable[[], list[Generation]],
        work: Callable[[Generation, EventLog], Awaitable[None]],
        log: EventLog,
    ) -> None:
        """Does `work` on every row. One that it can't be done on does not hold up the others."""
        for row in self._threads.call(find):
            try:
                await work(row, log)
            except Unavailable:
                raise
            except Exception:
                logger.exception("generation %s could not be swept", row.id)

    # What must end

    async def _end_queued(self, row: Generation, log: EventLog) -> None:
        """Ends what waits for a run that may not begin any more. What a run before has said is kept."""
        partial = await self._partial(row, log) if row.run else Transcript()
        if partial is not None:
            await self._end_late(row, partial, log)

    async def _end_late(self, row: Generation, partial: Transcript, log: EventLog) -> None:
        """Ends what is cancelled or past its deadline."""
        usage = self._settle(row, partial)
        if row.cancel_requested_at is not None:
            ending = _cancelled(usage)
        else:
            ending = _incomplete("limit", usage) if partial else _failed(DeadlineExceeded())
        await self._end_with(row, ending, partial, log)

    async def _recover(self, row: Generation, log: EventLog) -> None:
        """A lost worker's generation runs again, unless it may not, its crashes are used up or its text is to be kept."""
        over = row.cancel_requested_at is not None or row.deadline_at <= self._threads.call(read_now)
        usable = not over and row.crashes + 1 < row.max_crashes
        partial = await self._partial(row, log)
        if usable and row.on_worker_lost == "restart":
            self._run_again(row, transcript_of_row(row) if partial is None else partial)
        elif partial is None:
            return
        elif over:
            await self._end_late(row, partial, log)
        elif partial and row.on_worker_lost == "keep_partial":
            await self._end_with(row, _incomplete("interrupted", self._settle(row, partial)), partial, log)
        elif usable:
            self._run_again(row, partial)
        else:
            await self._end_with(row, _failed(WorkerCrashed(), self._settle(row, partial)), partial, log)

    def _run_again(self, row: Generation, partial: Transcript) -> None:
        if self._threads.call(put_back, row.id, row.run, self._settings.reenqueue_seconds):
            logger.info("generation %s lost its worker in run %d and is queued again", row.id, row.run)
            self._settle(row, partial)
            self._queue.enqueue(row.id)

    def _settle(self, row: Generation, partial: Transcript) -> Usage | None:
        """Settles the lost worker's calls by what reached the log, and returns what the last of them used."""
        usage = estimate(row.sent.tokens, partial.text + partial.reasoning, row.model) if row.sent else None
        self._threads.call(end_lost_calls, row.id, row.run, usage)
        return usage

    async def _partial(self, row: Generation, log: EventLog) -> Transcript | None:
        """The text of the row's run: the longer of the checkpoint and the log's. None: Redis is away, look again later."""
        if time.monotonic() < self._log_away_until:
            return None
        try:
            logged = transcript_of_run(await log.read(row.id), row.run)
        except LOG_AWAY as error:
            self._note_log_away(error)
            return None
        except Exception:
            logger.exception("the log of generation %s can't be read: it counts as gone", row.id)
            return transcript_of_row(row)
        return logged if len(logged.text) >= len(row.text) else transcript_of_row(row)

    def _note_log_away(self, error: Exception) -> None:
        """A refusal is about one log; anything else about all of them."""
        if not isinstance(error, ResponseError):
            self._log_away_until = time.monotonic() + self._settings.sweep_seconds / 2

    async def _end_with(self, row: Generation, ending: Ending, partial: Transcript, log: EventLog) -> None:
        ended = self._threads.call(
            end_unheld,
            row,
            ending,
            text=partial.text,
            reasoning=partial.reasoning,
            tool_calls=partial.tool_calls_json(),
        )
        if ended is not None:
            await self._publish(ended, log)

    # What must start

    def _enqueue_waiting(self) -> None:
        """Enqueues again what nobody has claimed, ever more rarely, and only while the queue is shorter than what waits."""
        room = self._threads.call(_count_waiting) - self._queue.length()
        if room <= 0:
            return
        for generation_id in self._threads.call(_take_due, min(room, BATCH), self._settings.reenqueue_seconds):
            self._queue.enqueue(generation_id)

    # What must be said

    async def _publish(self, row: Generation, log: EventLog) -> None:
        """Completes the log of an ended generation."""
        if time.monotonic() < self._log_away_until:
            return

        async def confirm() -> bool:
            return self._threads.call(is_unsaid, row.id)

        try:
            (tail,) = await log.tails([row.id])
            if await complete_log(row, tail, log.append_one, confirm):
                self._threads.call(mark_published, row.id)
        except LOG_AWAY as error:
            self._note_log_away(error)
            logger.warning("terminal events still wait (%s)", type(error).__name__)


def _cancelled(usage: Usage | None = None) -> Ending:
    return Ending(status=Status.CANCELLED, finish_reason="cancelled", usage=usage)


def _incomplete(reason: str, usage: Usage | None) -> Ending:
    return Ending(status=Status.INCOMPLETE, finish_reason=reason, usage=usage)


def _failed(failure: GenerationFailure, usage: Usage | None = None) -> Ending:
    return Ending(status=Status.ERROR, failure=failure, usage=usage)


def _queued() -> Any:
    return IS_OPEN & (Generation.status == Status.QUEUED)


def _queued_in_vain() -> list[Generation]:
    """What waits for a worker that may not start it any more."""
    over = Generation.cancel_requested_at.is_null(False) | (Generation.deadline_at <= now())
    return list(Generation.select().where(_queued() & over).limit(BATCH))


def _lost() -> list[Generation]:
    """What runs with an expired lease."""
    expired = (Generation.status == Status.RUNNING) & (Generation.lease_until < now())
    return list(Generation.select().where(IS_OPEN & expired).limit(BATCH))


def _count_waiting() -> int:
    return Generation.select().where(_queued() & (Generation.enqueue_at < WAITS)).count()


def _take_due(limit: int, first_seconds: float) -> list[str]:
    """Marks as enqueued, oldest first, what is due, and returns the ids. The pause doubles with each time."""
    due = (
        Generation.select(Generation.id)
        .where(_queued() & (Generation.enqueue_at <= now()))
        .order_by(Generation.created_at)
        .limit(limit)
    )
    steps = [(Generation.enqueues == step, min(first_seconds * 2**step, MAX_BACKOFF_SECONDS)) for step in range(8)]
    rows = (
        Generation.update(enqueue_at=now() + Case(None, steps, MAX_BACKOFF_SECONDS), enqueues=Generation.enqueues + 1)
        .where(Generation.id.in_(due) & (Generation.status == Status.QUEUED) & (Generation.enqueue_at <= now()))
        .returning(Generation.id)
        .tuples()
        .execute()
    )
    return [row[0] for row in rows]


def _unpublished(settings: Settings) -> list[Generation]:
    """Ended a moment ago at least (its holder publishes first), and not so long ago that its log would be over."""
    return list(
        Generation.select()
        .where(
            Generation.status.in_(ENDED)
            & ~Generation.terminal_published
            & Generation.terminal_id.is_null(False)
            & (Generation.finished_at <= now() - min(1.0, settings.sweep_seconds))
            & (Generation.finished_at > now() - Generation.retention_seconds)
        )
        .limit(BATCH)
    )
