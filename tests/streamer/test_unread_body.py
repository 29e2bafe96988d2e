"""Bodies that go on after the answer: the connection ends with it, unless the rest comes soon."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from peewee import Database

from models.settings import Settings
from streamer import unread_body
from tests.streamer.web_server import WebServer, web_server

CHUNK = b"10000\r\n" + b" " * 65536 + b"\r\n"

#: Answered before anything of the body is read, or once it is too large.
CALLS = ["POST /ai/v1/chat", "POST /ai/v1/session/grant", "POST /nowhere", "POST /healthz", "GET /ai/v1/chat/x/events"]


@pytest.fixture
async def web(live: Settings, database: Database, api_key: str) -> AsyncIterator[WebServer]:
    async with web_server(live) as web:
        yield web


class Connection:
    """A client that writes and reads as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def begin(self, call: str, *headers: str, body: bytes = b"") -> None:
        head = [f"{call} HTTP/1.1", "host: x", "content-type: application/json", *headers]
        self.writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(60):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            await self.reader.readexactly(int(headers["content-length"]))
        return int(lines[0].split()[1]), headers

    async def closed(self) -> bool:
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(60):
                return await self.reader.read() == b""
        return True


@pytest.fixture
async def connection(web: WebServer) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    yield Connection(reader, writer)
    writer.transport.abort()


@pytest.mark.parametrize("call", CALLS)
async def test_a_body_without_end_is_answered_and_not_read_any_further(connection: Connection, call: str) -> None:
    await connection.begin(call, "transfer-encoding: chunked")
    sent = 0
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(60):
            while sent < 256 * 1024 * 1024:
                connection.writer.write(CHUNK)
                await connection.writer.drain()
                sent += len(CHUNK)

    assert sent < 32 * 1024 * 1024  # most of it lies in the sockets


@pytest.mark.parametrize("call", CALLS)
async def test_what_is_announced_too_long_is_answered_at_once(connection: Connection, call: str) -> None:
    await connection.begin(call, "content-length: 999999999999")
    status, headers = await connection.answer()

    assert status in (401, 404, 405, 413)
    assert headers["connection"] == "close"
    assert await connection.closed()


@pytest.mark.parametrize("call", CALLS)
async def test_a_short_body_that_nobody_reads_leaves_the_connection_open(connection: Connection, call: str) -> None:
    for _ in range(2):
        await connection.begin(call, "content-length: 70000", body=b" " * 70_000)
        status, headers = await connection.answer()
        assert status in (401, 404, 405, 413)
        assert "connection" not in headers


async def test_a_short_body_that_does_not_come_ends_the_connection(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread_body, "LINGER_SECONDS", 0.05)
    await connection.begin("POST /nowhere", "content-length: 10", body=b"12345")
    status, headers = await connection.answer()

    assert (status, headers["connection"]) == (404, "close")
    assert await connection.closed()


async def test_who_waits_to_be_told_to_go_on_is_refused_at_once(connection: Connection) -> None:
    await connection.begin("POST /ai/v1/chat", "content-length: 1000", "expect: 100-continue")
    status, headers = await connection.answer()

    assert (status, headers["connection"]) == (401, "close")


@pytest.mark.parametrize("body", [b"{}", b""])
async def test_a_body_that_is_read_leaves_the_connection_open(connection: Connection, body: bytes) -> None:
    for _ in range(2):
        await connection.begin("POST /ai/v1/session/grant", f"content-length: {len(body)}", body=body)
        status, headers = await connection.answer()
        assert status == 400
        assert "connection" not in headers
