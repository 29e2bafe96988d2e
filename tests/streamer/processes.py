"""Real processes under test: their lines are awaited with a deadline, and whatever a test leaves running is killed."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]

#: Far more than anything here takes, even on a busy machine.
PATIENCE_SECONDS = 60.0


class Lines:
    """A pipe's lines, as they come. `end()`: nobody holds its other end any more."""

    def __init__(self, descriptor: int) -> None:
        self.seen: list[str] = []
        self._descriptor = descriptor
        self._rest = b""
        self._ended = False

    def until(self, wanted: str, count: int = 1, seconds: float = PATIENCE_SECONDS) -> str:
        """The first line, or the `count`-th of all, that holds `wanted`."""
        deadline = time.monotonic() + seconds
        while len(found := [line for line in self.seen if wanted in line]) < count:
            assert not self._ended, f"no {wanted!r}, the end came after {self.seen}"
            assert self._read(deadline), f"no {wanted!r} within {seconds} s in {self.seen}"
        return found[count - 1]

    def end(self, seconds: float = PATIENCE_SECONDS) -> list[str]:
        """All lines, once the last holder of the pipe is gone."""
        deadline = time.monotonic() + seconds
        while not self._ended:
            assert self._read(deadline), f"somebody still holds the pipe after {seconds} s: {self.seen}"
        return self.seen

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        piece = os.read(self._descriptor, 65536)
        self._ended = not piece
        *lines, self._rest = (self._rest + piece).split(b"\n")
        self.seen += [line.decode() for line in lines]
        return True


class Running:
    """`with Running(command) as running:` a process that leads a group and session of its own, as a terminal's job does.

    `told`: the lines that it and its children write to the descriptor whose number stands for `{fd}` in the command.
    """

    def __init__(self, command: Sequence[str], env: dict[str, str] | None = None) -> None:
        self._command, self._env = command, env

    def __enter__(self) -> Self:
        reading, writing = os.pipe()
        self.told = Lines(reading)
        self._reading = reading
        self.process = subprocess.Popen(
            [word.replace("{fd}", str(writing)) for word in self._command],
            cwd=ROOT,
            env={**os.environ, **(self._env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[writing],
            start_new_session=True,
        )
        os.close(writing)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.out, self.err = Lines(self.process.stdout.fileno()), Lines(self.process.stderr.fileno())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        self.process.wait()
        os.close(self._reading)

    def press_ctrl_c(self) -> None:
        """What a terminal does: SIGINT to everybody in the foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def exit_code(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Its exit code, once it has ended; a negative one is a signal's number."""
        return self.process.wait(seconds)


def processes_about(word: str) -> list[str]:
    """The command lines of all processes of this machine that hold `word`."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line:
            found.append(line)
    return found


def await_nobody_about(word: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Waits until no process has `word` in its command line; a zombie has no command line any more."""
    deadline = time.monotonic() + seconds
    while left := processes_about(word):
        assert time.monotonic() < deadline, f"still there after {seconds} s: {left}"
        select.select([], [], [], 0.01)
