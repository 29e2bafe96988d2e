"""Our own uvicorn protocol: it bounds what a connection may cost before a request is read, and after an answer is written.

uvicorn itself waits for a request's head as long as it takes, reads as much of it as comes, and closes only once all is sent.
"""

import asyncio
import contextlib
import math
import socket
import struct
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from models.settings import Settings

#: Headers, and bytes of a request's head, that are read at most; a browser sends some 20 and 2 KB.
MAX_HEADERS = 100
MAX_HEAD_BYTES = 64 * 1024

#: Bytes that may wait here beside the kernel's before a writer has to wait, too.
UNSENT_BYTES = 16 * 1024

#: A reader that takes no more than this of an ended answer in the send timeout has stalled.
LITTLE_BYTES = 4 * 1024

#: `struct linger`: on, for 0 seconds.
_NO_LINGERING = struct.pack("ii", 1, 0)

_BREAK_OFF = "streamer.break_off"


class _HeadTooLarge(Exception):
    """Ends the parsing of a head."""


class Connection(HttpToolsProtocol):
    """One client's. `look` is called about once a second, for all of them: no connection has a timer of its own."""

    settings: Settings

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._due = math.inf
        """When this connection is given up, in the event loop's time: its head is not there, or its answer not taken."""
        self._in_head = True
        """Whether a request's head is awaited, or under way."""
        self._head_bytes = 0
        self._undivided_bytes = 0
        self._head_too_large = False
        self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(UNSENT_BYTES)
        self._due = self.loop.time() + self.settings.head_seconds

    def data_received(self, data: bytes) -> None:
        in_head = self._in_head
        super().data_received(data)
        if in_head and self._in_head and not self.transport.is_closing():
            self._undivided_bytes += len(data)  # the parser keeps an endless header to itself
            if self._undivided_bytes > MAX_HEAD_BYTES:
                self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_BREAK_OFF: {"abort": self.abort}}
        self._in_head, self._head_bytes, self._undivided_bytes = True, 0, 0
        self._due = min(self._due, self.loop.time() + self.settings.head_seconds)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._due = math.inf
        super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._head_too_large = True
            raise _HeadTooLarge  # the parser stops, and uvicorn answers with `send_400_response`

    def send_400_response(self, msg: str) -> None:
        if self._head_too_large:
            self._refuse_head()
        else:
            super().send_400_response(msg)

    def _refuse_head(self) -> None:
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()

    def look(self, now: float) -> None:
        """Gives the connection up where it is due. `now`: the event loop's time."""
        if not self._in_head and self.cycle.response_complete:
            self._look_at_rest(now)
        if now >= self._due:
            self.abort()

    def abort(self) -> None:
        """Ends it now, by a reset: else the kernel, too, would keep what a slow reader has not taken, for as long as it reads."""
        with contextlib.suppress(OSError, ValueError):  # it is lost already, and its descriptor with it
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        self.transport.abort()

    def _look_at_rest(self, now: float) -> None:
        """An ended answer must go out; the kernel gives up only a reader that takes nothing at all."""
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0:
            self._due, self._unsent = math.inf, 0
        elif self._due == math.inf or unsent < self._unsent - LITTLE_BYTES:
            self._due, self._unsent = now + self.settings.send_timeout_seconds, unsent


def connection_class(settings: Settings) -> type[Connection]:
    """What uvicorn makes of each connection."""
    return type("Connection", (Connection,), {"settings": settings})


async def break_off(scope: Scope) -> None:
    """Ends a request's connection at once, with what was not sent: closing it would wait for a reader that stalls."""
    extension = (scope.get("extensions") or {}).get(_BREAK_OFF)
    if extension is not None:
        extension["abort"]()
        await asyncio.sleep(0)  # now uvicorn knows that it is lost, and takes no early end for a mistake
