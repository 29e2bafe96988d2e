"""One HTTP/1.1 connection to a provider: a request goes out, the response's body is read as it comes (RFC 9112).

The parser is llhttp (httptools). Why not httpx: 100 streams of 50 tokens/s cost it 0.18 ms of processor time a token, and
this 0.04 ms; 500 calls begun at once took it 14 s, and this 1 s; and a call cancelled while it connects left a connection
in its pool for good. Here giving a connection back or closing it never waits, so that nothing can come between.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools

from models.errors import ProviderFailure, ProviderProtocolBroken, ProviderUnreachable
from tasks.providers.failures import failure

#: Bytes of a response's head, at most.
MAX_HEAD_BYTES = 64 * 1024

#: Bytes of a body that wait for their reader; the socket is not read while there are more.
MAX_WAITING_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """A response's status and its headers, their names in lower case; of doubled ones the last counts."""

    status: int
    headers: dict[str, str]


class Connection(asyncio.Protocol):
    """A connection for one exchange after the other; `lost` is called once when it is closed, by whomever."""

    def __init__(self, lost: Callable[["Connection"], None]) -> None:
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._paused = False
        self._reset()
        self._complete = True  # nothing is asked yet, so nothing may arrive

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._head: Head | None = None
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._complete = False
        self._ends_with_connection = False
        self._failure: ProviderFailure | None = None

    # What the owner calls

    @property
    def reusable(self) -> bool:
        """Whether the last response was read to its end, and both sides are willing to use the connection again."""
        whole = self._complete and not self._body
        return whole and not self._ends_with_connection and not self._transport.is_closing()

    def send(self, request: bytes) -> None:
        """Begins an exchange with a whole request, head and body."""
        self._reset()
        if self._transport.is_closing():  # and whoever should be told of the loss was told already
            self._fail(ProviderUnreachable, "The provider closed the connection before the request")
        else:
            self._transport.write(request)

    async def head(self, deadline: float) -> Head:
        """The response's head. `deadline` is a time of the loop's clock; TimeoutError at it.

        Raises ProviderUnreachable where the connection breaks and ProviderProtocolBroken for what is no HTTP.
        """
        while self._head is None:
            if self._failure:
                raise self._failure
            await self._wait(deadline)
        return self._head

    async def read(self, deadline: float) -> bytes:
        """What has come of the body since the last read, or comes next; b"" at its end. Raises as `head` does."""
        while not self._body:
            if self._complete:
                return b""
            if self._failure:
                raise self._failure
            await self._wait(deadline)
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._body_bytes = 0
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return data

    def close(self) -> None:
        """Closes the socket at once, whatever is going on."""
        self._transport.abort()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is no subclass of it

    def data_received(self, data: bytes) -> None:
        if self._complete:  # nobody asked for this
            self.close()
            return
        if self._head is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(ProviderProtocolBroken, "The provider's answer is not HTTP")
        if self._head is None and self._head_bytes > MAX_HEAD_BYTES:
            self._fail(ProviderProtocolBroken, f"The provider sent a head of more than {MAX_HEAD_BYTES} bytes")
        if self._body_bytes > MAX_WAITING_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self._ends_with_connection:
            self._complete = True
        if not self._complete:
            self._fail(ProviderUnreachable, "The provider closed the connection before the answer's end")
        if self._timer:
            self._timer.cancel()
        self._wake()
        self._lost(self)

    # What the parser calls

    def on_message_begin(self) -> None:
        if self._head is not None:
            raise ValueError  # a second response to one request: it becomes an HttpParserCallbackError

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # not 100 Continue or 103 Early Hints, which another head follows
            self._head = Head(status, self._headers)
            self._ends_with_connection = not self._parser.should_keep_alive()
        self._headers = {}

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        self._complete = self._head is not None

    # Waiting

    async def _wait(self, deadline: float) -> None:
        """Until something happened. One timer serves all waits: it is moved when it fires, not at every wait."""
        self._deadline = deadline
        self._waiter = self._loop.create_future()
        if self._timer is None or self._timer.when() > deadline:
            self._set_timer()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        if self._waiter and not self._waiter.done():
            if self._loop.time() < self._deadline:
                self._set_timer()
            else:
                self._waiter.set_exception(TimeoutError())

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, kind: type[ProviderFailure], message: str) -> None:
        if self._failure is None:
            self._failure = failure(kind, message)
            self._transport.abort()
