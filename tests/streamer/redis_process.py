"""A redis-server of a test's own, which may be killed, stopped and started; and a line to it that may go dead."""

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.conftest import redis_server_binary


class RedisProcess:
    """Without persistence: what is killed comes back empty."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "own.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def start(self) -> None:
        """Returns when it answers."""
        binary = redis_server_binary()
        arguments = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL)
        with redis.Redis(unix_socket_path=str(self.socket), retry=Retry(ConstantBackoff(0.01), 500)) as client:
            client.ping()

    def kill(self) -> None:
        """It is gone, and its socket refuses."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        """It takes connections and commands, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


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
