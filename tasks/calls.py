"""A provider call with its line in the ledger: begun before it starts, settled whatever became of it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from models.database import read_now
from models.database_threads import DatabaseThreads
from models.errors import TooManyCalls, Unavailable
from models.generation import Generation
from models.ownership import still_holds
from models.provider_call import begin_call, end_call
from models.settings import Settings
from tasks.breaker import Breaker, Permit
from tasks.estimate import estimate
from tasks.history import Told
from tasks.holdings import Holding, Stop
from tasks.providers.base import Provider
from tasks.publisher import Publisher, RunLost
from tasks.run import Call, Outcome, stream_call

logger = logging.getLogger(__name__)

#: Seconds between two attempts to settle a call while the database is away.
SETTLE_RETRY_SECONDS = 0.5


class Calls:
    """Makes the calls of one worker process."""

    def __init__(self, settings: Settings, threads: DatabaseThreads, breaker: Breaker) -> None:
        self._settings = settings
        self._threads = threads
        self._breaker = breaker
        self._settling: set[asyncio.Task[None]] = set()

    async def make(
        self,
        row: Generation,
        told: Told,
        input_hash: str | None,
        provider: Provider,
        publisher: Publisher,
        holding: Holding,
        permit: Permit,
    ) -> Outcome:
        """One call to the row's model, to its end. Raises TooManyCalls and RunLost before it starts."""
        outcome, came = Outcome(stop=Stop.LOST), False
        try:
            number = await self._begin(row, told, input_hash)
            call = Call(
                publisher,
                self._settings.max_answer_bytes,
                lambda: self._breaker.note_text(row.provider, row.model, permit),
            )
            try:
                seconds_left = row.deadline_at - read_now()
                outcome = await stream_call(call, holding, provider, told.request, seconds_left)
            finally:
                came = call.came
                publisher.number_text()
                if outcome.usage is None:
                    answered = publisher.transcript.text + publisher.transcript.reasoning
                    outcome.usage = await asyncio.to_thread(estimate, told.sent.tokens, answered, row.model)
                await self._settle(row.id, number, outcome)
        finally:
            await self._breaker.leave(row.provider, row.model, permit, outcome.failure, came=came)
        return outcome

    async def _begin(self, row: Generation, told: Told, input_hash: str | None) -> int:
        """The number of the call that may start now."""
        call = (row.id, row.run, row.provider, row.model, told.sent, input_hash)
        number = await self._threads.run(begin_call, *call)
        if number is None:
            if not await self._threads.run(still_holds, row.id, row.run):
                raise RunLost
            raise TooManyCalls
        row.calls = number
        return number

    async def _settle(self, generation_id: str, number: int, outcome: Outcome) -> None:
        failure = outcome.failure
        word = "done" if outcome.finish_reason else "cancelled" if outcome.stop else "error"
        code = failure.code if failure else None

        async def settle() -> None:
            await self._threads.run(end_call, generation_id, number, word, code, outcome.usage)

        try:
            await settle()
        except Unavailable:
            logger.warning("the database is away: a provider call is settled when it is back")
            later = asyncio.create_task(_until_available(settle))
            self._settling.add(later)
            later.add_done_callback(self._settling.discard)


async def _until_available(work: Callable[[], Awaitable[None]]) -> None:
    """Does `work` once the database is there."""
    while True:
        try:
            return await work()
        except Unavailable:
            await asyncio.sleep(SETTLE_RETRY_SECONDS)
