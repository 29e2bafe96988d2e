"""The real application behind a real uvicorn on loopback, in the test's own event loop; and a client that sees every byte."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Self

from models.settings import Settings
from streamer.app import Application, create_app
from streamer.event_stream import EventStream
from streamer.hub import Hub
from streamer.server import Server, configuration, listening_socket
from streamer.services import Services
from tests.streamer.eventually import eventually
from tests.streamer.frames import Event, parse

DEADLINE_SECONDS = 10.0


@dataclass(slots=True)
class Response:
    """An answer whose body is read as it comes."""

    status: int
    headers: dict[str, str]
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    _chunked: bool

    async def chunk(self) -> bytes:
        """The next piece of the body; b"" at its clean end. Raises IncompleteReadError where it is broken off."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            if not self._chunked:
                size = int(self.headers.get("content-length", "0"))
                found, self.headers = await self._reader.readexactly(size), {**self.headers, "content-length": "0"}
                return found
            line = await self._reader.readuntil(b"\r\n")
            found = await self._reader.readexactly(int(line, 16))
            await self._reader.readexactly(2)
            return found

    async def body(self) -> bytes:
        """All of the body."""
        found = bytearray()
        while piece := await self.chunk():
            found += piece
        return bytes(found)

    async def events(self, enough: Callable[[list[Event]], bool] = lambda _: False) -> list[Event]:
        """The events to the stream's end, or until there are enough."""
        found: list[Event] = []
        unparsed = b""  # an event that is larger than a write comes in pieces
        while unparsed or not enough(found):
            piece = await self.chunk()
            if not piece:
                break
            unparsed += piece
            if unparsed.endswith(b"\n\n"):
                found, unparsed = found + parse(unparsed), b""
        return found

    def stop_reading(self) -> None:
        """From now on the client takes nothing from its socket."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def broken_off(self) -> None:
        """Returns when the server has closed the connection, however."""
        with contextlib.suppress(OSError):
            async with asyncio.timeout(DEADLINE_SECONDS):
                while await self._reader.read(65536):
                    pass

    async def close(self) -> None:
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class WebServer:
    """What runs, and its address."""

    def __init__(self, app: Application, server: Server, port: int) -> None:
        self.app = app
        self.server = server
        self.port = port

    @property
    def hub(self) -> Hub:
        assert self.app.hub is not None
        return self.app.hub

    @property
    def services(self) -> Services:
        assert isinstance(self.app._events, EventStream)
        return self.app._events._services

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def get(self, target: str, headers: Mapping[str, str] | None = None, *, method: str = "GET") -> Response:
        """The answer's head, as soon as it is there; each is on a connection of its own."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            lines = [f"{method} {target} HTTP/1.1", "host: x", *_lines(headers or {})]
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        chunked = found.get("transfer-encoding") == "chunked" and method != "HEAD"
        return Response(int(head[0].split(" ")[1]), found, reader, writer, chunked)


def _lines(headers: Mapping[str, str]) -> Iterable[str]:
    return (f"{name}: {value}" for name, value in headers.items())


@asynccontextmanager
async def web_server(settings: Settings) -> AsyncIterator[WebServer]:
    """A web process's server. Its port is any free one."""
    app = create_app(settings)
    with listening_socket(replace(settings, port=0)) as listening:
        server = Server(configuration(app, settings), app, settings.web_drain_seconds)
        running = asyncio.create_task(server.serve(sockets=[listening]))
        web = WebServer(app, server, listening.getsockname()[1])
        try:
            await eventually(lambda: server.started or running.done())
            await eventually(lambda: web.hub._subscription.up or not settings.redis_url)
            yield web
        finally:
            server.handle_exit(signal.SIGTERM, None)
            async with asyncio.timeout(DEADLINE_SECONDS):
                await running
