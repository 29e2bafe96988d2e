"""A redis-server of a test's own, which can be killed, started anew (empty) and made to hang."""

import shutil
import signal
import subprocess
from pathlib import Path

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry


class RedisProcess:
    """Its address stays the same over all its lives. It is not running at first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "own.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}?db=0"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        binary = shutil.which("redis-server")
        assert binary is not None
        arguments = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL)
        with redis.Redis(unix_socket_path=str(self._socket), retry=Retry(ConstantBackoff(0.02), 500)) as client:
            client.ping()

    def kill(self) -> None:
        """Ends it at once; what it held is gone."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait(10)
            self._socket.unlink(missing_ok=True)

    def hang(self) -> None:
        """Lets it take connections and commands, and answer none."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Ends a hang."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
