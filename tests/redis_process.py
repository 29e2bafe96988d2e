"""A redis-server of a test's own, which may be killed, made to hang and started anew."""

import signal
import subprocess
from pathlib import Path

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.conftest import redis_server_binary


class RedisProcess:
    """On a socket in its folder, and without persistence: what is killed comes back empty. It is not running at first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "own.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, the same over all its lives."""
        return f"unix://{self.socket}?db=0"

    @property
    def program(self) -> str:
        """What is run."""
        return redis_server_binary()

    @property
    def arguments(self) -> list[str]:
        """Where it listens and what it keeps."""
        return ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self.folder)]

    def client(self, retry: Retry | None = None) -> redis.Redis:
        """A connection to it, which tries a little while."""
        return redis.Redis.from_url(self.url, retry=retry or Retry(ConstantBackoff(0.02), 50))

    def start(self, *arguments: str) -> None:
        """Returns when it answers."""
        command = ["redis-server", *self.arguments, *arguments]  # the program goes by this name
        self._process = subprocess.Popen(command, executable=self.program, stdout=subprocess.DEVNULL)
        with self.client(Retry(ConstantBackoff(0.02), 3000)) as client:
            client.ping()

    def kill(self) -> None:
        """Ends it at once, and its socket refuses."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def freeze(self) -> None:
        """It takes connections and commands, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
