"""What is tried until the first text comes: the same model again, then the fallbacks, within calls and deadline."""

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from models.database import read_now
from models.database_threads import DatabaseThreads
from models.event import Done, Frame, Kind, Started, Switched, Waiting, decode
from models.event_log import EventLog
from models.generation import Generation, Status
from models.ownership import claim, request_cancel
from models.provider_call import ProviderCall
from models.provider_config import ProviderConfig, built_in
from models.route import Route
from models.settings import Settings
from tasks import attempts as attempts_module
from tasks.holdings import Stop
from tasks.providers.registry import Registry
from tests.fakes.openai_server import Answer, FakeOpenAI, refused
from tests.models.rows import ROUTE, changed, pass_seconds, queued
from tests.tasks.waiting import frames_of
from tests.tasks.working import Worker, calls, told, words, working

NEVER_SECONDS = 3600.0
SPARE = Route(model="openai:gpt-4o-mini", fallbacks=("spare:other",))
LIMITED = refused(429, "rate_limit_exceeded")

pytestmark = pytest.mark.one_store  # dear, and what providers do is nothing to the store


@pytest.fixture
def spare() -> Iterator[FakeOpenAI]:
    """The server that `spare` is."""
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def settings(settings: Settings, fake: FakeOpenAI) -> Settings:
    return dataclasses.replace(
        settings,
        openai_base_url=fake.url,
        openai_api_key="sk-test",
        renew_seconds=0.01,
        finish_flush_seconds=10.0,
        cache_seconds=0.0,
        backoff_seconds=0.001,
    )


@pytest.fixture
def threads(database: Any) -> Iterator[DatabaseThreads]:
    found = DatabaseThreads(2)
    yield found
    found.close()


@pytest.fixture
async def worker(settings: Settings, threads: DatabaseThreads, redis_url: str) -> AsyncIterator[Worker]:
    async with working(settings, threads, redis_url) as found:
        yield found


@contextlib.asynccontextmanager
async def working_with_spare(
    settings: Settings, threads: DatabaseThreads, redis_url: str, spare: FakeOpenAI, route: Route = SPARE
) -> AsyncIterator[Worker]:
    """A worker that knows the server `spare`, to which the route falls back."""
    config = ProviderConfig(kind="openai", base_url=spare.url, allow_private=True)
    registry = Registry(settings, {**built_in(settings), "spare": config})
    async with working(settings, threads, redis_url, route) as worker:
        worker.generator._attempts._registry = registry
        try:
            yield worker
        finally:
            await registry.aclose()


@pytest.fixture
async def spared(
    settings: Settings, threads: DatabaseThreads, redis_url: str, spare: FakeOpenAI
) -> AsyncIterator[Worker]:
    async with working_with_spare(settings, threads, redis_url, spare) as found:
        yield found


def of_kind(frames: list[Frame], kind: Kind) -> list[Frame]:
    return [frame for frame in frames if frame.kind == kind]


def waits(frames: list[Frame]) -> list[Waiting]:
    return [decode(frame.data, Waiting) for frame in of_kind(frames, Kind.WAITING)]


def switches(frames: list[Frame]) -> list[Switched]:
    return [decode(frame.data, Switched) for frame in of_kind(frames, Kind.SWITCHED)]


def asked(row: Generation) -> list[str]:
    """Who was called, as the ledger has it."""
    lines = ProviderCall.select().where(ProviderCall.generation_id == row.id).order_by(ProviderCall.number)
    return [f"{line.provider}:{line.model}" for line in lines]


# The same model again


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (LIMITED, "rate_limited"),
        (refused(500), "overloaded"),
        (refused(529), "overloaded"),
        (refused(408), "provider_timeout"),
        (Answer(fault="close", at=-1), "provider_unreachable"),
        (Answer(fault="end", at=0), "provider_unreachable"),
        (Answer(fault="error", at=0), "overloaded"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_call_that_may_go_better_is_made_again_and_viewers_know_why(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI, answer: Answer, code: str
) -> None:
    fake.script(answer)

    row = await worker.run(queued(settings))

    assert (row.status, row.text, row.run, row.calls) == (Status.DONE, words(), 1, 2)
    assert calls(row) == [(1, "error", code), (1, "done", None)]
    frames = await told(log, row)
    (wait,) = waits(frames)
    assert (wait.reason, wait.retry_after) == (code, 0.001)
    assert [frame.kind for frame in frames][:2] == [Kind.STARTED, Kind.WAITING]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404])
async def test_a_refusal_for_good_is_not_asked_again(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI, status: int
) -> None:
    fake.script(refused(status, headers={"x-should-retry": "true", "retry-after": "0.01"}))

    row = await worker.run(queued(settings))

    assert (row.status, fake.calls, waits(await told(log, row))) == (Status.ERROR, 1, [])


async def test_an_answer_that_makes_no_sense_is_not_asked_for_again(
    worker: Worker, settings: Settings, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="malformed", at=0))

    row = await worker.run(queued(settings))

    assert (row.status, row.error_code, fake.calls) == (Status.ERROR, "provider_protocol", 1)


@pytest.mark.parametrize(("status", "word", "made"), [(429, "false", 1), (418, "true", 1), (409, "true", 2)])
async def test_the_providers_own_word_on_trying_again_counts(
    worker: Worker, settings: Settings, fake: FakeOpenAI, status: int, word: str, made: int
) -> None:
    fake.script(refused(status, headers={"x-should-retry": word}))

    await worker.run(queued(settings))

    assert fake.calls == made


async def test_a_model_has_so_many_attempts_and_no_more(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.usually = refused(503)

    row = await worker.run(queued(settings))

    assert (row.status, row.error_code, row.calls, fake.calls) == (Status.ERROR, "overloaded", 3, 3)
    assert calls(row) == [(1, "error", "overloaded")] * 3
    assert len(waits(await told(log, row))) == 2


async def test_no_attempt_goes_beyond_the_calls_that_are_left(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.usually = refused(503)

    row = await worker.run(queued(settings, calls=4))

    assert (row.error_code, row.calls, fake.calls) == ("overloaded", 6, 2)
    assert len(waits(await told(log, row))) == 1  # nobody waits for a call that may not be made


async def test_pauses_grow_as_those_of_the_official_sdks(
    settings: Settings, threads: DatabaseThreads, redis_url: str, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []

    async def no_time(publisher: Any, holding: Any, seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(attempts_module, "pause", no_time)
    monkeypatch.setattr(random, "random", lambda: 0.0)
    fake.usually = refused(503)
    patient = dataclasses.replace(settings, backoff_seconds=0.5, attempts_per_model=7, breaker_failures=100)
    async with working(patient, threads, redis_url) as worker:
        await worker.run(queued(patient, max_calls=20))
        assert pauses == [0.5, 1, 2, 4, 8, 8]
        monkeypatch.setattr(random, "random", lambda: 1.0)
        pauses.clear()
        await worker.run(queued(patient, max_calls=20))
        assert pauses == [0.375, 0.75, 1.5, 3, 6, 6]


async def test_the_pause_that_a_provider_asks_for_is_kept(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(refused(429, headers={"retry-after": "0.2"}))

    row = await worker.run(queued(settings))

    assert row.status == Status.DONE
    assert waits(await told(log, row)) == [Waiting(reason="rate_limited", retry_after=0.2)]
    first, second = ProviderCall.select().where(ProviderCall.generation_id == row.id).order_by(ProviderCall.number)
    assert second.started_at - first.started_at >= 0.2


async def test_a_pause_that_is_too_long_gives_the_model_up_at_once(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(refused(429, headers={"retry-after": "31"}))

    row = await worker.run(queued(settings))

    assert (row.status, row.error_code, fake.calls) == (Status.ERROR, "rate_limited", 1)
    assert waits(await told(log, row)) == []


async def test_nobody_waits_beyond_the_deadline(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(refused(429, headers={"retry-after": "20"}))

    row = await worker.run(queued(settings, deadline_at=read_now() + 10))

    assert (row.status, row.error_code, fake.calls) == (Status.ERROR, "rate_limited", 1)
    assert waits(await told(log, row)) == []


async def test_after_the_first_text_nothing_is_tried_again(
    spared: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI, spare: FakeOpenAI
) -> None:
    fake.script(Answer(fault="close", at=1))

    row = await spared.run(queued(settings, route=SPARE))

    assert (row.status, row.finish_reason, row.text) == (Status.INCOMPLETE, "interrupted", words(1))
    assert (fake.calls, spare.calls) == (1, 0)
    assert switches(await told(log, row)) == []


async def test_reasoning_counts_as_text(worker: Worker, settings: Settings, fake: FakeOpenAI) -> None:
    thinking = {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": None}]}
    fake.script(Answer(texts=(), chunks=(thinking, {"error": {"type": "server_error"}})))

    row = await worker.run(queued(settings))

    assert (row.status, row.reasoning, fake.calls) == (Status.INCOMPLETE, "hm", 1)


# Stopped while it waits


async def waiting(worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI) -> tuple[Any, Generation]:
    """A generation that waits for long, and its task."""
    fake.script(refused(429, headers={"retry-after": "29"}))
    row = queued(settings)
    running = asyncio.create_task(worker.run(row))
    await frames_of(log, row.id, lambda frames: bool(of_kind(frames, Kind.WAITING)))
    return running, row


async def test_a_cancel_ends_the_waiting_at_once(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    running, row = await waiting(worker, settings, log, fake)

    request_cancel(row.id)
    row = await running

    assert (row.status, row.calls, fake.calls) == (Status.CANCELLED, 1, 1)
    assert decode((await told(log, row))[-1].data, Done).status == "cancelled"


async def test_a_worker_that_stops_gives_back_what_waits(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    running, row = await waiting(worker, settings, log, fake)

    worker.holdings.stop_all(Stop.DRAINING)
    row = await running

    assert (row.status, row.crashes, fake.calls) == (Status.QUEUED, 0, 1)


async def test_a_run_that_another_took_over_waits_no_longer(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    running, row = await waiting(worker, settings, log, fake)

    changed(row, run=2, worker="another")
    row = await running

    assert (row.status, row.worker, fake.calls) == (Status.RUNNING, "another", 1)


async def test_a_worker_that_stops_gives_back_what_could_still_fall_back(
    spared: Worker, settings: Settings, fake: FakeOpenAI, spare: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.script(refused(401))
    make = spared.generator._attempts._calls.make

    async def stopped_meanwhile(*arguments: Any) -> Any:
        outcome = await make(*arguments)
        spared.holdings.stop_all(Stop.DRAINING)
        return outcome

    monkeypatch.setattr(spared.generator._attempts._calls, "make", stopped_meanwhile)

    row = await spared.run(queued(settings, route=SPARE))

    assert (row.status, row.calls, spare.calls) == (Status.QUEUED, 1, 0)


# Fallbacks


async def test_a_fallback_answers_where_the_first_choice_is_given_up(
    spared: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI, spare: FakeOpenAI
) -> None:
    fake.usually = refused(529)

    row = await spared.run(queued(settings, route=SPARE))

    assert (row.status, row.provider, row.model, row.calls, row.run) == (Status.DONE, "spare", "other", 4, 1)
    assert asked(row) == ["openai:gpt-4o-mini"] * 3 + ["spare:other"]
    assert spare.seen[0]["model"] == "other"
    assert spare.seen[0]["messages"] == fake.seen[0]["messages"]
    frames = await told(log, row)
    started, done = decode(frames[0].data, Started), decode(frames[-1].data, Done)
    assert (started.provider, started.model) == ("openai", "gpt-4o-mini")
    assert switches(frames) == [Switched(provider="spare", model="other", reason="overloaded")]
    assert (done.provider, done.model) == ("spare", "other")


@pytest.mark.parametrize("status", [400, 401, 402])
async def test_a_fallback_is_asked_at_once_after_a_refusal_for_good(
    spared: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI, status: int
) -> None:
    fake.script(refused(status))

    row = await spared.run(queued(settings, route=SPARE))

    assert (row.status, row.provider, fake.calls) == (Status.DONE, "spare", 1)
    assert waits(await told(log, row)) == []


async def test_where_every_model_fails_the_last_ones_failure_is_told(
    spared: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI, spare: FakeOpenAI
) -> None:
    fake.usually, spare.usually = refused(401), LIMITED

    row = await spared.run(queued(settings, route=SPARE))

    assert (row.status, row.error_code) == (Status.ERROR, "rate_limited")
    assert (fake.calls, spare.calls) == (1, 3)
    await told(log, row)


async def test_a_fallback_is_not_announced_where_no_call_is_left(
    spared: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI, spare: FakeOpenAI
) -> None:
    fake.usually = refused(503)

    row = await spared.run(queued(settings, route=SPARE, calls=3))

    assert (row.error_code, fake.calls, spare.calls) == ("overloaded", 3, 0)
    assert switches(await told(log, row)) == []


async def test_a_new_run_begins_with_the_first_choice_again(
    settings: Settings, threads: DatabaseThreads, redis_url: str, log: EventLog, fake: FakeOpenAI, spare: FakeOpenAI
) -> None:
    route = Route(model="openai:gpt-4o-mini", fallbacks=("spare:other",), on_provider_broken="restart")
    fake.script(refused(401))
    spare.script(Answer(fault="close", at=3))
    async with working_with_spare(settings, threads, redis_url, spare, route) as worker:
        row = await worker.run(queued(settings, route=route))

    assert (row.status, row.run, row.provider, row.model) == (Status.DONE, 2, "openai", "gpt-4o-mini")
    assert asked(row) == ["openai:gpt-4o-mini", "spare:other", "openai:gpt-4o-mini"]
    first, second = (decode(frame.data, Started) for frame in of_kind(await told(log, row), Kind.STARTED))
    assert (first.provider, second.provider) == ("openai", "openai")


async def test_a_run_after_a_crash_begins_with_the_first_choice_too(
    spared: Worker, settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = queued(settings, route=SPARE)
    claim(row.id, "dead", settings.lease_seconds, judge_leases=True)
    changed(row, provider="spare", model="other", calls=1)
    pass_seconds(monkeypatch, settings.lease_seconds + 1)
    monkeypatch.setattr(spared.generator._threads.health, "_healthy_since", 0.0)

    row = await spared.run(row)

    assert (row.status, row.run, row.provider) == (Status.DONE, 2, "openai")


# The breaker


async def test_a_model_that_keeps_failing_is_not_called_and_its_fallback_answers_at_once(
    settings: Settings, threads: DatabaseThreads, redis_url: str, log: EventLog, fake: FakeOpenAI, spare: FakeOpenAI
) -> None:
    wary = dataclasses.replace(settings, breaker_failures=2, breaker_cool_down_seconds=NEVER_SECONDS)
    fake.usually = refused(503)
    async with working_with_spare(wary, threads, redis_url, spare) as worker:
        first = await worker.run(queued(wary, route=SPARE))
        second = await worker.run(queued(wary, route=SPARE))

    assert (asked(first), fake.calls) == (["openai:gpt-4o-mini"] * 2 + ["spare:other"], 2)
    assert (asked(second), second.calls) == (["spare:other"], 1)
    frames = await told(log, second)
    assert waits(frames) == []
    assert switches(frames) == [Switched(provider="spare", model="other", reason="overloaded")]


async def test_without_a_fallback_the_request_fails_at_once_without_a_call(
    settings: Settings, threads: DatabaseThreads, redis_url: str, log: EventLog, fake: FakeOpenAI
) -> None:
    wary = dataclasses.replace(settings, breaker_failures=1, breaker_cool_down_seconds=NEVER_SECONDS)
    fake.script(refused(503))
    async with working(wary, threads, redis_url) as worker:
        await worker.run(queued(wary))
        row = await worker.run(queued(wary))

    assert (row.status, row.error_code, row.calls, fake.calls) == (Status.ERROR, "overloaded", 0, 1)
    assert calls(row) == []
    await told(log, row)


async def test_a_probe_that_answers_lets_the_first_choice_answer_again(
    settings: Settings, threads: DatabaseThreads, redis_url: str, fake: FakeOpenAI
) -> None:
    hasty = dataclasses.replace(settings, breaker_failures=1, breaker_cool_down_seconds=0.05)
    fake.script(refused(503))
    async with working(hasty, threads, redis_url) as worker:
        rows = [await worker.run(queued(hasty))]
        async with asyncio.timeout(60):
            while rows[-1].status != Status.DONE:
                rows.append(await worker.run(queued(hasty)))
        again = await worker.run(queued(hasty))

    assert (rows[-1].calls, again.status) == (1, Status.DONE)
    assert fake.calls == 3


# The answer's size


@pytest.mark.parametrize("size", [1, 9, 10, 11, 19])
async def test_an_answer_ends_where_it_reaches_its_size(
    settings: Settings, threads: DatabaseThreads, redis_url: str, log: EventLog, fake: FakeOpenAI, size: int
) -> None:
    small = dataclasses.replace(settings, max_answer_bytes=size)
    fake.script(Answer(texts=("0123456789", "0123456789")))
    async with working(small, threads, redis_url) as worker:
        row = await worker.run(queued(small))

    assert (row.status, row.finish_reason, row.text) == (Status.INCOMPLETE, "limit", "01234567890123456789"[:size])
    assert calls(row) == [(1, "error", "answer_too_long")]
    assert row.usage is not None
    await told(log, row)
    await fake.until(lambda: fake.open == 0)


async def test_an_answer_of_exactly_its_size_is_whole(
    settings: Settings, threads: DatabaseThreads, redis_url: str, fake: FakeOpenAI
) -> None:
    small = dataclasses.replace(settings, max_answer_bytes=20)
    fake.script(Answer(texts=("0123456789", "0123456789")))
    async with working(small, threads, redis_url) as worker:
        assert (await worker.run(queued(small))).status == Status.DONE


async def test_no_character_is_cut_in_two(
    settings: Settings, threads: DatabaseThreads, redis_url: str, fake: FakeOpenAI
) -> None:
    small = dataclasses.replace(settings, max_answer_bytes=6)
    fake.script(Answer(texts=("ab😀😀",)), Answer(texts=("ab😀😀",)))
    async with working(small, threads, redis_url) as worker:
        assert (await worker.run(queued(small))).text == "ab😀"


async def test_an_answer_that_is_too_long_is_not_asked_for_again(
    settings: Settings, threads: DatabaseThreads, redis_url: str, fake: FakeOpenAI
) -> None:
    small = dataclasses.replace(settings, max_answer_bytes=5)
    route = msgspec.structs.replace(ROUTE, on_provider_broken="restart")
    async with working(small, threads, redis_url, route) as worker:
        row = await worker.run(queued(small, route=route))

    assert (row.status, row.run, fake.calls) == (Status.INCOMPLETE, 1, 1)
