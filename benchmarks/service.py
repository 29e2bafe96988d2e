"""The service as an operator runs it on several machines, on one: `serve` and `worker` as processes, a private Redis, SQLite."""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.process import ROOT, Process
from streamer.redis_server import find_redis_server

_OURS = ("STREAMER_", "OPENAI_", "ANTHROPIC_", "REDIS_", "DATABASE_", "COVERAGE_")

#: The command line of each role.
STREAMER = ("-m", "streamer")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Service:
    """`with Service(folder, provider_url) as service:`. All settings are the defaults, but those in `more`.

    `web`, `worker`: Python's arguments for these processes, in place of the product's own command.
    """

    def __init__(
        self,
        folder: Path,
        provider_url: str,
        *,
        web: tuple[str, ...] = STREAMER,
        worker: tuple[str, ...] = STREAMER,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.port, self.redis_port = free_port(), free_port()
        self.processes: list[Process] = []
        self._web, self._worker = web, worker
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        self._environ |= {
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0",
            "OPENAI_API_KEY": "sk-of-nobody",
            "OPENAI_BASE_URL": provider_url,
            "STREAMER_MODEL": "openai:gpt-4o-mini",
            "STREAMER_DATA": str(folder),
            **(more or {}),
        }

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends all of it, Redis last."""
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()

    def process(self, name: str) -> Process:
        return next(each for each in self.processes if each.name == name)

    @property
    def database(self) -> Path:
        return self.folder / "streamer.db"

    def visitors(self, count: int) -> list[str]:
        """Tokens of so many visitors."""
        return [self._session(f"visitor-{number}") for number in range(count)]

    def _start(self) -> None:
        redis = self._run("redis", [str(find_redis_server()), *self._redis_options()])
        redis.until(lambda: answers(self.redis_port))
        self._streamer("migrate")
        said = self._streamer("keys", "create", "--name", "benchmark", "--scopes", "session chat")
        found = re.search(r"sk-\S+", said)
        assert found is not None, said
        self.api_key = found[0]
        web = self._run("web", [sys.executable, *self._web, "serve", "--port", str(self.port)])
        worker = self._run("worker", [sys.executable, *self._worker, "worker"])
        web.until(lambda: answers(self.port))
        worker.until(lambda: "is ready for" in worker.said())

    def _redis_options(self) -> list[str]:
        """As `streamer up` starts it, but for the port."""
        keeping = ["--dir", str(self.folder), "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
        return ["--port", str(self.redis_port), "--bind", "127.0.0.1", *keeping]

    def _run(self, name: str, command: list[str]) -> Process:
        process = Process(name, command, self.folder / f"{name}.log", self._environ)
        self.processes.append(process)
        return process

    def _streamer(self, *arguments: str) -> str:
        command = [sys.executable, *STREAMER, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self._environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    def _session(self, user: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            headers = {"authorization": f"Bearer {self.api_key}", "content-type": "application/json"}
            connection.request("POST", "/ai/v1/session", json.dumps({"user": user, "ttl_seconds": 86400}), headers)
            response = connection.getresponse()
            found = json.loads(response.read())
            assert response.status == 201, found
            return str(found["token"])


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
