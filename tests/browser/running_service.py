"""The real service, as an operator starts it: `streamer up` on a free port with a folder of its own."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import unlimited

ROOT = Path(__file__).parents[2]
READY_SECONDS = 60.0
STOP_SECONDS = 30.0

_CHAT_PAGE = re.compile(r"http://\S+/#grant=\S+")
_OURS = ("STREAMER_", "OPENAI_", "ANTHROPIC_", "REDIS_URL", "DATABASE_URL")


@contextmanager
def running_service(data: Path, **settings: str) -> Iterator[str]:
    """Starts it with `settings` as environment variables and gives the address of the chat page that it prints."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    command = [sys.executable, "-m", "streamer", "up", "--port", "0", "--data", str(data / "service")]
    with (
        (data / "log").open("wb") as log,
        subprocess.Popen(
            command, cwd=ROOT, env=env | unlimited.ENVIRONMENT | settings, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        printed = _Printed(process)
        try:
            yield printed.chat_page(data / "log")
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            finally:
                printed.join()


class _Printed:
    """What the service prints, read to its end, so that it never waits for us."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._stdout = process.stdout
        self._told = threading.Event()
        self._address: str | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def chat_page(self, log: Path) -> str:
        assert self._told.wait(READY_SECONDS), f"not ready after {READY_SECONDS} s:\n{log.read_text()}"
        assert self._address is not None, f"the service ended before it was ready:\n{log.read_text()}"
        return self._address

    def join(self) -> None:
        self._thread.join(STOP_SECONDS)

    def _read(self) -> None:
        for line in self._stdout:
            found = _CHAT_PAGE.search(line)
            if found:
                self._address = found[0]
                self._told.set()
        self._told.set()
