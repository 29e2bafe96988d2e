"""The `anthropic` provider against a server that speaks its wire format, and against one that misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from models import errors
from models.event import Usage
from tasks.providers.anthropic import AnthropicProvider
from tasks.providers.anthropic_request import DEFAULT_MAX_TOKENS
from tasks.providers.base import FinishPiece, Message, ProviderRequest, TextPiece, ToolCallPiece, UsagePiece
from tasks.providers.upstream import Timeouts
from tests.fakes.anthropic_server import Answer, FakeAnthropic, refused
from tests.fakes.scripted_server import Fault
from tests.tasks.providers.calling import Seen, call

KEY = "sk-ant-test-key"
REQUEST = ProviderRequest(model="claude", messages=(Message(role="user", content="hello"),))
PATIENT = Timeouts(connect_seconds=60, first_byte_seconds=60, idle_seconds=60)


@pytest.fixture
def fake() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as server:
        yield server


def _provider(fake: FakeAnthropic, key: str = KEY, timeouts: Timeouts = PATIENT) -> AnthropicProvider:
    return AnthropicProvider(fake.url, key, timeouts, allow_private=True)


@pytest.fixture
async def provider(fake: FakeAnthropic) -> AsyncIterator[AnthropicProvider]:
    made = _provider(fake)
    yield made
    await made.aclose()


async def _call(provider: AnthropicProvider, request: ProviderRequest = REQUEST) -> Seen:
    return await call(provider, request)


async def test_an_answer_comes_whole_with_its_usage_and_its_finish(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    seen = await _call(provider)
    expected = [*map(TextPiece, fake.words("hello")), UsagePiece(Usage(input=11, output=20)), FinishPiece("stop")]
    assert (seen.pieces, seen.failure, provider.skipped) == (expected, None, 0)


async def test_a_request_says_what_is_wanted_and_no_more(fake: FakeAnthropic, provider: AnthropicProvider) -> None:
    messages = tuple(Message(role=role, content=role) for role in ("system", "user", "assistant", "user"))
    await _call(provider, ProviderRequest(model="m", messages=messages, max_output_tokens=7, temperature=0.5))
    await _call(provider)
    turns = [{"role": turn.role, "content": turn.content} for turn in messages[1:]]
    assert fake.seen[0] == {
        "model": "m",
        "system": "system",
        "messages": turns,
        "max_tokens": 7,
        "temperature": 0.5,
        "stream": True,
    }
    assert fake.seen[1]["max_tokens"] == DEFAULT_MAX_TOKENS
    headers = fake.headers_seen[0]
    assert headers["x-api-key"] == KEY
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["accept-encoding"] == "identity"
    assert "authorization" not in headers


async def test_without_a_key_none_is_sent(fake: FakeAnthropic) -> None:
    provider = _provider(fake, "")
    assert (await _call(provider)).finish == "stop"
    await provider.aclose()
    assert "x-api-key" not in fake.headers_seen[0]


async def test_what_cannot_be_said_is_refused_without_a_call(fake: FakeAnthropic, provider: AnthropicProvider) -> None:
    request = ProviderRequest(model="m", messages=REQUEST.messages, response_format={"type": "json_object"})
    assert type((await _call(provider, request)).failure) is errors.ProviderRefusedRequest
    assert fake.calls == 0


async def test_cached_tokens_are_told_apart(fake: FakeAnthropic, provider: AnthropicProvider) -> None:
    counts = {"input_tokens": 3, "cache_creation_input_tokens": 40, "cache_read_input_tokens": 500, "output_tokens": 1}
    fake.script(Answer(tokens=2, input_usage=counts))
    assert (await _call(provider)).pieces[-2] == UsagePiece(Usage(input=543, cached=500, cache_write=40, output=2))


async def test_a_tool_call_comes_in_pieces(fake: FakeAnthropic, provider: AnthropicProvider) -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    delta = {"type": "input_json_delta", "partial_json": '{"x":1}'}
    events = (
        {"type": "content_block_start", "index": 1, "content_block": block},
        {"type": "content_block_delta", "index": 1, "delta": delta},
        {"type": "content_block_stop", "index": 1},
    )
    fake.script(Answer(texts=("a",), events=events, stop_reason="tool_use"))
    assert (await _call(provider)).pieces == [
        TextPiece("a"),
        ToolCallPiece(0, "toolu_1", "look", ""),
        ToolCallPiece(0, None, None, '{"x":1}'),
        UsagePiece(Usage(input=11, output=1)),
        FinishPiece("tool_calls"),
    ]


@pytest.mark.parametrize(
    ("said", "meant"),
    [("refusal", "refusal"), ("max_tokens", "length"), ("pause_turn", "length"), ("end_turn", "stop")],
)
async def test_the_reason_of_the_end_is_told(
    fake: FakeAnthropic, provider: AnthropicProvider, said: str, meant: str
) -> None:
    fake.script(Answer(stop_reason=said))
    assert (await _call(provider)).finish == meant


async def test_a_finished_call_leaves_its_connection_for_the_next(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    for _ in range(5):
        assert (await _call(provider)).finish == "stop"
        assert fake.open == 1
    assert fake.calls == 5


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_bytes_may_be_cut_anywhere(fake: FakeAnthropic, provider: AnthropicProvider, size: int) -> None:
    texts = ("é中", "😀\r\n\u2028\x85", "data: x\n\nevent: message_stop")
    fake.script(Answer(texts=texts, bytes_a_write=size))
    seen = await _call(provider)
    assert (seen.texts, seen.finish) == ([*texts], "stop")


async def test_an_emoji_in_halves_comes_whole_and_what_cannot_be_stored_is_replaced(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    fake.script(Answer(texts=("a\ud83d", "\ude00b", "\0", "\ude00", "\ud83d")))
    assert (await _call(provider)).texts == ["a", "😀b", "\ufffd", "\ufffd", "\ufffd"]


@pytest.mark.parametrize(
    "answer",
    [Answer(stop=False), Answer(stop_reason=None), Answer(chunked=False), Answer(stop=False, chunked=False)],
    ids=["no message_stop", "no stop reason", "no chunks", "no message_stop and no chunks"],
)
async def test_one_marker_of_the_end_is_enough(
    fake: FakeAnthropic, provider: AnthropicProvider, answer: Answer
) -> None:
    fake.script(answer)
    seen = await _call(provider)
    assert (seen.texts, seen.finish, seen.failure) == (fake.words("hello"), "stop", None)


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("at", [0, 3, 21])
async def test_a_clean_end_without_any_marker_is_no_end(
    fake: FakeAnthropic, provider: AnthropicProvider, chunked: bool, at: int
) -> None:
    fake.script(Answer(fault="end", at=at, chunked=chunked))
    seen = await _call(provider)
    assert type(seen.failure) is errors.ProviderUnreachable
    assert (seen.texts, seen.finish) == (fake.words("hello", min(at, 20)), None)


@pytest.mark.parametrize("fault", ["reset", "close"])
@pytest.mark.parametrize("at", [-1, 0, 3])
async def test_a_broken_connection_is_told_after_the_text_before_it(
    fake: FakeAnthropic, provider: AnthropicProvider, fault: Fault, at: int
) -> None:
    fake.script(Answer(fault=fault, at=at))
    seen = await _call(provider)
    assert type(seen.failure) is errors.ProviderUnreachable
    assert seen.texts == fake.words("hello", max(at, 0))
    assert (await _call(provider)).finish == "stop"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refused(400, "invalid_request_error"), errors.ProviderRefusedRequest),
        (refused(401, "authentication_error"), errors.ProviderAuthFailed),
        (refused(402, "billing_error"), errors.ProviderQuotaExhausted),
        (refused(403, "permission_error"), errors.ProviderAuthFailed),
        (refused(404, "not_found_error"), errors.ProviderRefusedRequest),
        (refused(413, "request_too_large"), errors.ProviderRefusedRequest),
        (refused(429, "rate_limit_error"), errors.ProviderRateLimited),
        (refused(500, "api_error"), errors.ProviderOverloaded),
        (refused(504, "timeout_error"), errors.ProviderOverloaded),
        (refused(529, "overloaded_error"), errors.ProviderOverloaded),
        (Answer(status=502, body=b"<html>secret</html>"), errors.ProviderOverloaded),
        (Answer(headers={"content-type": "text/html"}, body=b"<html>secret"), errors.ProviderProtocolBroken),
        (Answer(status=307, headers={"location": "http://169.254.169.254/"}, body=b""), errors.ProviderProtocolBroken),
    ],
)
async def test_a_refusal_is_classified(
    fake: FakeAnthropic, provider: AnthropicProvider, answer: Answer, kind: type[errors.ProviderFailure]
) -> None:
    fake.script(answer)
    seen = await _call(provider)
    assert (type(seen.failure), seen.pieces) == (kind, [])


async def test_a_refusal_says_when_to_try_again(fake: FakeAnthropic, provider: AnthropicProvider) -> None:
    fake.script(refused(429, "rate_limit_error", {"retry-after": "2", "x-should-retry": "true"}))
    failure = (await _call(provider)).failure
    assert (vars(failure)["retry_after_seconds"], vars(failure)["should_retry"]) == (2.0, True)


@pytest.mark.parametrize("at", [0, 3])
async def test_an_error_within_the_stream_is_classified_by_its_type(
    fake: FakeAnthropic, provider: AnthropicProvider, at: int
) -> None:
    error = {"type": "rate_limit_error", "message": "secret"}
    fake.script(
        Answer(fault="error", at=at),
        Answer(fault="error", at=at, error=error),
        Answer(body=b"event: error\ndata: secret\n\n"),
    )
    seen = await _call(provider)
    assert type(seen.failure) is errors.ProviderOverloaded
    assert (seen.texts, seen.finish) == (fake.words("hello", at), None)
    assert type((await _call(provider)).failure) is errors.ProviderRateLimited
    assert type((await _call(provider)).failure) is errors.ProviderOverloaded


@pytest.mark.parametrize("at", [0, 3])
async def test_a_malformed_line_is_a_broken_protocol(fake: FakeAnthropic, provider: AnthropicProvider, at: int) -> None:
    fake.script(Answer(fault="malformed", at=at))
    seen = await _call(provider)
    assert type(seen.failure) is errors.ProviderProtocolBroken
    assert seen.texts == fake.words("hello", at)


async def test_an_unknown_event_is_skipped_and_counted(fake: FakeAnthropic, provider: AnthropicProvider) -> None:
    fake.script(Answer(fault="unknown", at=3))
    seen = await _call(provider)
    assert (seen.texts, seen.finish, provider.skipped) == (fake.words("hello"), "stop", 1)


async def test_silence_has_its_limits(fake: FakeAnthropic) -> None:
    first_hasty = _provider(fake, timeouts=Timeouts(connect_seconds=60, first_byte_seconds=0.2, idle_seconds=60))
    then_hasty = _provider(fake, timeouts=Timeouts(connect_seconds=60, first_byte_seconds=60, idle_seconds=0.3))
    fake.script(Answer(fault="hang", at=-1), Answer(fault="hang", at=3))
    first, second = await _call(first_hasty), await _call(then_hasty)
    await first_hasty.aclose()
    await then_hasty.aclose()
    assert "first byte did not come within 0.2 s" in str(first.failure)
    assert "next chunk did not come within 0.3 s" in str(second.failure)
    assert second.texts == fake.words("hello", 3)


@pytest.mark.parametrize(("events_later", "wait"), [(2, "TAIL_SECONDS"), (3, "LINGER_SECONDS")])
@pytest.mark.parametrize("fault", ["hang", "reset", "close"])
async def test_what_goes_wrong_after_the_stop_reason_harms_nothing(
    fake: FakeAnthropic,
    provider: AnthropicProvider,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    events_later: int,
    wait: str,
) -> None:
    monkeypatch.setattr(f"tasks.providers.anthropic.{wait}", 0.02)
    fake.script(Answer(tokens=3, fault=fault, at=3 + events_later))
    seen = await _call(provider)
    assert (seen.texts, seen.finish, seen.failure) == (fake.words("hello", 3), "stop", None)
    await fake.until(lambda: fake.open == 0)


async def test_a_reader_that_stops_closes_the_socket_at_once(fake: FakeAnthropic, provider: AnthropicProvider) -> None:
    fake.usually = Answer(tokens=10_000, delay_seconds=0.001)
    async with aclosing(provider.stream(REQUEST)) as pieces:
        await anext(pieces)
    await fake.until(lambda: fake.open == 0, 1)


async def test_a_call_that_is_held_goes_on_when_it_is_let_go(fake: FakeAnthropic, provider: AnthropicProvider) -> None:
    fake.usually = Answer(tokens=3, fault="hold", at=1)
    calls = [asyncio.create_task(_call(provider)) for _ in range(50)]
    await fake.until(lambda: fake.answering == 50)
    fake.release()
    assert {tuple(seen.texts) for seen in await asyncio.gather(*calls)} == {tuple(fake.words("hello", 3))}
