"""Bytes in, server-sent events out: WHATWG HTML §9.2.6 "Interpreting an event stream", incrementally, without a network.

Lines end at CR, LF or CRLF and nowhere else (not at U+2028, U+2029 or U+0085). Only complete lines are decoded, with
U+FFFD for what is no UTF-8; since neither CR nor LF occurs inside a UTF-8 sequence, this equals decoding the stream as a
whole. A half event at the end of the input is dropped, by never coming out.
"""

from collections.abc import Iterator
from typing import NamedTuple

from models.errors import ProviderAnswerTooLong
from tasks.providers.failures import failure

_BOM = b"\xef\xbb\xbf"


class ServerEvent(NamedTuple):
    """One event: its type (`message` unless named), its data, and the last event id as of then."""

    type: str
    data: str
    id: str


class EventDecoder:
    """One stream's decoder. It never holds more than a line and an event, each bounded in bytes, and the chunk."""

    def __init__(self, *, max_line_bytes: int = 1024 * 1024, max_event_bytes: int = 1024 * 1024) -> None:
        self.last_event_id = ""
        self.retry_ms: int | None = None
        """The reconnection time that the stream asked for last."""
        self._max_line_bytes = max_line_bytes
        self._max_event_bytes = max_event_bytes
        self._rest = bytearray()  # of a line that has not ended
        self._after_cr = False
        self._at_start = True
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._type = ""

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """The events that `chunk` completes; read them all before the next chunk.

        Raises ProviderAnswerTooLong at a line or an event over its bound, after the events before it.
        """
        for line in self._lines(chunk):
            if not line:
                if self._data:
                    yield self._event()
                self._type = ""
            elif len(line) > self._max_line_bytes:
                raise _too_long("line", self._max_line_bytes)
            elif line.startswith(b"data: "):
                self._add_data(line[6:])
            else:
                self._field(line)
        if len(self._rest) > self._max_line_bytes:
            raise _too_long("line", self._max_line_bytes)

    def _lines(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without their ends."""
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk.startswith(b"\n"):  # the second half of a CRLF whose CR has ended the line already
                chunk = chunk[1:]
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines and self._rest:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        self._rest += rest
        if lines and self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        return lines

    def _event(self) -> ServerEvent:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        self._data_bytes = 0
        return ServerEvent(self._type or "message", _text(data), self.last_event_id)

    def _add_data(self, value: bytes) -> None:
        self._data_bytes += len(value) + 1
        if self._data_bytes > self._max_event_bytes:
            raise _too_long("event", self._max_event_bytes)
        self._data.append(value)

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._add_data(value)
        elif name == b"event":
            self._type = _text(value)
        elif name == b"id" and b"\0" not in value:
            self.last_event_id = _text(value)
        elif name == b"retry" and value.isdigit() and len(value) <= 18:
            self.retry_ms = int(value)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _too_long(what: str, bound: int) -> Exception:
    return failure(ProviderAnswerTooLong, f"The provider sent a {what} of more than {bound} bytes")
