"""A client that costs little: requests over kept connections, and the moments at which something came.

It is the provider's side of the product (`tasks/providers/http_connection.py`, on httptools) turned on servers of ours and others.
"""

import asyncio
import gc
import json
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.provider import STAMPS
from tasks.providers.http_connection import Connection

#: Seconds for anything that is awaited here.
PATIENCE_SECONDS = 60.0


@dataclass(slots=True)
class Timeline:
    """One request: when what came, in ns of the monotonic clock.

    `error` says why something did not; `late_ns`: how long after its time the request went out.
    """

    posted: int = 0
    accepted: int = 0
    """The answer to the POST has come, where that is a request of its own."""
    asked: int = 0
    """The provider was asked."""
    spoke: int = 0
    """The provider sent its first text."""
    seen: int = 0
    """That text has come."""
    ended: int = 0
    late_ns: int = 0
    id: str = ""
    error: str = ""

    @property
    def own_ms(self) -> float:
        """From the POST to the first text, without the provider's own time."""
        return (self.seen - self.posted - (self.spoke - self.asked)) / 1e6


class Subject(Protocol):
    """What is measured."""

    async def ask(self, number: int, line: Timeline) -> None:
        """Makes one request and watches its answer to the end, filling in `line`. Raises whatever goes wrong."""


@dataclass(slots=True)
class Connections:
    """Kept connections to one port of this machine."""

    port: int
    _idle: list[Connection] = field(default_factory=list)
    _open: set[Connection] = field(default_factory=set)

    async def open(self, count: int) -> None:
        """Makes so many stand ready."""
        while len(self._idle) < count:
            self._idle.append(await self._made())

    async def take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection in self._open:
                return connection
        return await self._made()

    def give_back(self, connection: Connection) -> None:
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        for connection in list(self._open):
            connection.close()

    async def _made(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self._open.discard), "127.0.0.1", self.port)
        self._open.add(connection)
        return connection


def request(method: str, path: str, credential: str, body: Any = None) -> bytes:
    """A whole HTTP/1.1 request."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {credential}\r\n"
    if body is not None:
        head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
    return f"{head}\r\n".encode() + content


async def whole(connection: Connection, sent: bytes, status: int) -> Any:
    """The JSON that answers `sent`."""
    connection.send(sent)
    head = await connection.head(_deadline())
    body = b""
    while piece := await connection.read(_deadline()):
        body += piece
    if head.status != status:
        raise RuntimeError(f"{head.status} {body[:200]!r}")
    return json.loads(body)


async def watch(connection: Connection, sent: bytes, end: bytes, line: Timeline) -> None:
    """Notes when the provider's first text comes in the stream that answers `sent`; its last bytes must hold `end`."""
    connection.send(sent)
    head = await connection.head(_deadline())
    seen = b""
    while piece := await connection.read(_deadline()):
        seen += piece
        if not line.seen and (stamps := STAMPS.search(seen)):
            line.seen = time.monotonic_ns()
            line.asked, line.spoke = int(stamps[1]), int(stamps[2])
        if line.seen:
            seen = seen[-1000:]
    line.ended = time.monotonic_ns()
    if head.status != 200 or not line.seen or end not in seen:
        raise RuntimeError(f"{head.status} {seen[-200:]!r}")


def _deadline() -> float:
    return asyncio.get_running_loop().time() + PATIENCE_SECONDS


# How requests come


async def one_by_one(subject: Subject, count: int) -> list[Timeline]:
    """Each begins when the one before has ended."""
    return [await _asked(subject, number) for number in range(count)]


async def together(subject: Subject, count: int) -> list[Timeline]:
    """All begin at once."""
    return list(await asyncio.gather(*(_asked(subject, number) for number in range(count))))


async def at_a_rate(subject: Subject, rate: float, seconds: float) -> list[Timeline]:
    """They begin at even distances, however long those before take."""
    loop = asyncio.get_running_loop()
    began, running = loop.time(), []
    for number in range(int(rate * seconds)):
        due = began + number / rate
        await asyncio.sleep(due - loop.time())
        running.append(asyncio.create_task(_asked(subject, number, int((loop.time() - due) * 1e9))))
    return list(await asyncio.gather(*running))


async def _asked(subject: Subject, number: int, late_ns: int = 0) -> Timeline:
    line = Timeline(late_ns=late_ns)
    try:
        await subject.ask(number, line)
    except Exception as error:
        line.error = f"{type(error).__name__}: {error}"
    return line


class Calm:
    """`with Calm():` no garbage is collected in this process meanwhile."""

    def __enter__(self) -> None:
        gc.collect()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()
