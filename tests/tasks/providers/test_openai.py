"""The `openai` provider against a server that speaks its wire format, and against one that misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from models import errors
from models.event import Usage
from models.provider_config import MaxTokensField
from tasks.providers.base import FinishPiece, Message, ProviderRequest, TextPiece, UsagePiece
from tasks.providers.openai import OpenAIProvider
from tasks.providers.upstream import Timeouts
from tests.fakes.openai_server import Answer, FakeOpenAI, html, redirect, refused
from tests.fakes.scripted_server import Fault
from tests.tasks.providers.calling import Seen, call

KEY = "sk-test-key"
REQUEST = ProviderRequest(model="gpt-4o-mini", messages=(Message(role="user", content="hello"),))
PATIENT = Timeouts(connect_seconds=60, first_byte_seconds=60, idle_seconds=60)


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
async def provider(fake: FakeOpenAI) -> AsyncIterator[OpenAIProvider]:
    made = OpenAIProvider(fake.url, KEY, PATIENT, allow_private=True)
    yield made
    await made.aclose()


async def _call(provider: OpenAIProvider, request: ProviderRequest = REQUEST) -> Seen:
    return await call(provider, request)


async def test_an_answer_comes_whole_with_its_usage_and_its_finish(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    seen = await _call(provider)
    expected = [*map(TextPiece, fake.words("hello")), UsagePiece(Usage(input=11, output=20)), FinishPiece("stop")]
    assert seen.pieces == expected
    assert seen.failure is None


async def test_a_request_says_what_is_wanted_and_no_more(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    messages = tuple(Message(role=role, content=role) for role in ("system", "user", "assistant", "user"))
    await _call(provider, ProviderRequest(model="m", messages=messages, max_output_tokens=7, temperature=0.5))
    await _call(provider)
    turns = [{"role": turn.role, "content": turn.content} for turn in messages]
    plain = {"stream": True, "stream_options": {"include_usage": True}}
    assert fake.seen[0] == {"model": "m", "messages": turns, "max_tokens": 7, "temperature": 0.5} | plain
    assert fake.seen[1] == {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]} | plain
    headers = fake.headers_seen[0]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["accept"] == "text/event-stream"
    assert headers["accept-encoding"] == "identity"
    assert headers["content-type"] == "application/json"


async def test_tools_their_results_and_a_response_format_are_passed_through(
    fake: FakeOpenAI, provider: OpenAIProvider
) -> None:
    made = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    messages = (
        *REQUEST.messages,
        Message(role="assistant", content="", tool_calls=(made,)),
        Message(role="tool", content="sunny", tool_call_id="call_1"),
    )
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    await _call(provider, ProviderRequest(model="m", messages=messages, tools=(tool,), response_format=wanted))
    assert fake.seen[0]["messages"][1:] == [
        {"role": "assistant", "content": "", "tool_calls": [made]},
        {"role": "tool", "content": "sunny", "tool_call_id": "call_1"},
    ]
    assert (fake.seen[0]["tools"], fake.seen[0]["response_format"]) == ([tool], wanted)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_a_server_is_sent_the_field_that_it_is_said_to_want(fake: FakeOpenAI, field: MaxTokensField) -> None:
    provider = OpenAIProvider(fake.url, KEY, PATIENT, max_tokens_field=field, allow_private=True)
    await _call(provider, ProviderRequest(model="m", messages=REQUEST.messages, max_output_tokens=7))
    await provider.aclose()
    assert {name: count for name, count in fake.seen[0].items() if name.startswith("max_")} == {field: 7}


async def test_headers_of_the_table_go_along_and_change_none_of_ours(fake: FakeOpenAI) -> None:
    provider = OpenAIProvider(fake.url, KEY, PATIENT, headers={"x-team": "search"}, allow_private=True)
    await _call(provider)
    await provider.aclose()
    assert fake.headers_seen[0]["x-team"] == "search"
    assert fake.headers_seen[0]["authorization"] == f"Bearer {KEY}"


async def test_a_host_that_is_not_allowed_is_sent_nothing(fake: FakeOpenAI) -> None:
    provider = OpenAIProvider(fake.url, KEY, PATIENT)
    failure = (await _call(provider)).failure
    await provider.aclose()
    assert type(failure) is errors.ProviderUnreachable
    assert (vars(failure)["should_retry"], fake.calls, fake.open) == (False, 0, 0)


async def test_no_log_line_holds_the_key_the_prompt_or_the_answer(
    fake: FakeOpenAI, provider: OpenAIProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    fake.script(Answer(), refused(401), Answer(fault="error", at=3), Answer(fault="malformed", at=3), html(502))
    for _ in range(5):
        await _call(provider)
    blocked = OpenAIProvider(fake.url, KEY, PATIENT)
    await _call(blocked)
    await blocked.aclose()
    said = caplog.text + "".join(repr(vars(record)) for record in caplog.records)
    assert "which is no public address" in said
    for secret in (KEY, "hello", fake.words("hello")[0].strip(), "secret"):
        assert secret not in said


async def test_openai_itself_is_sent_max_completion_tokens() -> None:
    provider = OpenAIProvider("https://api.openai.com/v1", KEY, PATIENT)
    body = provider._body(ProviderRequest(model="m", messages=(), max_output_tokens=7))
    await provider.aclose()
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body


async def test_without_a_key_none_is_sent_and_flags_are_kept(fake: FakeOpenAI) -> None:
    provider = OpenAIProvider(fake.url, "", PATIENT, include_usage=False, allow_private=True)
    seen = await _call(provider)
    await provider.aclose()
    assert "authorization" not in fake.headers_seen[0]
    assert "stream_options" not in fake.seen[0]
    assert seen.pieces[-2:] == [TextPiece(fake.words("hello")[-1]), FinishPiece("stop")]


async def test_a_finished_call_leaves_its_connection_for_the_next(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    for _ in range(5):
        assert (await _call(provider)).finish == "stop"
        assert fake.open == 1
    assert fake.calls == 5


async def test_the_end_of_the_body_is_waited_for_so_that_the_connection_can_be_kept(
    fake: FakeOpenAI, provider: OpenAIProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.providers.openai.LINGER_SECONDS", 5)
    fake.script(Answer(tokens=3, fault="hold", at=6))  # after [DONE]
    call = asyncio.create_task(_call(provider))
    await fake.until(lambda: fake.answering == 1)
    fake.release()
    assert (await call).finish == "stop"
    assert len(provider._upstream._pool._idle) == 1


async def test_many_calls_run_at_once(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    fake.usually = Answer(tokens=3, fault="hold", at=1)
    calls = [asyncio.create_task(_call(provider)) for _ in range(300)]
    await fake.until(lambda: fake.answering == 300)
    fake.release()
    assert {tuple(seen.texts) for seen in await asyncio.gather(*calls)} == {tuple(fake.words("hello", 3))}


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_bytes_may_be_cut_anywhere(fake: FakeOpenAI, provider: OpenAIProvider, size: int) -> None:
    fake.script(Answer(texts=("é中", "😀\r\n\u2028\x85", "data: x\n\nevent: done"), bytes_a_write=size))
    seen = await _call(provider)
    assert seen.texts == ["é中", "😀\r\n\u2028\x85", "data: x\n\nevent: done"]
    assert seen.finish == "stop"


async def test_an_emoji_in_halves_comes_whole_and_what_cannot_be_stored_is_replaced(
    fake: FakeOpenAI, provider: OpenAIProvider
) -> None:
    fake.script(Answer(texts=("a\ud83d", "\ude00b", "\0", "\ude00", "\ud83d")))
    assert (await _call(provider)).texts == ["a", "😀b", "\ufffd", "\ufffd", "\ufffd"]


async def test_a_stream_in_other_line_ends_with_comments_and_a_mark_is_the_same(
    fake: FakeOpenAI, provider: OpenAIProvider
) -> None:
    data = (
        b'\xef\xbb\xbf: ping\r\n\r\ndata: {"choices":[{"delta":{"content":"a"}}]}\r\r: ping\ndata:\n\ndata: [DONE]\r\r'
    )
    fake.script(Answer(body=data))
    assert (await _call(provider)).pieces == [TextPiece("a"), FinishPiece("stop")]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(done=False),
        Answer(finish_reason=None),
        Answer(chunked=False),
        Answer(done=False, chunked=False),
        Answer(headers={"content-type": "Text/Event-Stream"}),
    ],
    ids=["no DONE", "no finish reason", "no chunks", "no DONE and no chunks", "another case"],
)
async def test_one_marker_of_the_end_is_enough(fake: FakeOpenAI, provider: OpenAIProvider, answer: Answer) -> None:
    fake.script(answer)
    seen = await _call(provider)
    assert (seen.texts, seen.finish, seen.failure) == (fake.words("hello"), "stop", None)


@pytest.mark.parametrize("fault", ["reset", "close"])
@pytest.mark.parametrize("at", [-1, 0, 3])
async def test_a_broken_connection_is_told_after_the_text_before_it(
    fake: FakeOpenAI, provider: OpenAIProvider, fault: Fault, at: int
) -> None:
    fake.script(Answer(fault=fault, at=at))
    seen = await _call(provider)
    assert type(seen.failure) is errors.ProviderUnreachable
    assert seen.texts == fake.words("hello", max(at, 0))
    assert (await _call(provider)).finish == "stop"


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("at", [0, 3])
async def test_a_clean_end_without_any_marker_is_no_end(
    fake: FakeOpenAI, provider: OpenAIProvider, chunked: bool, at: int
) -> None:
    fake.script(Answer(fault="end", at=at, chunked=chunked))
    seen = await _call(provider)
    assert type(seen.failure) is errors.ProviderUnreachable
    assert (seen.texts, seen.finish) == (fake.words("hello", at), None)


async def test_a_server_may_be_known_to_send_no_marker(fake: FakeOpenAI) -> None:
    provider = OpenAIProvider(fake.url, "", PATIENT, end_is_finish=True, allow_private=True)
    fake.script(Answer(fault="end", at=3), Answer(fault="close", at=3))
    seen = await _call(provider)
    broken = await _call(provider)
    await provider.aclose()
    assert (seen.texts, seen.finish) == (fake.words("hello", 3), "stop")
    assert type(broken.failure) is errors.ProviderUnreachable


async def test_nobody_listening_is_unreachable() -> None:
    with FakeOpenAI() as gone:
        url = gone.url
    provider = OpenAIProvider(url, KEY, PATIENT, allow_private=True)
    seen = await _call(provider)
    await provider.aclose()
    assert type(seen.failure) is errors.ProviderUnreachable


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refused(400, "context_length_exceeded"), errors.ProviderRefusedRequest),
        (refused(401, "invalid_api_key"), errors.ProviderAuthFailed),
        (refused(429, "rate_limit_exceeded"), errors.ProviderRateLimited),
        (refused(429, "insufficient_quota"), errors.ProviderQuotaExhausted),
        (refused(500), errors.ProviderOverloaded),
        (refused(529), errors.ProviderOverloaded),
        (html(502), errors.ProviderOverloaded),
        (Answer(status=503, body=b""), errors.ProviderOverloaded),
        (Answer(status=404, body=b"["), errors.ProviderRefusedRequest),
        (html(200), errors.ProviderProtocolBroken),
        (redirect("http://169.254.169.254/"), errors.ProviderProtocolBroken),
        (Answer(headers={"content-encoding": "gzip"}), errors.ProviderProtocolBroken),
        (Answer(headers={"content-type": "application/json"}, body=b'{"secret": 1}'), errors.ProviderProtocolBroken),
        (
            Answer(headers={"content-type": "application/json"}, body=b'{"error": {"type": "rate_limit_error"}}'),
            errors.ProviderRateLimited,
        ),
    ],
)
async def test_a_refusal_is_classified(
    fake: FakeOpenAI, provider: OpenAIProvider, answer: Answer, kind: type[errors.ProviderFailure]
) -> None:
    fake.script(answer)
    seen = await _call(provider)
    assert type(seen.failure) is kind
    assert seen.pieces == []


async def test_a_redirect_is_not_followed(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    with FakeOpenAI() as private:
        fake.script(redirect(f"{private.url}/chat/completions"))
        await _call(provider)
        assert (fake.calls, private.calls, private.open) == (1, 0, 0)


async def test_a_refusal_says_when_to_try_again(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    fake.script(refused(429, None, {"retry-after": "2", "x-should-retry": "true"}), refused(500))
    first, second = (await _call(provider)).failure, (await _call(provider)).failure
    assert vars(first)["retry_after_seconds"] == 2.0
    assert vars(first)["should_retry"] is True
    assert vars(second)["retry_after_seconds"] is None


async def test_of_an_endless_error_body_little_is_read(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    fake.script(Answer(status=500, body=b"x" * 50_000_000, bytes_a_write=65536))
    assert type((await _call(provider)).failure) is errors.ProviderOverloaded
    await fake.until(lambda: fake.open == 0)


@pytest.mark.parametrize("at", [0, 3])
async def test_an_error_within_the_stream_is_classified(fake: FakeOpenAI, provider: OpenAIProvider, at: int) -> None:
    fake.script(Answer(fault="error", at=at), Answer(fault="error", at=at, error={"code": "rate_limit_exceeded"}))
    seen = await _call(provider)
    assert type(seen.failure) is errors.ProviderOverloaded
    assert (seen.texts, seen.finish) == (fake.words("hello", at), None)
    assert type((await _call(provider)).failure) is errors.ProviderRateLimited


async def test_an_event_of_type_error_is_classified(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    fake.script(
        Answer(body=b'event: error\ndata: {"error": {"type": "rate_limit_error"}}\n\n'),
        Answer(body=b'event: error\ndata: {"type": "invalid_request_error"}\n\n'),
        Answer(body=b"event: error\ndata: secret\n\n"),
    )
    kinds = [type((await _call(provider)).failure) for _ in range(3)]
    assert kinds == [errors.ProviderRateLimited, errors.ProviderRefusedRequest, errors.ProviderOverloaded]


@pytest.mark.parametrize("at", [0, 3])
async def test_a_malformed_line_is_a_broken_protocol(fake: FakeOpenAI, provider: OpenAIProvider, at: int) -> None:
    fake.script(Answer(fault="malformed", at=at))
    seen = await _call(provider)
    assert type(seen.failure) is errors.ProviderProtocolBroken
    assert seen.texts == fake.words("hello", at)


async def test_what_is_no_http_is_a_broken_protocol(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    fake.script(Answer(headers={"secret\x01": "x"}))
    assert type((await _call(provider)).failure) is errors.ProviderProtocolBroken


async def test_an_unknown_event_is_skipped_and_counted(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    fake.script(Answer(fault="unknown", at=3))
    seen = await _call(provider)
    assert (seen.texts, seen.finish, provider.skipped) == (fake.words("hello"), "stop", 1)


async def test_a_line_of_ten_megabytes_is_cut_off(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    fake.script(Answer(texts=("a", "x" * 10_000_000), bytes_a_write=65536))
    seen = await _call(provider)
    assert isinstance(seen.failure, errors.ProviderProtocolBroken)
    assert seen.texts == ["a"]
    await fake.until(lambda: fake.open == 0)


@pytest.mark.parametrize("at", [-1, 0])
async def test_silence_before_the_first_byte_of_the_body_has_its_limit(fake: FakeOpenAI, at: int) -> None:
    provider = OpenAIProvider(
        fake.url, KEY, Timeouts(connect_seconds=60, first_byte_seconds=0.2, idle_seconds=10), allow_private=True
    )
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\n"
    fake.script(Answer(fault="hang", at=-1, raw=head if at == 0 else b""))
    start = asyncio.get_running_loop().time()
    seen = await _call(provider)
    assert type(seen.failure) is errors.ProviderTimeout
    assert "first byte did not come within 0.2 s" in str(seen.failure)
    assert 0.2 <= asyncio.get_running_loop().time() - start < 9
    await fake.until(lambda: fake.open == 0)


async def test_silence_in_the_middle_has_its_limit(fake: FakeOpenAI) -> None:
    provider = OpenAIProvider(
        fake.url, KEY, Timeouts(connect_seconds=60, first_byte_seconds=60, idle_seconds=0.3), allow_private=True
    )
    fake.script(Answer(fault="hang", at=3))
    seen = await _call(provider)
    assert type(seen.failure) is errors.ProviderTimeout
    assert "next chunk did not come within 0.3 s" in str(seen.failure)
    assert seen.texts == fake.words("hello", 3)
    await fake.until(lambda: fake.open == 0)


@pytest.mark.parametrize(("events_later", "wait"), [(1, "TAIL_SECONDS"), (2, "TAIL_SECONDS"), (3, "LINGER_SECONDS")])
@pytest.mark.parametrize("fault", ["hang", "reset", "close"])
async def test_what_goes_wrong_after_the_finish_reason_harms_nothing(
    fake: FakeOpenAI,
    provider: OpenAIProvider,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    events_later: int,
    wait: str,
) -> None:
    monkeypatch.setattr(f"tasks.providers.openai.{wait}", 0.02)
    fake.script(Answer(tokens=3, fault=fault, at=3 + events_later))
    seen = await _call(provider)
    assert (seen.texts, seen.finish, seen.failure) == (fake.words("hello", 3), "stop", None)
    assert len(seen.pieces) == 3 + (events_later > 1) + 1
    await fake.until(lambda: fake.open == 0)


async def test_a_reader_that_takes_its_time_is_no_silence(fake: FakeOpenAI) -> None:
    provider = OpenAIProvider(
        fake.url, KEY, Timeouts(connect_seconds=60, first_byte_seconds=1.5, idle_seconds=1.5), allow_private=True
    )
    seen = Seen()
    async with aclosing(provider.stream(REQUEST)) as pieces:
        async for piece in pieces:
            if not seen.pieces:
                await asyncio.sleep(1.7)  # longer than either limit
            seen.pieces.append(piece)
    await provider.aclose()
    assert (seen.texts, seen.finish) == (fake.words("hello"), "stop")


async def test_a_reader_that_stops_closes_the_socket_at_once(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    fake.usually = Answer(tokens=10_000, delay_seconds=0.001)
    async with aclosing(provider.stream(REQUEST)) as pieces:
        await anext(pieces)
    await fake.until(lambda: fake.open == 0, 8)  # far less than the answer takes


@pytest.mark.parametrize("at", [-1, 0, 3])
async def test_a_cancelled_reader_closes_the_socket_at_once(
    fake: FakeOpenAI, provider: OpenAIProvider, at: int
) -> None:
    fake.usually = Answer(fault="hang", at=at)
    call = asyncio.create_task(_call(provider))
    await fake.until(lambda: fake.answering == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await fake.until(lambda: fake.open == 0, 8)  # far less than the answer takes


async def test_calls_cancelled_at_any_moment_leave_no_connection_behind(
    fake: FakeOpenAI, provider: OpenAIProvider
) -> None:
    fake.usually = Answer(tokens=5, delay_seconds=0.001)
    for turns in range(60):
        call = asyncio.create_task(_call(provider))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
    assert (await _call(provider)).finish == "stop"
    await fake.until(lambda: fake.open <= 1, 1)
