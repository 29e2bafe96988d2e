"""A process under measurement: its log, its processor time, its end."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Seconds for a process to be ready: LiteLLM reads for ten of them.
START_SECONDS = 90.0

_TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """It runs from the start. `name` is what figures call it."""

    def __init__(self, name: str, command: list[str], log: Path, environ: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=dict(environ or os.environ), stdin=subprocess.PIPE, stdout=out, stderr=out
            )
        self.pid = self._process.pid

    def said(self) -> str:
        """Its log so far."""
        return self._log.read_text(errors="replace")

    def until(self, true: Callable[[], object]) -> None:
        """Returns when it is so. Raises RuntimeError where the process ends before, or it takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not true():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not ready:\n{self.said()[-4000:]}")
            time.sleep(0.02)

    def cpu_seconds(self) -> float:
        """The processor time of its threads so far; of its children, those that have ended."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS

    def stop(self) -> None:
        """Asks it to end, then ends it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
