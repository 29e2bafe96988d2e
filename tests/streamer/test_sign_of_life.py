"""A Redis that is away is told soon; a process that is busy takes its time."""

import asyncio
import time

import pytest

from models.errors import Unavailable
from streamer import sign_of_life
from streamer.sign_of_life import SignOfLife


async def after(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "PONG"


async def never() -> str:
    await asyncio.Event().wait()
    return ""


async def refused() -> str:
    raise ConnectionRefusedError


async def nonsense() -> str:
    raise ValueError("no reply of Redis")


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> SignOfLife:
    monkeypatch.setattr(sign_of_life, "SILENT_SECONDS", 0.2)
    return SignOfLife()


async def test_a_reply_is_handed_on(life: SignOfLife) -> None:
    assert await life.reply(after(0)) == "PONG"


async def test_silence_is_told_soon(life: SignOfLife) -> None:
    silent = asyncio.ensure_future(never())
    with pytest.raises(Unavailable, match="Redis is away; nothing was stored") as told:
        await life.reply(silent)
    assert told.value.retry_after_seconds == 2
    silent.cancel()


async def test_a_refused_connection_is_told_at_once(life: SignOfLife) -> None:
    with pytest.raises(Unavailable):
        await life.reply(refused())


async def test_any_other_failure_is_the_callers(life: SignOfLife) -> None:
    with pytest.raises(ValueError, match="no reply of Redis"):
        await life.reply(nonsense())


async def test_who_waits_among_many_is_not_refused_while_others_are_answered(life: SignOfLife) -> None:
    waiting = asyncio.ensure_future(life.reply(after(0.6)))
    while not waiting.done():
        assert await life.reply(after(0.01)) == "PONG"
    assert await waiting == "PONG"


async def test_a_process_that_was_held_up_reads_what_came_meanwhile(life: SignOfLife) -> None:
    server = await asyncio.start_server(answer_at_once, "127.0.0.1")
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        reply = asyncio.ensure_future(life.reply(reader.readexactly(4)))
        await asyncio.sleep(0)
        time.sleep(0.5)  # noqa: ASYNC251 -- what is tested: nothing else of this process runs
        assert await reply == b"PONG"
        writer.close()
        await writer.wait_closed()


async def answer_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"PONG")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
