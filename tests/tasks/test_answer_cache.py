"""An answer that was given before is said again: without a call, to its like alone, and in every other way an answer."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from models.admission import admit
from models.database import read_now
from models.database_threads import DatabaseThreads
from models.event import Done, Kind, Started, decode
from models.event_log import EventLog
from models.generation import Generation, Status
from models.ownership import request_cancel
from models.route import Route
from models.secret import Secret
from models.settings import Settings
from tasks.answer_cache import DELTA_CHARACTERS, AnswerCache
from tasks.holdings import Stop
from tasks.providers.base import Message, ProviderRequest
from tasks.run import Outcome
from tests.fakes.openai_server import Answer, FakeOpenAI
from tests.models.rows import changed, other_tenant, pass_seconds, request, reread
from tests.tasks.working import Worker, calls, told, words, working

PRIVATE = Route(model="openai:gpt-4o-mini", system="Be kind.")
PUBLIC = msgspec.structs.replace(PRIVATE, cache_scope="public")


@pytest.fixture
def settings(settings: Settings, fake: FakeOpenAI) -> Settings:
    return dataclasses.replace(
        settings, openai_base_url=fake.url, openai_api_key="sk-test", renew_seconds=0.01, finish_flush_seconds=10.0
    )


@pytest.fixture
def route() -> Route:
    return PRIVATE


@pytest.fixture
async def worker(settings: Settings, threads: DatabaseThreads, redis_url: str, route: Route) -> AsyncIterator[Worker]:
    async with working(settings, threads, redis_url, route) as found:
        yield found


Ask = Callable[..., Any]


@pytest.fixture
def ask(worker: Worker, settings: Settings, route: Route) -> Ask:
    """Posts a message in a conversation of its own, lets the worker answer it, and gives the row."""

    async def ask(message: str = "hello", **more: Any) -> Generation:
        bypass = more.pop("bypass_cache", False)
        row = admit(request(message, **{"route": route} | more), settings).generation
        return await worker.run(changed(row, bypass_cache=bypass))

    return ask


async def test_the_same_request_is_answered_again_without_a_call(ask: Ask, fake: FakeOpenAI, log: EventLog) -> None:
    first, second = await ask(), await ask()

    assert fake.calls == 1
    assert (second.status, second.finish_reason, second.text) == (Status.DONE, "stop", first.text)
    assert (first.cached, second.cached) == (False, True)
    assert (second.provider, second.model, second.run) == ("openai", "gpt-4o-mini", 1)
    assert (second.calls, calls(second)) == (0, [])
    assert second.usage == msgspec.structs.replace(first.usage, input=0, output=0, source="cached")
    frames = await told(log, second)
    assert decode(frames[0].data, Started) == Started(run=1, provider="openai", model="gpt-4o-mini")
    assert [frame.kind for frame in frames[1:-1]] == [Kind.DELTA] * len(frames[1:-1])
    done = decode(frames[-1].data, Done)
    assert (done.cached, done.status, done.length) == (True, "done", len(first.text))


async def test_a_long_answer_and_its_reasoning_come_in_pieces(ask: Ask, fake: FakeOpenAI, log: EventLog) -> None:
    def chunk(delta: dict[str, Any]) -> dict[str, Any]:
        return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    text = "🙂é" * DELTA_CHARACTERS + "."
    fake.script(Answer(texts=(), chunks=(chunk({"reasoning_content": "hm"}), chunk({"content": text}))))

    await ask()
    second = await ask()

    assert (second.cached, second.text, second.reasoning) == (True, text, "hm")
    assert [frame.kind for frame in await told(log, second)] == [
        Kind.STARTED, Kind.REASONING, Kind.DELTA, Kind.DELTA, Kind.DELTA, Kind.DONE,
    ]  # fmt: skip


async def test_an_answer_that_was_served_serves_nobody_so_that_none_outlives_its_time(
    ask: Ask, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    await ask()
    pass_seconds(monkeypatch, settings.cache_seconds - 1)
    assert (await ask()).cached
    pass_seconds(monkeypatch, 2)

    assert not (await ask()).cached
    assert fake.calls == 2
    assert (await ask()).cached


async def test_two_visitors_do_not_share(ask: Ask, fake: FakeOpenAI) -> None:
    await ask(visitor="a")

    assert not (await ask(visitor="b")).cached
    assert fake.calls == 2


class TestAPublicRoute:
    @pytest.fixture
    def route(self) -> Route:
        return PUBLIC

    async def test_serves_all_visitors_of_a_tenant(self, ask: Ask, fake: FakeOpenAI) -> None:
        await ask(visitor="a")

        assert (await ask(visitor="b")).cached
        assert fake.calls == 1

    async def test_serves_no_other_tenant(self, ask: Ask, fake: FakeOpenAI) -> None:
        await ask(visitor="a")

        assert not (await ask(visitor="a", tenant=other_tenant())).cached
        assert fake.calls == 2


async def test_another_message_or_other_turns_before_are_another_request(ask: Ask, fake: FakeOpenAI) -> None:
    await ask("one", conversation="c1")
    await ask("two", conversation="c1")

    assert not (await ask("two")).cached, "nothing went before it"
    await ask("three", conversation="c2")
    assert not (await ask("two", conversation="c2")).cached, "something else went before it"
    assert (await ask("one", conversation="c3")).cached
    assert (await ask("two", conversation="c3")).cached, "the same turns went before it"
    assert fake.calls == 5


async def test_asking_again_skips_it_and_the_new_answer_serves_from_then_on(ask: Ask, fake: FakeOpenAI) -> None:
    await ask()
    fake.script(Answer(texts=("another",)))

    again = await ask(bypass_cache=True)

    assert (again.cached, again.text, fake.calls) == (False, "another", 2)
    assert (await ask()).text == "another"
    assert fake.calls == 2


@pytest.mark.parametrize(
    "answer",
    [Answer(finish_reason="length"), Answer(fault="reset", at=3), Answer(texts=())],
    ids=["cut", "broken off", "empty"],
)
async def test_what_is_not_whole_never_serves(ask: Ask, fake: FakeOpenAI, answer: Answer) -> None:
    fake.script(answer)
    await ask()

    whole = await ask()

    assert (whole.cached, whole.text, fake.calls) == (False, words(), 2)


async def test_a_changed_route_asks_anew(
    settings: Settings, threads: DatabaseThreads, redis_url: str, fake: FakeOpenAI
) -> None:
    for route in (PRIVATE, msgspec.structs.replace(PRIVATE, max_calls=2), PRIVATE):
        async with working(settings, threads, redis_url, route) as worker:
            row = await worker.run(admit(request(route=route), settings).generation)

    assert row.cached, "the first version's answer serves it still"
    assert fake.calls == 2


class TestARouteThatIsOff:
    @pytest.fixture
    def route(self) -> Route:
        return msgspec.structs.replace(PRIVATE, cache_seconds=0)

    async def test_asks_each_time_and_stores_no_hash(self, ask: Ask, fake: FakeOpenAI) -> None:
        rows = [await ask(), await ask()]

        assert [(row.cached, row.input_hash) for row in rows] == [(False, None)] * 2
        assert fake.calls == 2


async def test_an_erased_answer_is_gone_for_good(ask: Ask, fake: FakeOpenAI) -> None:
    first = await ask()
    Generation.delete().where(Generation.id == first.id).execute()

    assert not (await ask()).cached
    assert fake.calls == 2


async def test_a_cancelled_request_is_cancelled_all_the_same(
    ask: Ask, worker: Worker, settings: Settings, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask()
    row = admit(request(route=route), settings).generation
    attempts = worker.generator._attempts
    answer = attempts.answer

    async def cancelled_meanwhile(*arguments: Any) -> Outcome:
        request_cancel(row.id)
        for holding in worker.holdings._held.values():
            holding.stop_for(Stop.CANCELLED)
        return await answer(*arguments)

    monkeypatch.setattr(attempts, "answer", cancelled_meanwhile)

    ended = await worker.run(row)

    assert (ended.status, ended.text, ended.cached) == (Status.CANCELLED, "", False)


async def test_a_run_after_a_crash_is_served_as_the_first_would_have_been(
    ask: Ask, worker: Worker, settings: Settings, route: Route, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await ask()
    row = admit(request(route=route), settings).generation
    row = changed(row, status=Status.RUNNING, run=1, worker="dead", lease_until=read_now() - 1)
    monkeypatch.setattr(worker.generator._threads.health, "_healthy_since", 0.0)

    ended = await worker.run(row)

    assert (ended.run, ended.cached, ended.text) == (2, True, first.text)
    await told(log, reread(ended))


# What two requests must have in common


def named(settings: Settings, row: Generation, route: Route = PRIVATE, **more: Any) -> str | None:
    whole = {"model": "gpt-4o-mini", "messages": (Message(role="user", content="hello"),)} | more
    return AnswerCache(settings, Secret("s" * 40)).input_hash(row, route, ProviderRequest(**whole))


@pytest.mark.usefixtures("database")
def test_every_part_of_a_request_counts_and_none_runs_into_the_next(settings: Settings) -> None:
    row = admit(request(), settings).generation

    def as_if(**columns: Any) -> Generation:
        return Generation(**row.__data__ | columns)

    names = [
        named(settings, row),
        named(settings, as_if(visitor="visito"), messages=(Message(role="user", content="rhello"),)),
        named(settings, as_if(tenant=2)),
        named(settings, as_if(route="other")),
        named(settings, as_if(provider="demo")),
        named(settings, row, model="gpt-4o"),
        named(settings, row, temperature=0.0),
        named(settings, row, temperature=1.0),
        named(settings, row, max_output_tokens=1),
        named(settings, row, messages=(Message(role="system", content="hello"),)),
        named(settings, row, messages=(Message(role="user", content="hel"), Message(role="user", content="lo"))),
        named(settings, row, msgspec.structs.replace(PRIVATE, safety="x")),
        named(settings, row, PUBLIC),
        named(settings, as_if(visitor="null"), PRIVATE),
        AnswerCache(settings, Secret("t" * 40)).input_hash(
            row, PRIVATE, ProviderRequest(model="gpt-4o-mini", messages=(Message(role="user", content="hello"),))
        ),
    ]

    assert len(set(names)) == len(names)
    assert None not in names
    assert named(settings, row) == names[0]
    assert named(settings, as_if(visitor="b"), PUBLIC) == named(settings, row, PUBLIC)
