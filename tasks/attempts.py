"""What is tried until the first text comes: each model of a route a few times, then the next. After it, nothing here."""

import asyncio
import dataclasses
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass

from models.answer_cache import find_answer
from models.database import read_now
from models.database_threads import DatabaseThreads
from models.ending import Reused
from models.errors import (
    GenerationFailure,
    InternalFailure,
    ProviderAuthFailed,
    ProviderFailure,
    ProviderOverloaded,
    ProviderQuotaExhausted,
    ProviderRefusedRequest,
    RouteUnknown,
    SettingInvalid,
)
from models.event import Kind, Switched, Waiting
from models.generation import Generation
from models.route import Route
from models.settings import Settings
from models.turn import turns_before
from tasks.answer_cache import NO_USAGE, AnswerCache, say_again
from tasks.breaker import Breaker, Permit
from tasks.calls import Calls
from tasks.history import Told, max_input_tokens, takes_no_time, tell
from tasks.holdings import Holding
from tasks.providers.registry import Registry
from tasks.publisher import Publisher
from tasks.run import Outcome, pause
from tasks.tokenizer import MAX_TOKEN_BYTES

logger = logging.getLogger(__name__)

#: What stays as it is however often it is tried, whatever the provider says about trying.
FINAL = (ProviderQuotaExhausted, ProviderAuthFailed, ProviderRefusedRequest)


@dataclass(slots=True)
class Asked:
    """A run at work: `row` in memory names the model that is being asked."""

    row: Generation
    route: Route
    told: Told
    publisher: Publisher
    holding: Holding


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a run since its claim: what its model is told, the request's name, and an earlier answer to it."""

    told: Told
    input_hash: str | None
    earlier: Generation | None


class Attempts:
    """Brings one run's answer: by the first choice, by a fallback, or from an earlier answer."""

    def __init__(
        self,
        settings: Settings,
        threads: DatabaseThreads,
        routes: Mapping[str, Route],
        registry: Registry,
        cache: AnswerCache,
        breaker: Breaker,
    ) -> None:
        self._settings = settings
        self._threads = threads
        self._routes = routes
        self._registry = registry
        self._cache = cache
        self._breaker = breaker
        self._calls = Calls(settings, threads, breaker)

    def choose_first(self, row: Generation) -> None:
        """Makes the row in memory name who is asked first: the run before may have ended with a fallback.

        A server may have asked for a fallback by its name; that stays.
        """
        route = self._routes.get(row.route)
        if route is not None and row.run > 1 and row.request is None:
            row.provider, row.model = route.first_choice(row.provider, row.model)

    def look(self, row: Generation) -> Look | None:
        """What can be found out in the thread of the claim; None where it takes more than a moment, or another statement.

        That saves a first run some turns between threads, each of which takes as long as the statement itself.
        """
        route = self._routes.get(row.route)
        if route is None or row.run > 1 or not _is_alone(row, route) or not takes_no_time(row, route, ()):
            return None
        told = tell(row, route, (), max_input_tokens(route, self._settings))
        input_hash = self._cache.input_hash(row, route, told.request)
        return Look(told, input_hash, self._find(row, route, input_hash))

    async def answer(
        self, row: Generation, publisher: Publisher, holding: Holding, look: Look | None = None
    ) -> Outcome:
        """How the run's last call came to its end, or what kept it from starting."""
        try:
            self._registry.provider(row.provider)
            route = self._route(row)
            told = await self._tell(row, route) if look is None else look.told
            asked = Asked(row, route, told, publisher, holding)
            fallbacks = route.fallbacks_of(row.provider, row.model)
            outcome = await self._ask(asked, look)
            for provider, model in fallbacks:
                if not self._may_go_on(asked, outcome):
                    break
                if holding.stop is not None:
                    return Outcome(stop=holding.stop)
                _switch(asked, provider, model, outcome)
                outcome = await self._ask(asked)
        except SettingInvalid as error:
            logger.error("%s", error)
            return Outcome(failure=InternalFailure("The service's settings do not allow this request."))
        except GenerationFailure as failure:
            return Outcome(failure=failure)
        return outcome

    def _route(self, row: Generation) -> Route:
        route = self._routes.get(row.route)
        if route is None:
            raise RouteUnknown
        return route

    async def _tell(self, row: Generation, route: Route) -> Told:
        """What the model is told; counting much takes a thread that no statement waits for."""
        limit = max_input_tokens(route, self._settings)
        turns = [] if _is_alone(row, route) else await self._threads.run(turns_before, row, limit * MAX_TOKEN_BYTES)
        if takes_no_time(row, route, turns):
            return tell(row, route, turns, limit)
        return await asyncio.to_thread(tell, row, route, turns, limit)

    # One model

    async def _ask(self, asked: Asked, look: Look | None = None) -> Outcome:
        """Asks the row's model, until it answers or is given up. Raises TooManyCalls, SettingInvalid and RunLost."""
        row = asked.row
        if look is None:
            input_hash = self._cache.input_hash(row, asked.route, asked.told.request)
            earlier = await self._threads.run(self._find, row, asked.route, input_hash) if input_hash else None
        else:
            input_hash, earlier = look.input_hash, look.earlier
        if earlier is not None:
            return _reused(earlier, asked)
        attempt = 1
        while True:
            outcome = await self._attempt(asked, input_hash)
            seconds = self._pause_seconds(asked, outcome, attempt)
            if seconds is None or outcome.failure is None:
                return outcome
            asked.publisher.event(Kind.WAITING, Waiting(reason=outcome.failure.code, retry_after=round(seconds, 3)))
            if stop := await pause(asked.publisher, asked.holding, seconds):
                return Outcome(stop=stop)
            attempt += 1

    def _find(self, row: Generation, route: Route, input_hash: str | None) -> Generation | None:
        """An answer to the same request that may serve again."""
        if input_hash is None or row.bypass_cache:
            return None
        return find_answer(row, input_hash, self._cache.seconds(route))

    async def _attempt(self, asked: Asked, input_hash: str | None) -> Outcome:
        """One call, unless the model is to be left in peace."""
        row = asked.row
        provider = self._registry.provider(row.provider)
        permit = await self._breaker.enter(row.provider, row.model)
        if permit is Permit.REFUSED:
            refusal = ProviderOverloaded("The provider keeps failing, and is not asked for a while.")
            refusal.should_retry = False
            return Outcome(failure=refusal)
        return await self._calls.make(row, asked.told, input_hash, provider, asked.publisher, asked.holding, permit)

    # What comes next

    def _pause_seconds(self, asked: Asked, outcome: Outcome, attempt: int) -> float | None:
        """The pause before the next attempt at the same model; None where there is none.

        Never shorter than what the provider asks for, nor than our own, which is that of the official SDKs.
        """
        failure, settings = outcome.failure, self._settings
        if (
            not isinstance(failure, ProviderFailure)
            or not self._may_go_on(asked, outcome)
            or not _worth_retrying(failure)
        ):
            return None
        wanted = failure.retry_after_seconds or 0.0
        if attempt >= settings.attempts_per_model or wanted > settings.max_retry_after_seconds:
            return None
        backoff = min(settings.backoff_seconds * 2 ** (attempt - 1), settings.max_backoff_seconds)
        seconds = max(wanted, backoff * (1 - 0.25 * random.random()))  # noqa: S311
        return seconds if read_now() + seconds < asked.row.deadline_at else None

    def _may_go_on(self, asked: Asked, outcome: Outcome) -> bool:
        """Whether another call may follow: the provider failed, nothing was shown, a call is left and so is time."""
        failed = isinstance(outcome.failure, ProviderFailure) and not asked.publisher.transcript
        row = asked.row
        return failed and row.calls < row.max_calls and read_now() < row.deadline_at


def _is_alone(row: Generation, route: Route) -> bool:
    """Whether no turn before goes along."""
    return row.parent is None or route.history == "none"


def _worth_retrying(failure: ProviderFailure) -> bool:
    if isinstance(failure, FINAL):
        return False
    return failure.retryable if failure.should_retry is None else failure.should_retry


def _switch(asked: Asked, provider: str, model: str, outcome: Outcome) -> None:
    """From here on the row in memory and the request name the fallback; the ledger's next line stores it."""
    assert outcome.failure is not None
    reason = outcome.failure.code
    asked.row.provider, asked.row.model = provider, model
    asked.told = asked.told._replace(request=dataclasses.replace(asked.told.request, model=model))
    asked.publisher.event(Kind.SWITCHED, Switched(provider=provider, model=model, reason=reason))


def _reused(answer: Generation, asked: Asked) -> Outcome:
    """An earlier answer, said again."""
    if asked.holding.stop is not None:
        return Outcome(stop=asked.holding.stop)
    say_again(asked.publisher, answer)
    return Outcome(finish_reason=answer.finish_reason, usage=NO_USAGE, reused=Reused(answer.provider, answer.model))
