"""A Redis of a row's own, on loopback TCP, which keeps its data through a kill."""

import shutil
from pathlib import Path

from tests.redis_process import RedisProcess

#: What everybody must know to talk to it, as in a cluster.
PASSWORD = "canary-of-redis"


class RedisServer(RedisProcess):
    """Append-only, with every write on the disk at once, so that what was acknowledged survives a kill. It wants a password."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder)
        self.port = port

    @property
    def url(self) -> str:
        return self.through(self.port)

    @property
    def arguments(self) -> list[str]:
        listening = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        guarded = ["--requirepass", PASSWORD, "--masterauth", PASSWORD]
        return [*listening, *guarded, "--appendonly", "yes", "--appendfsync", "always"]

    def through(self, port: int) -> str:
        """Its address behind a proxy that listens on `port`."""
        return f"redis://:{PASSWORD}@127.0.0.1:{port}/0"

    def empty(self) -> None:
        """Takes the data away from a killed server."""
        assert self._process is None
        for folder in self.folder.glob("appendonlydir"):
            shutil.rmtree(folder)
