"""The private Redis of a data folder: a real redis-server behind a Unix socket, with an append-only file.

Files in `<data>/redis`:
  appendonlydir/    what Redis keeps; `everysec`: a power loss costs a second, the death of a process nothing
  lock              held by the redis-server itself, so that no two ever write the same files
  redis.log, .1     warnings of the running server, and of the one before it
  unreadable/       files that a server could not read, newest only; all that counts stands in the database as well
"""

import contextlib
import fcntl
import logging
import os
import shutil
import signal
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from models.errors import SettingInvalid
from models.redis_address import make_private_socket, remove_private_socket, socket_url
from models.settings import Settings
from streamer.part import Part
from streamer.redis_server import find_redis_server

logger = logging.getLogger(__name__)

#: How long a redis-server whose supervisor was killed may take to write its last bytes and go.
PREDECESSOR_SECONDS = 10.0

#: What it gets to write its last bytes in when it is stopped.
STOP_SECONDS = 2.0

_UNREADABLE = (b"reading the append only file", b"AOF MANIFEST FILE ERROR", b"AOF loading aborted")


class EmbeddedRedis:
    """`with EmbeddedRedis(settings) as redis:` holds the folder's lock; `redis.part` is what a supervisor runs.

    Raises SettingInvalid where there is no redis-server, no folder for it, or another one that does not go.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._program = find_redis_server()
        self._folder = settings.data_path / "redis"
        self._socket = Path()
        self._lock = -1

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._socket = make_private_socket(self._settings)
        self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._wait_for_predecessor()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._lock)
        remove_private_socket(self._settings)

    @property
    def url(self) -> str:
        """Where the server is reached."""
        return socket_url(self._socket)

    @property
    def part(self) -> Part:
        """The server as a part: ready when it answers PING, stopped with SIGTERM, even where the supervisor is killed."""
        return Part(
            name="redis",
            command=self._command(),
            open_files=(self._lock,),
            prepare=self._prepare,
            ready=lambda: answers_ping(self._socket),
            stop_seconds=STOP_SECONDS,
            death_signal=signal.SIGTERM,
        )

    def _command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "loglevel": "warning",
            "logfile": str(self._folder / "redis.log"),
        }
        return [str(self._program), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def _wait_for_predecessor(self) -> None:
        """A server that outlived its supervisor would remove the new one's socket as it goes, and write the same files."""
        if _take_lock(self._lock):
            return
        logger.warning("an earlier redis-server still uses %s: waiting for it to go", self._folder)
        deadline = time.monotonic() + PREDECESSOR_SECONDS
        while not _take_lock(self._lock):
            if time.monotonic() >= deadline:
                raise SettingInvalid(f"another redis-server still uses {self._folder}: stop it first")
            time.sleep(0.02)

    def _prepare(self) -> None:
        """Before each start: sets aside what the last server could not read, and its log."""
        log = self._folder / "redis.log"
        if not log.exists():
            return
        if any(each in log.read_bytes()[-4096:] for each in _UNREADABLE):
            self._set_aside()
        log.replace(log.with_name("redis.log.1"))

    def _set_aside(self) -> None:
        aside = self._folder / "unreadable"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for each in self._folder.glob("appendonly*"):
            each.rename(aside / each.name)
        logger.warning(
            "redis can't read its files: they are set aside in %s, and it starts empty; answers are in the database",
            aside,
        )


def answers_ping(path: Path, timeout_seconds: float = 1.0) -> bool:
    """Whether a Redis that has loaded its data answers behind the Unix socket `path`."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_seconds)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False


def _take_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
