"""A TCP proxy between the service and its Redis that loses, delays, holds and cuts."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.fakes.closing import close_server, take_turns


class Proxy:
    """Carries bytes to `target_port` on loopback. What it does to them is set at any time, for all connections or some.

    `lose_request(data)`: what a client sends is not passed on, and its connection closed. `lose_reply(data)`: it is passed on and
    executed, but the reply is swallowed and the connection closed. `mute(data)`: from then on that connection stays open and
    silent. `swallow(data)`: this one piece that the server sends does not arrive. `delay_seconds`: before each piece of a reply.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.lose_request: Callable[[bytes], bool] = _never
        self.lose_reply: Callable[[bytes], bool] = _never
        self.mute: Callable[[bytes], bool] = _never
        self.swallow: Callable[[bytes], bool] = _never
        self.delay_seconds = 0.0
        self.lost = 0
        """Pieces that were lost or swallowed."""
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        await close_server(self._server)
        self.cut()
        for task in self._tasks:
            task.cancel()
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks, *self._connections, return_exceptions=True)
        await take_turns()  # what was cut is closed

    def hold(self) -> None:
        """A black hole: connections stay open, and nothing comes through."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def cut(self) -> None:
        """Closes every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        try:
            await self._carry(reader, writer)
        except OSError:
            writer.transport.abort()
        finally:
            self._connections.discard(connection)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        both = {writer, to_writer}
        self._writers |= both
        fate = _Fate()
        pumps = [
            asyncio.create_task(self._requests(reader, to_writer, fate)),
            asyncio.create_task(self._replies(to_reader, writer, fate)),
        ]
        self._tasks.update(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for each in both:
            each.transport.abort()
        self._writers -= both
        self._tasks -= set(pumps)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fate: "_Fate") -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                await self._open.wait()
                fate.sent += data
                if self.lose_request(data):
                    self.lost += 1
                    return
                fate.doomed = fate.doomed or self.lose_reply(data)
                writer.write(data)
                await writer.drain()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fate: "_Fate") -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                await self._open.wait()
                if fate.doomed:
                    self.lost += 1
                    return
                if self.mute(fate.sent) or self.swallow(data):
                    self.lost += 1
                    continue
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(data)
                await writer.drain()


@dataclass(slots=True)
class _Fate:
    """One connection: everything that its client has sent, and whether its next reply is lost."""

    sent: bytes = b""
    doomed: bool = False


def _never(data: bytes) -> bool:
    return False
