"""Raw connections of bad clients, and what the kernel keeps for them on the server's side."""

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

#: States in /proc/net/tcp in which the server's side holds a connection: ESTABLISHED, FIN_WAIT1, CLOSE_WAIT, CLOSING, LAST_ACK.
HELD = frozenset(("01", "04", "08", "0B", "09"))

Address = tuple[str, int]


def held_bytes(server: Address, client: Address) -> int | None:
    """What the server's kernel holds for a connection on this machine, unsent or unacknowledged; None where that is gone."""
    ends = [
        f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}" for host, port in (server, client)
    ]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1:3] == ends and fields[3] in HELD:
            return int(fields[4].split(":")[0], 16)
    return None


class RawConnection:
    """One to `port` on loopback that takes from its socket only what it is told to."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.setblocking(False)

    async def open(self, said: bytes = b"") -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, ("127.0.0.1", self.port))
        self._own: Address = self._socket.getsockname()
        await self.say(said)

    async def say(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def take(self, size: int) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._socket, size)

    async def take_slowly(self, pause_seconds: float) -> None:
        """A byte at a time, to the end."""
        with contextlib.suppress(OSError):
            while await self.take(1):  # noqa: ASYNC110 - a slow reader is what is meant
                await asyncio.sleep(pause_seconds)

    async def until_closed(self, timeout_seconds: float) -> float:
        """Takes all that comes, until the server closes; returns the seconds that took."""
        began = time.monotonic()
        async with asyncio.timeout(timeout_seconds):
            with contextlib.suppress(OSError):
                while await self.take(65536):
                    pass
        return time.monotonic() - began

    def held_bytes(self) -> int | None:
        """What the server's kernel holds for this connection; None where it holds none any more."""
        return held_bytes(("127.0.0.1", self.port), self._own)

    def close(self) -> None:
        self._socket.close()


@contextlib.asynccontextmanager
async def raw_connections(port: int, count: int, said: bytes = b"") -> AsyncIterator[list[RawConnection]]:
    """So many, each of which has said `said`."""
    opened = [RawConnection(port) for _ in range(count)]
    try:
        await asyncio.gather(*(each.open(said) for each in opened))
        yield opened
    finally:
        for each in opened:
            each.close()
