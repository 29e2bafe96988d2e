"""An installation with two providers, for the rows about them: many cases at once, each held against log, row and viewer."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tests.fakes.openai_server import Answer, FakeOpenAI
from tests.faults.installation import Installation
from tests.faults.oracle import check_end, check_log, check_quiet
from tests.faults.rows import Context
from tests.faults.viewer import Viewer

#: A second server, and the route that falls back to it.
ROUTES = """
[providers.spare]
kind = "openai"
base_url = "{url}"
allow_private = true

[routes.spare]
model = "openai:gpt-4o-mini"
fallbacks = ["spare:other"]
"""

#: The waits of these rows, unless they are those that users have.
SHORT = {
    "STREAMER_PROVIDER_FIRST_BYTE_SECONDS": "1",
    "STREAMER_PROVIDER_IDLE_SECONDS": "1",
    "STREAMER_BACKOFF_SECONDS": "0.1",
}

#: These rows fail one model again and again; the breaker has a row of its own.
NO_BREAKER = {"STREAMER_BREAKER_FAILURES": "100000"}


class Case:
    """One request and all that came of it."""

    def __init__(
        self, viewer: Viewer, row: Mapping[str, Any], calls: list[tuple[str, str, str | None]], seconds: float
    ):
        self.viewer = viewer
        self.row = row
        self.calls = calls
        """The ledger's lines: provider, outcome, error."""
        self.seconds = seconds

    @property
    def end(self) -> tuple[str, str | None]:
        """The status, and the finish reason or the error."""
        return str(self.row["status"]), self.row["finish_reason"] or self.row["error_code"]

    @property
    def waits(self) -> list[float]:
        """What the `waiting` events announced, in seconds."""
        return [event.data["retry_after"] for event in self.viewer.events if event.kind == "waiting"]

    @property
    def switches(self) -> list[dict[str, Any]]:
        return [event.data for event in self.viewer.events if event.kind == "switched"]


class Providers:
    """A whole installation with two providers: `openai`, and `spare`, to which the route `spare` falls back."""

    def __init__(self, it: Installation, spare: FakeOpenAI, port: int, worker_pid: int) -> None:
        self.it = it
        self.spare = spare
        self.port = port
        self._worker_pid = worker_pid

    async def case(self, message: str, *answers: Answer, route: str = "chat", text: str | None = None) -> Case:
        """Asks, and holds log, row and viewer against `text`, or what the provider says unless told otherwise."""
        it = self.it
        it.provider.script_for(message, *answers)
        began = time.monotonic()
        chat = await it.ask(self.port, message, f"user of {message}", route=route)
        viewer = await it.watch(self.port, chat, message, f"user of {message}")
        viewer.oracle = it.oracle(message, 60) if text is None else text
        await viewer.follow(it.durations.bound(300))
        seconds = time.monotonic() - began
        row = check_end(it, chat["id"], viewer)
        await check_log(it, chat["id"])
        ledger = "SELECT provider, outcome, error_code FROM provider_call WHERE generation_id = ? ORDER BY number"
        said = json.dumps([event.data for event in viewer.events]) + str(row["error_message"])
        assert "secret" not in said, "a provider's own words got out"
        assert viewer.end is not None
        if viewer.end.kind == "done":
            polled = await it.poll(self.port, chat, f"user of {message}")
            told = (viewer.end.data["provider"], viewer.end.data["model"])
            assert told == (row["provider"], row["model"])
            assert not row["text"] or told == (polled["result"]["provider"], polled["result"]["model"])
        return Case(viewer, row, [tuple(line) for line in it.rows(ledger, chat["id"])], seconds)

    def words(self, message: str, tokens: int) -> str:
        return "".join(FakeOpenAI.words(message, tokens))

    def peak_bytes(self) -> int:
        """The most memory that the worker has had."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self._worker_pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    async def check(self) -> None:
        """Nothing is left over, no call without its line, and no log has a provider's words."""
        await check_quiet(self.it, self.port)
        assert self.it.rows("SELECT count(*) FROM provider_call WHERE ended_at IS NULL") == [(0,)]
        assert self.it.rows("SELECT count(*) FROM provider_call") == [(self.it.provider.calls + self.spare.calls,)]
        for process in self.it.processes:
            assert "secret" not in process.said(), f"{process.name} has logged a provider's words"


@contextlib.asynccontextmanager
async def providers(context: Context, settings: Mapping[str, str] = NO_BREAKER) -> AsyncIterator[Providers]:
    short = {} if context.durations.real else SHORT
    with FakeOpenAI(Answer(tokens=60)) as spare:
        async with Installation(context.folder, context.durations, {**short, **settings}) as it:
            with (it.folder / "routes.toml").open("a") as file:
                file.write(ROUTES.format(url=spare.url))
            (_, port), worker = await asyncio.gather(it.start_web(), it.start_worker())
            it.provider.usually = Answer(tokens=60)
            yield Providers(it, spare, port, worker.pid)
