"""A loopback HTTP/1.1 server in a thread of its own, for imitations of providers that can misbehave to the byte.

It counts what tests ask about: `calls`, `open` sockets, `answering` calls; and knows at once when a caller hangs up.
"""

import asyncio
import json
import socket
import ssl
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from tests.fakes.closing import close_server

T = TypeVar("T")

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 s


class Exchange(asyncio.Protocol):
    """One connection: it parses requests, and answers them one after the other."""

    def __init__(self, server: "FakeServer") -> None:
        self.server = server
        self.transport: asyncio.Transport
        self.path = ""
        self.headers: dict[str, str] = {}
        self.body: Any = None
        self._received = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()
        self._answer: asyncio.Task[None] | None = None
        self._chunked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class is no subclass of it
        self.server.count(open=1)
        self.server.exchanges.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer:
            self._answer.cancel()
        self.server.exchanges.discard(self)
        self.server.count(open=-1)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._answer is None:
            self._next_request()

    def _next_request(self) -> None:
        head, end, rest = bytes(self._received).partition(b"\r\n\r\n")
        if not end:
            return
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._received = bytearray(rest[length:])
        self.path, self.headers = request_line.split(" ")[1], headers
        self.body = json.loads(rest[:length]) if length else None
        self._answer = asyncio.get_running_loop().create_task(self._respond())

    async def _respond(self) -> None:
        self.server.count(answering=1)
        try:
            await self.server.answer(self)
        finally:
            self._answer = None
            self.server.count(answering=-1)
        if not self.transport.is_closing():
            self._next_request()

    async def start(self, status: int, headers: Mapping[str, str], *, chunked: bool = True) -> None:
        """The response's head; without `chunked` the body ends with the connection."""
        self._chunked = chunked
        framing = {"transfer-encoding": "chunked"} if chunked else {"connection": "close"}
        lines = [f"{name}: {value}\r\n" for name, value in (dict(headers) | framing).items()]
        await self.write(f"HTTP/1.1 {status} Status\r\n{''.join(lines)}\r\n".encode("latin-1"))

    async def send(self, data: bytes) -> None:
        """A piece of the response's body, as one chunk."""
        await self.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end(self) -> None:
        """The body's clean end."""
        if self._chunked:
            await self.write(b"0\r\n\r\n")
        else:
            self.transport.close()

    async def write(self, data: bytes) -> None:
        """Bytes as they are, once the caller takes them."""
        await self._writable.wait()
        self.transport.write(data)

    def close(self) -> None:
        """Closes the connection in the middle of whatever is going on."""
        self.transport.close()

    def reset(self) -> None:
        """Ends the connection with a TCP reset; what was not taken is lost."""
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    async def json(self, status: int, content: object, headers: Mapping[str, str] | None = None) -> None:
        """A whole response with a JSON body."""
        await self.start(status, {"content-type": "application/json"} | dict(headers or {}))
        await self.send(json.dumps(content).encode())
        await self.end()


class FakeServer(ABC):
    """The server; use it as a context manager, or call `close`. `calls` counts what `answer` counts as calls."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.calls = 0
        self.open = 0
        self.answering = 0
        self.exchanges: set[Exchange] = set()
        self._tls = tls
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=type(self).__name__, daemon=True)
        self._thread.start()
        self._server = self._in_loop(self._listen)
        self.port: int = self._server.sockets[0].getsockname()[1]

    @abstractmethod
    async def answer(self, exchange: Exchange) -> None:
        """Answers the request in `exchange`; cancelled when the caller hangs up."""

    def count(self, *, calls: int = 0, open: int = 0, answering: int = 0) -> None:
        """Counts, and wakes who waits for the counts."""
        with self._changed:
            self.calls += calls
            self.open += open
            self.answering += answering
            self._changed.notify_all()

    def wait_until(self, true: Callable[[], bool], timeout_seconds: float = 60.0) -> None:
        """Blocks until `true()`, looked at whenever a count changes; AssertionError after the timeout."""
        with self._changed:
            assert self._changed.wait_for(true, timeout_seconds), f"{self.calls=} {self.open=} {self.answering=}"

    async def until(self, true: Callable[[], bool], timeout_seconds: float = 60.0) -> None:
        """`wait_until` for a test that runs in an event loop."""
        await asyncio.to_thread(self.wait_until, true, timeout_seconds)

    def in_thread(self, call: Callable[[], object]) -> None:
        """Runs `call` in the server's thread, soon."""
        self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """Ends every connection and the thread."""
        if self._loop.is_closed():
            return
        self._in_loop(self._shut)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _in_loop(self, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(step(), self._loop).result(10)

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: Exchange(self), "127.0.0.1", 0, backlog=1000, ssl=self._tls)

    async def _shut(self) -> None:
        await close_server(self._server)
        for exchange in list(self.exchanges):
            exchange.transport.abort()
        while tasks := asyncio.all_tasks() - {
            asyncio.current_task()
        }:  # the answers, cancelled by their connections' end
            await asyncio.wait(tasks)
