"""The demo: the same answer every time, at the pace that is set."""

import asyncio
from typing import Any

import pytest

from models.errors import ProviderOverloaded, ProviderRefusedRequest, ProviderUnreachable
from models.event import storable
from tasks.providers.base import FinishPiece, Message, Piece, ProviderRequest, TextPiece, UsagePiece
from tasks.providers.demo import BROKEN_AFTER, MAX_QUOTE, DemoProvider, tokens


class Clock:
    """A clock that only sleeping moves, and a test."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def _request(model: str, message: str = "Hi", **more: Any) -> ProviderRequest:
    turns = (Message(role="system", content="Be kind."), Message(role="user", content=message))
    return ProviderRequest(model=model, messages=turns, **more)


async def _pieces(request: ProviderRequest) -> list[Piece]:
    clock = Clock()
    return [piece async for piece in DemoProvider(40, sleep=clock.sleep, clock=lambda: clock.now).stream(request)]


def _text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, TextPiece))


async def test_echo_quotes_the_message_and_explains_in_paragraphs() -> None:
    pieces = await _pieces(_request("echo", "What is\nthis?"))
    text = _text(pieces)
    assert text.startswith("Hello! You wrote: “What is this?”\n\n")
    assert text.count("\n\n") >= 4
    assert 150 <= len(pieces) <= 300
    for word in ("queue", "Redis", "worker", "Reload", "Stop", "OPENAI_API_KEY"):
        assert word in text


async def test_the_same_request_has_the_same_pieces() -> None:
    assert await _pieces(_request("echo")) == await _pieces(_request("echo"))


@pytest.mark.parametrize(("model", "least", "most"), [("short", 10, 40), ("long", 1500, 2500)])
async def test_answers_have_their_length_and_end_with_usage_and_finish(model: str, least: int, most: int) -> None:
    *texts, usage, finish = await _pieces(_request(model))
    assert least <= len(texts) <= most
    assert all(isinstance(piece, TextPiece) and piece.text for piece in texts)
    assert isinstance(usage, UsagePiece)
    assert usage.usage.output == len(texts)
    assert usage.usage.input == 4
    assert finish == FinishPiece("stop")


@pytest.mark.parametrize("message", ["{quote} {0} %s", "x" * 30_000, "a\ud83d\0b", "", "😀\u2028中", "”\n\ndata: x"])
async def test_any_message_can_be_quoted(message: str) -> None:
    text = _text(await _pieces(_request("echo", message)))
    assert text == storable(text)
    assert storable(" ".join(message.split())[:MAX_QUOTE]) in text
    assert len(text) < 3000


async def test_a_limit_on_the_output_ends_it_by_length() -> None:
    *texts, usage, finish = await _pieces(_request("long", max_output_tokens=5))
    assert len(texts) == 5
    assert isinstance(usage, UsagePiece)
    assert usage.usage.output == 5
    assert finish == FinishPiece("length")


@pytest.mark.parametrize("text", ["", "a", "  a\n\n b.c—d é😀 _x_ 中文中文中文中文中文中文中文", "x" * 50])
def test_tokens_are_the_text_again(text: str) -> None:
    assert "".join(tokens(text)) == text


async def test_the_pace_is_kept_however_slow_the_reader_is() -> None:
    clock = Clock()
    times = []
    async for piece in DemoProvider(10, sleep=clock.sleep, clock=lambda: clock.now).stream(_request("short")):
        if isinstance(piece, TextPiece):
            times.append(round(clock.now - 100, 6))
            if len(times) == 3:
                clock.now += 0.35  # a reader that is busy: what is late comes at once, what is not comes when due
    assert times[:8] == [0.0, 0.1, 0.2, 0.55, 0.55, 0.55, 0.6, 0.7]


async def test_broken_breaks_off_in_the_middle() -> None:
    stream = DemoProvider(1e9).stream(_request("broken"))
    given = [await anext(stream) for _ in range(BROKEN_AFTER)]
    assert given == (await _pieces(_request("echo")))[:BROKEN_AFTER]
    with pytest.raises(ProviderUnreachable):
        await anext(stream)


async def test_error_fails_before_its_first_token() -> None:
    with pytest.raises(ProviderOverloaded):
        await anext(DemoProvider(1e9).stream(_request("error")))


async def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ProviderRefusedRequest, match="echo, short, long, error and broken"):
        await anext(DemoProvider(1e9).stream(_request("gpt-4o")))


async def test_a_fast_demo_lets_others_run_and_can_be_cancelled() -> None:
    async def drain() -> None:
        async for _ in DemoProvider(1e9).stream(_request("long")):
            pass

    task = asyncio.create_task(drain())
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
