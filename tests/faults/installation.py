"""The whole service as separate processes, any of which a row may kill: Redis, web and worker processes, a fake provider."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests import unlimited
from tests.fakes.openai_server import Answer, FakeOpenAI
from tests.faults.durations import Durations
from tests.faults.proxy import Proxy
from tests.faults.redis_server import RedisServer
from tests.faults.store import make_store
from tests.faults.viewer import Viewer

ROOT = Path(__file__).parents[2]

#: Seconds for a process to be ready, on a machine that does other things as well.
START_SECONDS = 60.0

#: What a worker says once it takes messages.
READY = "is ready for"

#: What rows may ask for beside `chat`.
ROUTES = """
[routes.keep]
model = "openai:gpt-4o-mini"
on_worker_lost = "keep_partial"

[routes.again]
model = "openai:gpt-4o-mini"
on_provider_broken = "restart"

[routes.brief]
model = "openai:gpt-4o-mini"
deadline_seconds = 6
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Process:
    """One process of ours, with its log."""

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as out:
            command = [sys.executable, "-m", "streamer", *arguments]
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=dict(environment), stdout=out, stderr=out, start_new_session=True
            )
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def send(self, sig: signal.Signals) -> None:
        self._process.send_signal(sig)

    def kill(self) -> None:
        """kill -9, and gone."""
        self._process.kill()
        self._process.wait(10)

    async def wait(self, timeout_seconds: float = START_SECONDS) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.to_thread(self._process.wait, timeout_seconds)

    def said(self) -> str:
        return self.log.read_text(errors="replace")


class Installation:
    """`async with Installation(folder, durations) as it:` gives Redis, a proxy before it, a store and a provider; web and worker
    processes as they are started."""

    def __init__(
        self,
        folder: Path,
        durations: Durations,
        environment: Mapping[str, str] | None = None,
        *,
        database: Path | None = None,
    ) -> None:
        self.folder = folder
        self.durations = durations
        self.provider = FakeOpenAI(Answer(tokens=60, delay_seconds=0.02))
        self.redis = RedisServer(folder, free_port())
        self.proxy = Proxy(self.redis.port)
        self.store = make_store(database or folder / "streamer.db")
        self.host = "127.0.0.1"
        """Where web processes that are started from now on listen, and where they are called."""
        self.api_key = ""
        self.processes: list[Process] = []
        self._more = dict(environment or {})
        self._tokens: dict[str, str] = {}

    async def __aenter__(self) -> "Installation":
        self.provider.__enter__()
        (self.folder / "routes.toml").write_text(ROUTES)
        self.redis.start()
        await self.proxy.start()
        await asyncio.to_thread(self._prepare)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes:
            if process.running:
                process.kill()
        await self.proxy.stop()
        self.redis.kill()
        self.provider.__exit__(None, None, None)
        await asyncio.to_thread(self.store.remove)

    def _prepare(self) -> None:
        for arguments in (["migrate"], ["keys", "create", "--name", "first", "--scopes", "session chat admin"]):
            command = [sys.executable, "-m", "streamer", *arguments, "--data", str(self.folder)]
            done = subprocess.run(command, cwd=ROOT, env=self.environment(), capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        found = re.search(r"sk-\S+", done.stdout)
        assert found is not None, done.stdout
        self.api_key = found[0]

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What the processes are started with."""
        # Nor is coverage measured here: it would make every process slower, and its report no better.
        ours = ("STREAMER_", "OPENAI_", "REDIS_", "DATABASE_", "COVERAGE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        given = {
            "REDIS_URL": self.redis.through(self.proxy.port or self.redis.port),
            "OPENAI_API_KEY": "sk-canary-of-the-provider",
            "OPENAI_BASE_URL": self.provider.url,
            "STREAMER_MODEL": "openai:gpt-4o-mini",
            "STREAMER_DATA": str(self.folder),
            "DATABASE_URL": self.store.url,
            "STREAMER_HOST": self.host,
            "STREAMER_WORKER_THREADS": "40",
            "STREAMER_ROUTES": str(self.folder / "routes.toml"),
        }
        return {**kept, **unlimited.ENVIRONMENT, **given, **self.durations.environment, **self._more, **(more or {})}

    # Processes

    async def start_worker(
        self, more: Mapping[str, str] | None = None, *, may_die: bool = False, processes: int = 1
    ) -> Process:
        """A worker process, or the parent of several, once all are ready. `may_die`: what waits for it kills it at once."""
        process = self._start("worker", ["--processes", str(processes)], more)
        ready = lambda: process.said().count(READY) >= processes or not process.running  # noqa: E731
        await self.until(ready, START_SECONDS)
        assert process.running or may_die, process.said()
        return process

    async def start_web(self, more: Mapping[str, str] | None = None, port: int | None = None) -> tuple[Process, int]:
        """A web process, once it answers, and its port."""
        port = port or free_port()
        process = self._start("serve", ["--port", str(port)], more)

        def answers() -> bool:
            assert process.running, process.said()
            with contextlib.suppress(OSError):
                return self._request(port, "GET", "/healthz")[0] == 200
            return False

        await self.until(answers, START_SECONDS)
        return process, port

    def _start(self, role: str, arguments: list[str], more: Mapping[str, str] | None) -> Process:
        log = self.folder / f"{role}-{len(self.processes)}.log"
        process = Process(role, [role, "--data", str(self.folder), *arguments], self.environment(more), log)
        self.processes.append(process)
        return process

    # What a client does

    def _request(
        self, port: int, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection(self.host, port, timeout=40)
        try:
            given = {"content-type": "application/json"} if body is not None else {}
            content = json.dumps(body) if body is not None else None
            connection.request(method, path, content, given | dict(headers or {}))
            response = connection.getresponse()
            raw = response.read()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return response.status, json.loads(raw) if raw else None, fields
        finally:
            connection.close()

    async def call(
        self,
        port: int,
        method: str,
        path: str,
        body: Any = None,
        credential: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON and headers of one request. OSError or http.client's where the connection breaks."""
        authorization = {"authorization": f"Bearer {credential}"} if credential else {}
        return await asyncio.to_thread(self._request, port, method, path, body, authorization | dict(headers or {}))

    async def visitor(self, port: int, user: str = "u1") -> str:
        """A visitor token, the same for the same user."""
        if user not in self._tokens:
            status, found, _ = await self.call(
                port, "POST", "/ai/v1/session", {"user": user, "ttl_seconds": 86400}, self.api_key
            )
            assert status == 201, found
            self._tokens[user] = found["token"]
        return self._tokens[user]

    async def ask(
        self, port: int, message: str, user: str = "u1", *, route: str = "chat", key: str | None = None
    ) -> dict[str, Any]:
        """Posts, and returns the 202's body. `key`: the Idempotency-Key."""
        given = {"idempotency-key": key} if key else {}
        token = await self.visitor(port, user)
        body = {"message": message, "route": route}
        status, found, _ = await self.call(port, "POST", "/ai/v1/chat", body, token, given)
        assert status == 202, (status, found)
        return dict(found)

    def oracle(self, message: str, tokens: int | None = None) -> str:
        """The text that the provider answers to `message`."""
        return "".join(self.provider.words(message, tokens or self.provider.usually.tokens))

    async def watch(self, port: int, chat: Mapping[str, Any], message: str, user: str = "u1") -> Viewer:
        """A viewer of that generation, not yet connected."""
        return Viewer(
            port, chat["links"]["events"], await self.visitor(port, user), self.oracle(message), host=self.host
        )

    async def poll(self, port: int, chat: Mapping[str, Any], user: str = "u1") -> dict[str, Any]:
        """The generation as it stands."""
        status, found, _ = await self.call(port, "GET", chat["links"]["self"], None, await self.visitor(port, user))
        assert status == 200, found
        return dict(found)

    # What is looked at

    def row(self, generation_id: str) -> dict[str, Any]:
        """The row itself, past the service."""
        (found,) = self.store.dicts("SELECT * FROM generation WHERE id = ?", generation_id)
        return found

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Any query on the database, past the service."""
        return self.store.rows(sql, *values)

    async def until(self, true: Callable[[], object], timeout_seconds: float) -> float:
        """Waits until `true()`, and returns the seconds that took. AssertionError after the timeout."""
        began = time.monotonic()
        while not await asyncio.to_thread(true):
            assert time.monotonic() - began < timeout_seconds, f"not so after {timeout_seconds:.1f} s"
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    async def until_ended(self, generation_id: str, timeout_seconds: float) -> dict[str, Any]:
        """The row, once it has a terminal state."""
        await self.until(lambda: self.row(generation_id)["terminal_id"] is not None, timeout_seconds)
        return self.row(generation_id)
