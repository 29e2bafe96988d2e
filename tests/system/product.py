"""The product as an operator starts it, and a client of it: `streamer up`, HTTP, and nothing else."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests import unlimited
from tests.streamer.frames import Event, parse

COMMAND = Path(sys.executable).with_name("streamer")
ROOT = Path(__file__).parents[2]

#: Far more than anything takes, even on a busy machine.
PATIENCE_SECONDS = 60.0

PROVIDER_KEY = "sk-canary-of-the-provider-0123456789"

_OURS = ("STREAMER_", "OPENAI_", "ANTHROPIC_", "REDIS_", "DATABASE_")


class Product:
    """`with Product(folder, upstream_url) as product:` runs until the block ends, which leaves no process behind."""

    def __init__(self, folder: Path, upstream_url: str, settings: Mapping[str, str] | None = None) -> None:
        self.data = folder / "data"
        self.url = ""
        self._log = folder / "log"
        environ = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        ours = {"OPENAI_API_KEY": PROVIDER_KEY, "OPENAI_BASE_URL": upstream_url, "STREAMER_LOG_LEVEL": "DEBUG"}
        # What a fake holds back on a busy machine is held for longer than a provider may take.
        ours["STREAMER_PROVIDER_IDLE_SECONDS"] = "120"
        # And a client there takes its time between connecting and asking.
        ours["STREAMER_HEAD_SECONDS"] = "120"
        command = [str(COMMAND), "up", "--port", "0", "--data", str(self.data)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environ | unlimited.ENVIRONMENT | ours | dict(settings or {}),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        try:
            self.url = str(json.loads(eventually(self._told, self._running))["url"])
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def log(self) -> str:
        """All that it has written so far."""
        return self._log.read_text(errors="replace")

    @property
    def api_key(self) -> str:
        return (self.data / "api_key").read_text().strip()

    def processes(self, word: str = "") -> list[int]:
        """The processes below the supervisor whose command line holds `word`."""
        return [pid for pid in descendants(self.process.pid) if word in command_line(pid)]

    def kill(self) -> None:
        """Ends all of it at once."""
        pids = [self.process.pid, *self.processes()]
        for pid in pids:
            kill(pid)
        self.process.wait(PATIENCE_SECONDS)

    def client(self, token: str = "", **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self._headers(token), timeout=PATIENCE_SECONDS, **more)

    def async_client(self, token: str = "") -> httpx.AsyncClient:
        # No connection is kept: a busy test would take one up just when the server gives it up.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        return httpx.AsyncClient(
            base_url=self.url, headers=self._headers(token), timeout=PATIENCE_SECONDS, limits=limits
        )

    def visitor(self, user: str = "u1") -> str:
        """A visitor's token."""
        with self.client(self.api_key) as client:
            response = client.post("/ai/v1/session", json={"user": user})
        assert response.status_code == 201, response.text
        return str(response.json()["token"])

    def ask(self, token: str, message: str) -> dict[str, Any]:
        """What a POST answers."""
        with self.client(token) as client:
            response = client.post("/ai/v1/chat", json={"message": message})
        assert response.status_code == 202, response.text
        found: dict[str, Any] = response.json()
        return found

    def poll(self, token: str, chat: Mapping[str, Any]) -> dict[str, Any]:
        """The chat once it has ended."""

        def ended() -> dict[str, Any] | None:
            with self.client(token) as client:
                found: dict[str, Any] = client.get(f"{chat['links']['self']}?wait=25").json()
            return found if found["status"] not in ("queued", "running") else None

        polled: dict[str, Any] = eventually(ended)
        return polled

    def events(self, token: str, chat: Mapping[str, Any], cursor: str = "") -> Generator[Event, None, None]:
        """The events of one connection."""
        headers = {"last-event-id": cursor} if cursor else {}
        with self.client(token) as client, client.stream("GET", chat["links"]["events"], headers=headers) as response:
            assert response.status_code == 200, response.status_code
            rest = b""
            for piece in response.iter_raw():
                whole, end, rest = (rest + piece).rpartition(b"\n\n")
                yield from parse(whole + end)

    def _told(self) -> str | None:
        path = self.data / "up.json"
        return path.read_text() if path.exists() else None

    def _running(self) -> None:
        assert self.process.poll() is None, f"`streamer up` ended:\n{self.log}"

    def _headers(self, token: str) -> dict[str, str]:
        return {"authorization": f"Bearer {token}"} if token else {}


class Watching:
    """Reads a stream to its end in a thread of its own, resuming after whatever breaks it off."""

    def __init__(self, product: Product, token: str, chat: Mapping[str, Any]) -> None:
        self.events: list[Event] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._watch, args=(product, token, chat), daemon=True)
        self._thread.start()

    def until(self, enough: Callable[[list[Event]], bool]) -> None:
        """Returns once `enough` has come."""
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self.events), PATIENCE_SECONDS), self.events[-3:]

    def end(self) -> list[Event]:
        """All events, to the terminal one."""
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), self.events[-3:]
        return self.events

    def _watch(self, product: Product, token: str, chat: Mapping[str, Any]) -> None:
        cursor = ""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                for event in product.events(token, chat, cursor):
                    cursor = event.id or cursor
                    with self._changed:
                        self.events.append(event)
                        self._changed.notify_all()
                    if event.kind in ("done", "failed"):
                        return
            except httpx.HTTPError:
                time.sleep(0.05)  # as a browser does, if more patiently


def eventually(found: Callable[[], Any], meanwhile: Callable[[], None] = lambda: None) -> Any:
    """The first true result of `found`; what is not so yet may refuse a connection."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            result = found()
        except httpx.TransportError:
            result = None
        if result:
            return result
        meanwhile()
        assert time.monotonic() < deadline, f"not so after {PATIENCE_SECONDS} s"
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, from /proc."""
    children: dict[int, list[int]] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdigit() and (status := _stat(int(each.name))) is not None:
            children.setdefault(int(status[1]), []).append(int(each.name))
    found, todo = [], [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found


def alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    status = _stat(pid)
    return status is not None and status[0] != "Z"


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def kill(pid: int) -> None:
    """kill -9, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the state on; None where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
