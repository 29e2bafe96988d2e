"""Connections that cost more than they may: before a request is read, and after its answer is written."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from peewee import Database

from models.settings import Settings
from streamer.connection import MAX_HEAD_BYTES, MAX_HEADERS, Connection
from tests.streamer.eventually import eventually
from tests.streamer.web_server import WebServer, web_server

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture
async def web(live: Settings, database: Database) -> AsyncIterator[WebServer]:
    async with web_server(replace(live, head_seconds=0.3, send_timeout_seconds=0.5)) as web:
        yield web


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def told(self) -> bytes:
        """All that comes until the server closes."""
        found = b""
        async with asyncio.timeout(60):
            with contextlib.suppress(OSError):
                while data := await self.reader.read(65536):
                    found += data
        return found

    async def head(self) -> bytes:
        """The next answer's head; /healthz's body follows it."""
        async with asyncio.timeout(60):
            head = await self.reader.readuntil(b"\r\n\r\n")
            await self.reader.readexactly(len(b'{"status":"ok"}'))
            return head


@contextlib.asynccontextmanager
async def client(web: WebServer) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def connections(web: WebServer) -> list[Connection]:
    return [each for each in web.server.server_state.connections if isinstance(each, Connection)]


@pytest.mark.parametrize("begun", [b"", b"G", HEALTH, HEALTH + b"x: "])
async def test_a_head_that_does_not_come_to_its_end_is_not_waited_for(web: WebServer, begun: bytes) -> None:
    async with client(web) as it:
        it.writer.write(begun)
        assert await it.told() == b""
    await eventually(lambda: not connections(web))


async def test_a_head_that_comes_byte_by_byte_has_no_more_time(web: WebServer) -> None:
    async with client(web) as it:
        telling = asyncio.create_task(it.told())
        it.writer.write(HEALTH)
        with contextlib.suppress(OSError):
            while not telling.done():
                it.writer.write(b"x" if it.writer.transport.get_write_buffer_size() == 0 else b"")
                await asyncio.sleep(0.02)
        assert await telling == b""


async def test_a_second_request_on_a_connection_must_come_to_its_end_too(web: WebServer) -> None:
    async with client(web) as it:
        it.writer.write(HEALTH + b"\r\n")
        assert b" 200 " in await it.head()
        it.writer.write(HEALTH)
        assert await it.told() == b""


async def test_a_connection_that_rests_between_requests_is_kept(web: WebServer) -> None:
    async with client(web) as it:
        for _ in range(3):
            it.writer.write(HEALTH + b"\r\n")
            assert b" 200 " in await it.head()
            now = asyncio.get_running_loop().time()
            for each in connections(web):
                each.look(now + 60)
    await eventually(lambda: not connections(web))


@pytest.mark.parametrize(
    "more",
    [
        b"".join(b"x-%d: y\r\n" % number for number in range(100_000)),
        b"".join(b"x-%d: y\r\n" % number for number in range(MAX_HEADERS)),
        b"x: " + b"y" * MAX_HEAD_BYTES,
        b"x: " + b"y" * 1_000_000,
    ],
    ids=["100,000 headers", "one header too many", "a long header", "an endless header"],
)
async def test_a_large_head_is_refused_before_its_end(web: WebServer, more: bytes) -> None:
    async with client(web) as it:
        it.writer.write(HEALTH + more + b"\r\n\r\n")
        told = await it.told()
        assert told == b"" or told.startswith(b"HTTP/1.1 431 ")  # who still writes may see a reset instead
    await eventually(lambda: not connections(web))


async def test_a_long_address_is_refused(web: WebServer) -> None:
    async with client(web) as it:
        it.writer.write(b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await it.told()).startswith(b"HTTP/1.1 431 ")


async def test_a_head_as_large_as_allowed_is_answered(web: WebServer) -> None:
    async with client(web) as it:
        headers = b"".join(b"x-%d: %b\r\n" % (number, b"y" * 500) for number in range(MAX_HEADERS - 1))
        it.writer.write(HEALTH + headers + b"\r\n")
        assert b" 200 " in await it.head()


async def test_what_is_no_http_is_refused_as_before(web: WebServer) -> None:
    async with client(web) as it:
        it.writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert (await it.told()).startswith(b"HTTP/1.1 400 ")


async def test_a_reader_that_does_not_take_an_ended_answer_is_cut(web: WebServer) -> None:
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(slow, ("127.0.0.1", web.port))
        await eventually(lambda: len(connections(web)) == 1)
        (connection,) = connections(web)
        request = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(slow, request * 20)
        await eventually(lambda: connection.transport.get_write_buffer_size() > 0)
        await eventually(lambda: not connections(web))
