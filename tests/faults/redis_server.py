"""A Redis of a row's own, on loopback TCP, which is killed, stopped, emptied and started again."""

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.conftest import redis_server_binary


class RedisServer:
    """Append-only, with every write on the disk at once, so that what was acknowledged survives a kill."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, port: int | None = None) -> str:
        """Its address, or that of a proxy before it."""
        return f"redis://127.0.0.1:{port or self.port}/0"

    def start(self, *arguments: str) -> None:
        """Returns when it answers."""
        binary = redis_server_binary()
        common = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", ""]
        durable = ["--appendonly", "yes", "--appendfsync", "always"]
        self._process = subprocess.Popen([binary, *common, *durable, *arguments], stdout=subprocess.DEVNULL)
        with self.client(Retry(ConstantBackoff(0.02), 500)) as client:
            client.ping()

    def stop(self) -> None:
        """Killed, with its data left where it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def empty(self) -> None:
        """Takes the data away from a stopped server."""
        assert self._process is None
        for folder in self._folder.glob("appendonlydir"):
            shutil.rmtree(folder)

    def freeze(self) -> None:
        """It takes connections and commands, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def client(self, retry: Retry | None = None) -> Iterator[redis.Redis]:
        """A connection to the server itself, whatever proxy stands before it."""
        with redis.Redis(port=self.port, retry=retry or Retry(ConstantBackoff(0.02), 50)) as client:
            yield client
