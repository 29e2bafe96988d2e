"""A viewer as a browser is one: it shows what events say, comes back where it was, and is checked after every event."""

import asyncio
import contextlib
import json
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.connection import held_bytes

ID = re.compile(r"\d{1,9}-\d{1,9}")

Id = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Event:
    """One frame, as it came. `at`: time.monotonic()."""

    id: str | None
    kind: str
    data: dict[str, Any]
    at: float


@dataclass(slots=True)
class Viewer:
    """Follows one generation to its end. `oracle`: the whole text that any run's text must be a prefix of."""

    port: int
    path: str
    credential: str
    oracle: str
    text: str = ""
    events: list[Event] = field(default_factory=list)
    last_id: str | None = None
    end: Event | None = None
    finished_204: bool = False
    connections: int = 0
    refusals: list[int] = field(default_factory=list)
    pause_seconds: float = 0.0
    """After each piece that comes; then its buffers are small, too, so that the server waits for it."""
    host: str = "127.0.0.1"
    new_socket: Callable[[], socket.socket] = socket.socket
    """From somewhere else, if a row says so."""
    pieces: int = 0
    """HTTP chunks that came."""
    something: asyncio.Event = field(default_factory=asyncio.Event)
    _fresh: bool = True
    _writer: asyncio.StreamWriter | None = None

    async def follow(self, timeout_seconds: float = 60.0) -> "Viewer":
        """Reads to the terminal event, coming back as often as it must. TimeoutError after that time."""
        async with asyncio.timeout(timeout_seconds):
            while self.end is None and not self.finished_204:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    await self.connect_once()
                if self.end is None and not self.finished_204:
                    await asyncio.sleep(0.05)
        return self

    async def connect_once(self, stop_after: int | None = None) -> None:
        """One connection, to its end or until `stop_after` more events have come."""
        self.connections += 1
        self._fresh = True
        reader, writer = await self._open()
        self._writer = writer
        try:
            writer.write(self._request())
            status = int((await reader.readuntil(b"\r\n")).split()[1])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if status == 204:
                self.finished_204 = True
            elif status != 200:
                self.refusals.append(status)
            elif stop_after != 0:
                await self._read(reader, b"transfer-encoding: chunked" in head, stop_after)
        finally:
            writer.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connected = self.new_socket()
        if self.pause_seconds:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        connected.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connected, (self.host, self.port))
        except BaseException:
            connected.close()
            raise
        return await asyncio.open_connection(sock=connected, limit=16 * 1024 if self.pause_seconds else 1 << 24)

    def held_bytes(self) -> int | None:
        """What the server's kernel holds for its connection; None where it holds none any more."""
        assert self._writer is not None
        return held_bytes((self.host, self.port), self._writer.get_extra_info("sockname"))

    def cut(self) -> None:
        """The network is gone, at once."""
        if self._writer is not None:
            self._writer.transport.abort()

    def _request(self) -> bytes:
        lines = [f"GET {self.path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {self.credential}"]
        if self.last_id is not None:
            lines.append(f"last-event-id: {self.last_id}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def _read(self, reader: asyncio.StreamReader, chunked: bool, stop_after: int | None) -> None:
        buffer, seen = b"", 0
        while self.end is None:
            data = await (_chunk(reader) if chunked else reader.read(65536))
            if not data:
                return
            self.pieces += 1
            if self.pause_seconds:
                await asyncio.sleep(self.pause_seconds)
            *frames, buffer = (buffer + data).split(b"\n\n")
            for frame in frames:
                event = _event(frame)
                if event is None:
                    continue
                seen += 1
                self._take(event)
                if self.end is not None or seen == stop_after:
                    return

    def _take(self, event: Event) -> None:
        """What a client does with each kind, and what must hold after it."""
        self.events.append(event)
        if event.id is not None:
            assert ID.fullmatch(event.id), f"an id is {event.id!r}"
            assert self._may_follow(event), f"{event.kind} {event.id} came after {self.last_id}"
            self.last_id = event.id
            self._fresh = False
        match event.kind:
            case "started":
                self.text = ""
            case "delta":
                self.text += event.data["text"]
            case "snapshot":
                self.text = event.data["text"]
            case "done" | "failed":
                self.end = event
            case _:
                assert event.kind in ("queued", "waiting", "switched", "close"), f"an event of kind {event.kind!r}"
        assert self.oracle.startswith(self.text), f"the text is no prefix: …{self.text[-60:]!r}"
        self.something.set()

    def _may_follow(self, event: Event) -> bool:
        """Ids rise. Only what is made from the row has none to compare, and a log that was lost may be told from its beginning."""
        before, now = _parsed(self.last_id), _parsed(event.id)
        if before is None or before == (0, 0) or now == (0, 0) or now > before:
            return True
        return self._fresh and event.kind in ("started", "snapshot")

    @property
    def status(self) -> str:
        """The generation's status, as the terminal event says it."""
        assert self.end is not None, "no terminal event came"
        return "error" if self.end.kind == "failed" else str(self.end.data["status"])

    @property
    def runs(self) -> list[int]:
        """The runs that began, in order."""
        return [event.data["run"] for event in self.events if event.kind == "started"]

    async def reach(self, characters: int, timeout_seconds: float = 30.0) -> None:
        """Returns when so much text is shown."""
        async with asyncio.timeout(timeout_seconds):
            while len(self.text) < characters:
                self.something.clear()
                await self.something.wait()

    async def reach_kind(self, kind: str, timeout_seconds: float = 30.0) -> Event:
        """Returns the first event of that kind, once it has come."""
        async with asyncio.timeout(timeout_seconds):
            while True:
                for event in self.events:
                    if event.kind == kind:
                        return event
                self.something.clear()
                await self.something.wait()


def _parsed(text: str | None) -> Any:
    """An id as two numbers; None for a cursor that is none, as a test may send."""
    return tuple(map(int, text.split("-"))) if text is not None and ID.fullmatch(text) else None


async def _chunk(reader: asyncio.StreamReader) -> bytes:
    size = int((await reader.readuntil(b"\r\n")).strip() or b"0", 16)
    data = await reader.readexactly(size)
    await reader.readexactly(2)
    return data


def _event(frame: bytes) -> Event | None:
    """The event in a frame; None for one that holds only comments or a `retry`."""
    fields: dict[str, str] = {}
    for line in frame.decode().split("\n"):
        name, _, value = line.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
    if "data" not in fields:
        return None
    return Event(fields.get("id"), fields["event"], json.loads(fields["data"]), time.monotonic())
