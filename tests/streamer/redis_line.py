"""A line to a Redis, which may go dead."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Line:
    """A proxy before a Redis' socket. While it is `dead`, new and old connections stay open and carry nothing, and the old
    ones stay dead for ever, as behind a router that has forgotten them."""

    def __init__(self) -> None:
        self.url = ""
        self.opened = 0
        self._dead = asyncio.Event()

    def cut(self) -> None:
        """Everything that is open now, and will be opened before `mend`, is dead."""
        self._dead.set()

    def mend(self) -> None:
        """New connections work."""
        self._dead = asyncio.Event()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dead: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not dead.is_set():
                    writer.write(data)
                    await writer.drain()


@asynccontextmanager
async def line_to(socket: Path, folder: Path) -> AsyncIterator[Line]:
    """A line to the Redis behind `socket`."""
    line, tasks = Line(), set[asyncio.Task[None]]()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line.opened += 1
        dead = line._dead
        to_reader, to_writer = await asyncio.open_unix_connection(str(socket))
        both = [
            asyncio.create_task(line._carry(reader, to_writer, dead)),
            asyncio.create_task(line._carry(to_reader, writer, dead)),
        ]
        tasks.update(both)
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        to_writer.close()
        writer.close()

    server = await asyncio.start_unix_server(connected, str(folder / "line.sock"))
    line.url = f"unix://{folder / 'line.sock'}?db=0"
    try:
        yield line
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
