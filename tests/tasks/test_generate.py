"""One generation from its claim to its end, against a provider, a Redis and a database that misbehave."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import pytest

from models.database import read_now
from models.database_threads import DatabaseThreads
from models.event import Done, Failed, Frame, Kind, Started, decode
from models.event_log import EventLog
from models.generation import Generation, Status
from models.ownership import claim, request_cancel
from models.provider_call import ProviderCall
from models.route import Route
from models.settings import Settings
from models.transcript import transcript_of_run
from tasks import generate as generate_module
from tasks import tokenizer
from tasks.holdings import Stop
from tasks.providers.base import Piece, Provider, ProviderRequest, TextPiece
from tasks.providers.demo import DemoProvider
from tasks.providers.registry import Registry
from tests.fakes.openai_server import Answer, FakeOpenAI, refused
from tests.models.rows import ROUTE, changed, pass_seconds, queued, reread
from tests.redis_process import RedisProcess
from tests.store import Lock
from tests.tasks.waiting import frames_of, until
from tests.tasks.working import Worker, calls, told, words, working

NEVER_SECONDS = 3600.0
RESTART = Route(model="openai:gpt-4o-mini", on_provider_broken="restart")


@pytest.fixture
def settings(settings: Settings, fake: FakeOpenAI) -> Settings:
    """Renewals come often, the provider is the fake one, and it is asked each time."""
    return dataclasses.replace(
        settings,
        openai_base_url=fake.url,
        openai_api_key="sk-test",
        renew_seconds=0.01,
        finish_flush_seconds=10.0,
        cache_seconds=0.0,
        backoff_seconds=0.0,
        breaker_failures=100,
    )


@pytest.fixture
async def worker(settings: Settings, threads: DatabaseThreads, redis_url: str) -> AsyncIterator[Worker]:
    async with working(settings, threads, redis_url) as found:
        yield found


async def has_text(log: EventLog, row: Generation, text: str, run: int = 1) -> list[Frame]:
    return await frames_of(log, row.id, lambda found: transcript_of_run(found, run).text == text)


# Done


async def test_an_answer_is_streamed_stored_and_said_to_be_done(
    worker: Worker, settings: Settings, log: EventLog
) -> None:
    row = await worker.run(queued(settings))

    assert (row.status, row.finish_reason, row.text) == (Status.DONE, "stop", words())
    assert (row.run, row.crashes, row.calls, row.error_code) == (1, 0, 1, None)
    assert row.usage is not None
    assert (row.usage.input, row.usage.output, row.usage.source) == (11, 20, "provider")
    frames = await told(log, row)
    assert frames[0].kind == Kind.STARTED
    assert decode(frames[0].data, Started) == Started(run=1, provider="openai", model="gpt-4o-mini")
    assert [frame.id.seq for frame in frames] == list(range(len(frames)))
    assert decode(frames[-1].data, Done).length == len(row.text)
    assert calls(row) == [(1, "done", None)]


async def test_the_provider_is_asked_what_the_route_says(
    settings: Settings, threads: DatabaseThreads, redis_url: str, fake: FakeOpenAI
) -> None:
    route = Route(model="openai:gpt-4o-mini", system="Be kind.", max_output_tokens=7, temperature=0.5)
    async with working(settings, threads, redis_url, route) as worker:
        await worker.run(queued(settings, message="How?", route=route))

    (asked,) = fake.seen
    assert asked["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "How?"}]
    assert (asked["model"], asked["max_tokens"], asked["temperature"]) == ("gpt-4o-mini", 7, 0.5)


async def test_reasoning_and_tool_calls_are_streamed_and_stored(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    def chunk(delta: dict[str, Any]) -> dict[str, Any]:
        return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"a"'}}
    rest = {"index": 0, "function": {"arguments": ":1}"}}
    chunks = (
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "Let me look."}),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [rest]}),
    )
    fake.script(Answer(texts=(), chunks=chunks, finish_reason="tool_calls"))

    row = await worker.run(queued(settings))

    assert (row.text, row.reasoning, row.finish_reason) == ("Let me look.", "hm", "tool_calls")
    assert row.tool_call_list == [{"index": 0, "id": "call_1", "name": "find", "arguments": '{"a":1}'}]
    frames = await told(log, row)
    assert transcript_of_run(frames, 1).tool_calls == row.tool_call_list


async def test_many_answers_at_once_are_kept_apart(worker: Worker, settings: Settings, log: EventLog) -> None:
    rows = [queued(settings, message=f"question {number}") for number in range(12)]

    async with asyncio.timeout(60):
        await asyncio.gather(*(worker.generator.generate(row.id) for row in rows))

    for number, row in enumerate(rows):
        assert reread(row).text == words(20, f"question {number}")
        await told(log, reread(row))


async def test_an_answer_without_words_is_done(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(texts=()))

    row = await worker.run(queued(settings))

    assert (row.status, row.text) == (Status.DONE, "")
    assert [frame.kind for frame in await told(log, row)] == [Kind.STARTED, Kind.DONE]


async def test_what_is_not_to_be_had_is_left_alone(worker: Worker, settings: Settings, fake: FakeOpenAI) -> None:
    cancelled = queued(settings)
    request_cancel(cancelled.id)
    held = queued(settings)
    claim(held.id, "another", 9.0, judge_leases=True)

    for row in (cancelled, held, changed(queued(settings), status=Status.DONE)):
        before = reread(row).__data__
        assert (await worker.run(row)).__data__ == before
    await worker.generator.generate("none")

    assert fake.calls == 0


async def test_a_generation_sent_twice_is_answered_once(worker: Worker, settings: Settings, fake: FakeOpenAI) -> None:
    row = queued(settings)

    async with asyncio.timeout(60):
        await asyncio.gather(*(worker.generator.generate(row.id) for _ in range(5)))
    await worker.run(row)

    assert (fake.calls, reread(row).run, reread(row).status) == (1, 1, Status.DONE)


async def test_a_later_run_says_why_it_began(
    worker: Worker, settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = queued(settings)
    claim(row.id, "dead", settings.lease_seconds, judge_leases=True)
    pass_seconds(monkeypatch, settings.lease_seconds + 1)
    monkeypatch.setattr(worker.generator._threads.health, "_healthy_since", 0.0)

    row = await worker.run(row)

    assert (row.status, row.run, row.crashes) == (Status.DONE, 2, 1)
    assert decode((await told(log, row))[0].data, Started).reason == "restarted"


async def test_a_lease_is_not_judged_before_the_database_was_healthy_for_one(
    worker: Worker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = queued(settings)
    claim(row.id, "late", settings.lease_seconds, judge_leases=True)
    pass_seconds(monkeypatch, settings.lease_seconds + 1)

    assert (await worker.run(row)).worker == "late"


# The provider fails


async def test_a_failure_before_any_text_ends_it_as_an_error(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(refused(401, "invalid_api_key"))

    row = await worker.run(queued(settings))

    assert (row.status, row.error_code, row.text, row.usage) == (Status.ERROR, "provider_auth", "", None)
    frames = await told(log, row)
    assert [frame.kind for frame in frames] == [Kind.STARTED, Kind.FAILED]
    failed = decode(frames[-1].data, Failed)
    assert (failed.code, failed.message) == ("provider_auth", row.error_message)
    assert "secret" not in failed.message
    assert calls(row) == [(1, "error", "provider_auth")]


async def test_a_failure_after_text_keeps_the_text(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="close", at=5))

    row = await worker.run(queued(settings))

    assert (row.status, row.finish_reason, row.text) == (Status.INCOMPLETE, "interrupted", words(5))
    assert row.usage is not None
    assert (row.usage.output, row.usage.source) == (tokenizer.count(words(5), "gpt-4o-mini"), "estimated")
    assert decode((await told(log, row))[-1].data, Done).status == "incomplete"
    assert calls(row) == [(1, "error", "provider_unreachable")]


async def test_an_error_within_the_stream_keeps_the_text_too(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="error", at=3))

    row = await worker.run(queued(settings))

    assert (row.status, row.text, row.calls) == (Status.INCOMPLETE, words(3), 1)
    await told(log, row)


async def test_a_failure_after_text_is_a_new_run_where_the_route_wants_the_answer_whole(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="close", at=5))

    row = await worker.run(queued(settings, route=RESTART))

    assert (row.status, row.run, row.crashes, row.calls, row.text) == (Status.DONE, 2, 0, 2, words())
    frames = await told(log, row)
    assert words(5).startswith(transcript_of_run(frames, 1).text)  # what was not sent yet never is
    second = next(frame for frame in frames if frame.id.run == 2)
    assert (second.id.seq, second.kind) == (0, Kind.STARTED)
    assert decode(second.data, Started).reason == "provider_broken"
    assert calls(row) == [(1, "error", "provider_unreachable"), (2, "done", None)]


async def test_a_first_word_that_breaks_off_within_its_window_counts_as_text(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="close", at=1))

    row = await worker.run(queued(settings, route=RESTART))

    assert (row.status, row.run, row.text) == (Status.DONE, 2, words())


async def test_restarts_end_with_the_calls_that_are_allowed(
    settings: Settings, threads: DatabaseThreads, redis_url: str, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.usually = Answer(fault="close", at=4)
    route = Route(model="openai:gpt-4o-mini", on_provider_broken="restart", max_calls=3)
    async with working(settings, threads, redis_url, route) as worker:
        row = await worker.run(queued(settings, route=route))

    assert (fake.calls, row.calls, row.run) == (3, 3, 3)
    assert (row.status, row.finish_reason, row.text) == (Status.INCOMPLETE, "interrupted", words(4))
    await told(log, row)


async def test_restarts_among_many_renewals_are_no_losses(
    settings: Settings, threads: DatabaseThreads, redis_url: str, log: EventLog, fake: FakeOpenAI
) -> None:
    busy = dataclasses.replace(settings, renew_seconds=0.0)
    fake.usually = Answer(fault="close", at=1)
    route = Route(model="openai:gpt-4o-mini", on_provider_broken="restart", max_calls=40)
    fake.script(*[Answer(fault="close", at=1)] * 39, Answer())
    async with working(busy, threads, redis_url, route) as worker:
        row = await worker.run(queued(settings, route=route))

    assert (row.status, row.run, row.crashes) == (Status.DONE, 40, 0)
    await told(log, row)


async def test_a_failure_before_any_text_is_no_new_run(worker: Worker, settings: Settings, fake: FakeOpenAI) -> None:
    fake.script(refused(500), refused(500), refused(500))

    row = await worker.run(queued(settings, route=RESTART))

    assert (row.status, row.run, fake.calls) == (Status.ERROR, 1, 3)


async def test_no_calls_left_is_an_error(worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI) -> None:
    row = await worker.run(queued(settings, calls=6))

    assert (row.status, row.error_code, fake.calls) == (Status.ERROR, "too_many_calls", 0)
    await told(log, row)


async def test_a_route_that_is_gone_is_an_error(worker: Worker, settings: Settings, log: EventLog) -> None:
    row = await worker.run(changed(queued(settings), route="of yesterday"))

    assert (row.status, row.error_code) == (Status.ERROR, "route_unknown")
    await told(log, row)


async def test_a_provider_that_the_settings_do_not_allow_is_an_error_without_a_call(
    worker: Worker, settings: Settings, log: EventLog
) -> None:
    row = await worker.run(queued(settings, provider="unheard_of"))

    assert (row.status, row.error_code, row.calls) == (Status.ERROR, "internal", 0)
    assert "unheard_of" not in (row.error_message or "")
    assert calls(row) == []
    await told(log, row)


async def test_a_provider_that_breaks_in_an_unknown_way_is_an_error_of_ours(
    worker: Worker, settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(DemoProvider):
        async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
            yield TextPiece("half")
            raise ZeroDivisionError("secret prompt")

    monkeypatch.setitem(worker.generator._attempts._registry._providers, "openai", Broken(1.0))

    row = await worker.run(queued(settings))

    assert (row.status, row.error_code, row.text) == (Status.ERROR, "internal", "half")
    assert "secret" not in (row.error_message or "")
    assert calls(row) == [(1, "error", "internal")]
    await told(log, row)


# Usage


def body(text: str) -> bytes:
    """A whole answer without usage."""
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


async def test_usage_that_the_provider_does_not_tell_is_estimated(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(body=body("Here is the answer, all of it at once.")))

    row = await worker.run(queued(settings, message="How many tokens?"))

    assert row.status == Status.DONE
    assert row.usage is not None
    assert row.usage.source == "estimated"
    assert row.usage.output == tokenizer.count("Here is the answer, all of it at once.", "gpt-4o-mini")
    assert row.usage.input == tokenizer.count("How many tokens?", "gpt-4o-mini")
    line = ProviderCall.get(ProviderCall.generation_id == row.id)
    assert (line.usage_source, line.output_tokens) == ("estimated", row.usage.output)


async def test_an_estimate_counts_the_words_of_the_last_window(
    settings: Settings, threads: DatabaseThreads, redis_url: str, log: EventLog, fake: FakeOpenAI
) -> None:
    slow = dataclasses.replace(settings, append_window_seconds=NEVER_SECONDS, finish_flush_seconds=0.05)
    fake.script(Answer(tokens=10, fault="hold", at=1, chunks=({"error": {"type": "server_error"}},)))
    row = queued(settings)
    async with working(slow, threads, redis_url) as worker:
        running = asyncio.create_task(worker.run(row))
        await has_text(log, row, words(1))
        fake.release()
        row = await running

    assert row.usage is not None
    assert (row.text, row.usage.output) == (words(10), tokenizer.count(words(10), "gpt-4o-mini"))
    await told(log, row)


# Stopped


async def test_a_cancel_closes_the_providers_socket_and_keeps_what_was_said(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="hang", at=3))
    row = queued(settings)
    running = asyncio.create_task(worker.run(row))
    await has_text(log, row, words(3))

    request_cancel(row.id)
    row = await running

    await fake.until(lambda: fake.answering == 0 and fake.open == 0)
    assert (row.status, row.finish_reason, row.text) == (Status.CANCELLED, "cancelled", words(3))
    assert row.usage is not None
    assert row.usage.source == "estimated"
    assert decode((await told(log, row))[-1].data, Done).status == "cancelled"
    assert calls(row) == [(1, "cancelled", None)]


async def test_a_cancel_before_the_first_word_is_a_cancel(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="hang", at=-1))
    row = queued(settings)
    running = asyncio.create_task(worker.run(row))
    await fake.until(lambda: fake.calls == 1)

    request_cancel(row.id)
    row = await running

    assert (row.status, row.text) == (Status.CANCELLED, "")
    await fake.until(lambda: fake.open == 0)
    await told(log, row)


async def test_a_run_that_the_database_gave_to_another_writes_nothing(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="hang", at=3))
    row = queued(settings)
    running = asyncio.create_task(worker.run(row))
    before = await has_text(log, row, words(3))

    def claimed_by_another() -> bool:
        changed(row, lease_until=0.0)  # unless the holder renews it in this very moment
        return claim(row.id, "another", NEVER_SECONDS, judge_leases=True) is not None

    await until(claimed_by_another)
    found = await running

    await fake.until(lambda: fake.open == 0)
    assert (found.status, found.run, found.worker, found.text) == (Status.RUNNING, 2, "another", "")
    assert await log.read(row.id) == before
    assert calls(row) == [(1, "cancelled", None)]


async def test_a_run_that_finds_a_newer_one_in_the_log_writes_nothing(
    settings: Settings, threads: DatabaseThreads, redis_url: str, log: EventLog, fake: FakeOpenAI
) -> None:
    asleep = dataclasses.replace(settings, renew_seconds=NEVER_SECONDS)
    fake.script(Answer(fault="hold", at=3), Answer(texts=("of the newer run",)))
    row = queued(settings)
    async with working(asleep, threads, redis_url) as worker, working(settings, threads, redis_url) as other:
        running = asyncio.create_task(worker.run(row))
        await has_text(log, row, words(3))
        changed(row, status=Status.QUEUED)
        newer = await other.run(row)
        fake.release()
        found = await running

    assert (found.status, found.run, found.text) == (Status.DONE, 2, "of the newer run")
    assert found.__data__ == newer.__data__
    assert transcript_of_run(await log.read(row.id), 1).text == words(3)
    await told(log, found)


async def test_a_run_that_is_overtaken_before_its_call_makes_none(
    worker: Worker, settings: Settings, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = queued(settings)

    class Late(Registry):
        def provider(self, name: str) -> Provider:
            changed(row, run=2, worker="another")
            return super().provider(name)

    monkeypatch.setattr(worker.generator._attempts, "_registry", Late(settings))

    found = await worker.run(row)

    assert (found.status, found.run, found.worker) == (Status.RUNNING, 2, "another")
    assert (fake.calls, calls(row)) == (0, [])


async def test_a_run_that_is_overtaken_unseen_stores_nothing_at_its_end(
    settings: Settings, threads: DatabaseThreads, redis_url: str, log: EventLog, fake: FakeOpenAI
) -> None:
    asleep = dataclasses.replace(settings, renew_seconds=NEVER_SECONDS)
    fake.script(Answer(fault="hold", at=3))
    row = queued(settings)
    async with working(asleep, threads, redis_url) as worker:
        running = asyncio.create_task(worker.run(row))
        await has_text(log, row, words(3))
        changed(row, run=2, worker="another")
        fake.release()
        found = await running

    assert (found.status, found.text, found.terminal_id) == (Status.RUNNING, "", None)
    assert {frame.kind for frame in await log.read(row.id)} == {Kind.STARTED, Kind.DELTA}
    assert calls(row) == [(1, "done", None)]  # it cost money all the same


@pytest.mark.one_store  # the time that connections take is not its time
async def test_a_deadline_keeps_what_was_said(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="hang", at=3))

    row = await worker.run(queued(settings, deadline_at=read_now() + 0.5))

    assert (row.status, row.finish_reason, row.text) == (Status.INCOMPLETE, "limit", words(3))
    await fake.until(lambda: fake.open == 0)
    assert calls(row) == [(1, "error", "deadline_exceeded")]
    await told(log, row)


async def test_a_deadline_before_the_first_word_is_an_error(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="hang", at=-1))

    row = await worker.run(queued(settings, deadline_at=read_now() + 0.3))

    assert (row.status, row.error_code) == (Status.ERROR, "deadline_exceeded")
    await fake.until(lambda: fake.open == 0)
    assert decode((await told(log, row))[-1].data, Failed).retryable


async def test_a_worker_that_stops_gives_back_what_it_cannot_finish(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="hang", at=3))
    row = queued(settings)
    running = asyncio.create_task(worker.run(row))
    before = await has_text(log, row, words(3))
    assert not worker.generator._idle.is_set()

    worker.holdings.stop_all(Stop.DRAINING)
    async with asyncio.timeout(60):
        await worker.generator.wait_idle()
    found = await running

    assert (found.status, found.run, found.crashes) == (Status.QUEUED, 1, 0)
    assert await log.read(row.id) == before
    await fake.until(lambda: fake.open == 0)
    assert calls(row) == [(1, "cancelled", None)]


@pytest.mark.parametrize(("at", "status"), [(3, Status.INCOMPLETE), (-1, Status.QUEUED)])
async def test_a_worker_that_stops_ends_what_keeps_its_text_if_there_is_any(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI, at: int, status: Status
) -> None:
    fake.script(Answer(fault="hang", at=at))
    row = queued(settings, route=Route(model=ROUTE.model, on_worker_lost="keep_partial"))
    running = asyncio.create_task(worker.run(row))
    await (fake.until(lambda: fake.calls == 1) if at < 0 else has_text(log, row, words(at)))

    worker.holdings.stop_all(Stop.DRAINING)
    found = await running

    assert (found.status, found.text) == (status, words(max(at, 0)))
    assert found.finish_reason == (None if status is Status.QUEUED else "interrupted")


async def test_a_worker_that_stops_claims_nothing_more(worker: Worker, settings: Settings, fake: FakeOpenAI) -> None:
    worker.holdings.stop_all(Stop.DRAINING)

    assert (await worker.run(queued(settings))).status == Status.QUEUED
    assert fake.calls == 0


# Redis


async def test_an_answer_is_stored_although_redis_is_away(
    settings: Settings, threads: DatabaseThreads, own_redis: RedisProcess
) -> None:
    hasty = dataclasses.replace(settings, finish_flush_seconds=0.05)
    async with working(hasty, threads, own_redis.url) as worker:
        row = await worker.run(queued(settings))

    assert (row.status, row.text, row.terminal_published) == (Status.DONE, words(), False)
    assert row.terminal is not None
    assert row.terminal.seq >= 3  # room for a snapshot after everything that has a number


async def test_a_redis_that_is_flushed_in_the_middle_loses_nothing(
    worker: Worker, settings: Settings, log: EventLog, fake: FakeOpenAI
) -> None:
    fake.script(Answer(fault="hold", at=10))
    row = queued(settings)
    running = asyncio.create_task(worker.run(row))
    before = await has_text(log, row, words(10))
    await log.client.flushall()
    fake.release()

    row = await running

    assert (row.status, row.run, row.text) == (Status.DONE, 1, words())
    assert (await told(log, row))[: len(before)] == before


async def test_a_log_lost_between_the_last_word_and_the_end_is_made_from_the_row(
    settings: Settings,
    threads: DatabaseThreads,
    redis_url: str,
    log: EventLog,
    lock: Lock,
    fake: FakeOpenAI,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with working(settings, threads, redis_url) as worker:
        fake.script(Answer(fault="hold", at=10))
        row = queued(settings)
        running = asyncio.create_task(worker.run(row))
        await has_text(log, row, words(10))
        lock.take()
        fake.release()
        await until(lambda: caplog.text.count("an answer waits to be stored") == 1)
        await log.client.flushall()
        lock.give()
        row = await running

    assert (row.status, row.text) == (Status.DONE, words())
    frames = await told(log, row)
    assert frames[-2].kind == Kind.SNAPSHOT
    assert len(frames) == 2


# The database


@pytest.fixture
def lock(lock: Lock, monkeypatch: pytest.MonkeyPatch) -> Lock:
    """The same, and whoever stores an end tries again at once."""
    monkeypatch.setattr(generate_module, "FINISH_RETRY_SECONDS", 0.01)
    return lock


@pytest.fixture
def threads(database: Any) -> Iterator[DatabaseThreads]:
    found = DatabaseThreads(2)
    yield found
    found.close()


async def test_an_end_waits_for_a_database_that_is_away_and_nothing_is_said_before(
    settings: Settings,
    threads: DatabaseThreads,
    redis_url: str,
    log: EventLog,
    lock: Lock,
    fake: FakeOpenAI,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with working(settings, threads, redis_url) as worker:
        fake.script(Answer(fault="hold", at=10))
        row = queued(settings)
        running = asyncio.create_task(worker.run(row))
        await has_text(log, row, words(10))
        lock.take()
        fake.release()
        await until(lambda: caplog.text.count("an answer waits to be stored") == 2)
        assert {frame.kind for frame in await log.read(row.id)} == {Kind.STARTED, Kind.DELTA}
        lock.give()
        row = await running

    assert (row.status, row.text) == (Status.DONE, words())
    await told(log, row)


async def test_a_cancel_that_comes_while_the_end_waits_is_too_late(
    settings: Settings,
    threads: DatabaseThreads,
    redis_url: str,
    log: EventLog,
    lock: Lock,
    fake: FakeOpenAI,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with working(settings, threads, redis_url) as worker:
        fake.script(Answer(fault="hold", at=10))
        row = queued(settings)
        running = asyncio.create_task(worker.run(row))
        await has_text(log, row, words(10))
        lock.take()
        fake.release()
        await until(lambda: "an answer waits to be stored" in caplog.text)
        for holding in worker.holdings._held.values():
            holding.stop_for(Stop.CANCELLED)
        lock.give()
        row = await running

    assert (row.status, row.finish_reason) == (Status.DONE, "stop")
    await told(log, row)
