"""The actor: claim → stream, or say an earlier answer again → publish → finish."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from models.database import read_now
from models.database_threads import DatabaseThreads
from models.ending import Ending, finish, is_unsaid, mark_published
from models.errors import (
    DeadlineExceeded,
    InternalFailure,
    PersistFailed,
    ProviderAnswerTooLong,
    ProviderFailure,
    Unavailable,
)
from models.event import EventId
from models.event_log import LOG_AWAY
from models.generation import Generation, Status
from models.kill_point import reach
from models.ownership import claim, give_back, restart_run, still_holds
from models.route import Route
from models.settings import Settings
from tasks.answer_cache import AnswerCache
from tasks.attempts import Attempts
from tasks.breaker import Breaker
from tasks.holdings import Holding, Holdings, Stop
from tasks.log_writer import LogWriter
from tasks.providers.registry import Registry
from tasks.publisher import Publisher, RunLost
from tasks.repair import complete_log
from tasks.run import Outcome

logger = logging.getLogger(__name__)

#: Seconds between two attempts to store an ending while the database is away.
FINISH_RETRY_SECONDS = 0.5


class Generator:
    """Works on one generation after another, many at a time, in one event loop."""

    def __init__(
        self,
        settings: Settings,
        threads: DatabaseThreads,
        routes: Mapping[str, Route],
        registry: Registry,
        holdings: Holdings,
        writer: LogWriter,
        cache: AnswerCache,
        breaker: Breaker,
    ) -> None:
        self._settings = settings
        self._threads = threads
        self._holdings = holdings
        self._writer = writer
        self._attempts = Attempts(settings, threads, routes, registry, cache, breaker)
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def wait_idle(self) -> None:
        """Returns when nothing is under way, not even a claim."""
        await self._idle.wait()

    async def generate(self, generation_id: str) -> None:
        """Claims the generation and brings it to an end, or leaves it to who owns it."""
        self._under_way += 1
        self._idle.clear()
        try:
            await self._generate(generation_id)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _generate(self, generation_id: str) -> None:
        if self._holdings.stopping:  # a sweeper sends it to another worker
            return
        reach("before_claim", self._settings)
        healthy = self._threads.health.healthy_seconds() >= self._settings.lease_seconds
        row = await self._threads.run(
            claim, generation_id, self._holdings.worker, self._settings.lease_seconds, judge_leases=healthy
        )
        if row is None:
            return
        reach("after_claim", self._settings, row.message)
        with self._holdings.hold(row) as holding, contextlib.suppress(RunLost):
            await self._run(row, holding, "restarted" if row.run > 1 else None)

    async def _run(self, row: Generation, holding: Holding, reason: str | None) -> None:
        """One run, and the next where the provider broke off and the route wants to start again."""
        publisher = Publisher(
            row, self._writer, self._settings, lambda: self._threads.run(still_holds, row.id, row.run)
        )
        holding.run, holding.publisher = row.run, publisher
        self._attempts.choose_first(row)
        publisher.start(row.provider, row.model, reason)
        try:
            outcome = await self._attempts.answer(row, publisher, holding)
            restarted = await self._restarted(row, holding, outcome, publisher)
            if restarted is None:
                await self._end(row, holding, publisher, outcome)
        finally:
            with contextlib.suppress(RunLost):
                await publisher.stop()
        if restarted is not None:
            await self._run(restarted, holding, "provider_broken")

    async def _restarted(
        self, row: Generation, holding: Holding, outcome: Outcome, publisher: Publisher
    ) -> Generation | None:
        """The next run's row, where the provider broke off after its first text and the route wants the answer anew."""
        failure = outcome.failure
        limited = isinstance(failure, ProviderAnswerTooLong)
        broke = isinstance(failure, ProviderFailure) and not limited and bool(publisher.transcript)
        if not broke or row.on_provider_broken != "restart":
            return None
        with holding.next_run() as move_to:
            restarted = await self._threads.run(restart_run, row.id, row.run, self._settings.lease_seconds)
            if restarted is not None:
                move_to(restarted.run)
        return restarted

    # The end

    async def _end(self, row: Generation, holding: Holding, publisher: Publisher, outcome: Outcome) -> None:
        if outcome.stop is Stop.LOST:
            return
        if outcome.stop is Stop.DRAINING and (row.on_worker_lost == "restart" or not publisher.transcript):
            await self._threads.run(give_back, row.id, row.run)
            return
        complete = await publisher.complete(self._settings.finish_flush_seconds)
        reach("before_finish", self._settings)
        holding.frozen = True
        terminal = EventId(row.run, publisher.last.seq + (1 if complete else 2))
        ended = await self._finish(row, publisher, _ending(outcome, publisher), terminal)
        if ended is not None:
            reach("after_finish", self._settings)
            await self._publish_end(ended, publisher)

    async def _finish(
        self, row: Generation, publisher: Publisher, ending: Ending, terminal: EventId
    ) -> Generation | None:
        """Stores the end, however often it takes: nothing is said before the commit.

        Past the deadline it is `persist_failed`, even of a whole answer, whose text is kept: an end was promised by then.
        """
        transcript = publisher.transcript
        while True:
            try:
                return await self._threads.run(
                    finish,
                    row.id,
                    row.run,
                    ending,
                    terminal=terminal,
                    text=transcript.text,
                    reasoning=transcript.reasoning,
                    tool_calls=transcript.tool_calls_json(),
                )
            except Unavailable:
                logger.warning("the database is away: an answer waits to be stored")
                if read_now() > row.deadline_at:
                    ending = Ending(status=Status.ERROR, failure=PersistFailed(), usage=ending.usage)
                await asyncio.sleep(FINISH_RETRY_SECONDS)

    async def _publish_end(self, ended: Generation, publisher: Publisher) -> None:
        """The terminal event, from the committed row. Where Redis is away, a sweeper does it later."""

        async def confirm() -> bool:
            return await self._threads.run(is_unsaid, ended.id)

        try:
            if await complete_log(ended, publisher.tail, self._writer.append, confirm):
                await self._threads.run(mark_published, ended.id)
        except (*LOG_AWAY, Unavailable) as error:
            logger.warning("a terminal event waits for the sweeper (%s)", type(error).__name__)


def _ending(outcome: Outcome, publisher: Publisher) -> Ending:
    """The terminal state that an outcome means, given the text so far."""
    usage = outcome.usage
    if outcome.finish_reason:
        return Ending(status=Status.DONE, finish_reason=outcome.finish_reason, usage=usage, reused=outcome.reused)
    if outcome.stop is Stop.CANCELLED:
        return Ending(status=Status.CANCELLED, finish_reason="cancelled", usage=usage)
    failure = outcome.failure
    if publisher.transcript and isinstance(failure, DeadlineExceeded | ProviderAnswerTooLong):
        return Ending(status=Status.INCOMPLETE, finish_reason="limit", usage=usage)
    if publisher.transcript and (failure is None or isinstance(failure, ProviderFailure)):
        return Ending(status=Status.INCOMPLETE, finish_reason="interrupted", usage=usage)
    return Ending(status=Status.ERROR, failure=failure or InternalFailure(), usage=usage)
