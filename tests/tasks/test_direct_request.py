"""What a model is told for a server: the route's prompt first, its ceilings, and all that was asked."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from models.admission import Request, admit
from models.database_threads import DatabaseThreads
from models.direct_request import DirectRequest, decode, encode
from models.generation import Status
from models.route import Route
from models.settings import Settings
from tasks.direct_request import count, fits, provider_request
from tasks.history import tell
from tasks.providers.base import Message, ProviderRequest
from tests.models.rows import queued, request
from tests.tasks.working import working

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}


def asked(*messages: dict[str, Any], **more: Any) -> DirectRequest:
    return msgspec.convert({"messages": messages or [{"role": "user", "content": "hi"}], **more}, DirectRequest)


def told(request: DirectRequest, prompt: str = "", **route: Any) -> ProviderRequest:
    return provider_request(request, Route(model="demo:echo", **route), prompt, "echo")


def test_the_routes_prompt_stands_before_the_callers_and_all_of_it_is_one_message() -> None:
    request = asked({"role": "system", "content": "third"}, {"role": "user", "content": "hi"}, system="second")

    assert told(request, "first").messages == (
        Message(role="system", content="first\n\nsecond\n\nthird"),
        Message(role="user", content="hi"),
    )


def test_without_any_prompt_there_is_no_system_message() -> None:
    assert told(asked()).messages == (Message(role="user", content="hi"),)


def test_a_later_system_message_stays_where_it_is() -> None:
    request = asked({"role": "user", "content": "hi"}, {"role": "system", "content": "short now"})

    assert [each.role for each in told(request, "first").messages] == ["system", "user", "system"]


@pytest.mark.parametrize(
    ("wanted", "ceiling", "sent"), [(None, None, None), (5, None, 5), (None, 9, 9), (5, 9, 5), (50, 9, 9)]
)
def test_a_caller_can_lower_the_ceilings_and_never_raise_them(
    wanted: int | None, ceiling: int | None, sent: int | None
) -> None:
    def hundredth(value: int | None) -> float | None:
        return None if value is None else value / 100

    request = asked(max_output_tokens=wanted, temperature=hundredth(wanted))

    found = told(request, max_output_tokens=ceiling, temperature=hundredth(ceiling))

    assert (found.max_output_tokens, found.temperature) == (sent, hundredth(sent))


def test_tools_their_calls_and_results_go_along() -> None:
    request = asked(
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "found", "tool_call_id": "call_1"},
        tools=[TOOL],
        response_format={"type": "json_object"},
    )

    found = told(decode(encode(request)))

    assert found.messages[1:] == (
        Message(role="assistant", content="", tool_calls=(CALL,)),
        Message(role="tool", content="found", tool_call_id="call_1"),
    )
    assert found.tools == (TOOL,)
    assert found.response_format == {"type": "json_object"}


def test_a_text_format_is_what_every_provider_does_anyway() -> None:
    assert told(asked(response_format={"type": "text"})).response_format is None


def test_everything_that_the_model_is_told_counts() -> None:
    plain, more = told(asked()), told(asked(tools=[TOOL]))

    assert count(plain) == 1
    assert count(more) > count(plain) + 5
    assert count(told(asked(), "first")) == 2


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_it_fits_exactly_up_to_the_limit(spare: int) -> None:
    request = told(asked({"role": "user", "content": "word " * 500}), "A prompt.")

    assert fits(request, count(request) + spare) == (spare >= 0)


@pytest.mark.usefixtures("database")
def test_a_row_with_a_servers_request_is_told_as_it_was_asked(settings: Settings) -> None:
    route = Route(model="openai:gpt-4o-mini", system="Be kind.", safety="Be safe.")
    row = queued(settings, message="", route=route, request=encode(asked(system="Be short.")), conversation=None)

    found = tell(row, route, [], 1000)

    assert found.request.messages[0].content == "Be kind.\n\nBe safe.\n\nBe short."
    assert found.request.model == "gpt-4o-mini"
    assert found.sent == (0, 0, count(found.request))


def asking(model: str, route: Route) -> Request:
    return request("", visitor="", direct=encode(asked()), model=model, route=route)


@pytest.mark.parametrize("model", ["demo:echo", "demo:short"])
async def test_the_model_that_a_server_asks_for_is_asked_first_also_where_it_is_a_fallback(
    settings: Settings, threads: DatabaseThreads, redis_url: str, model: str
) -> None:
    quick = replace(settings, demo_tokens_per_second=10_000.0)
    route = Route(model="demo:long", models=("demo:echo", "demo:short"), fallbacks=("demo:echo",))
    row = (await threads.run(admit, asking(model, route), quick)).generation

    async with working(quick, threads, redis_url, route) as worker:
        ended = await worker.run(row)

    assert (ended.status, f"{ended.provider}:{ended.model}") == (Status.DONE, model)
