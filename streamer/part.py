"""One process of the service that is started, watched and stopped: what is wanted of it, and the process itself."""

import contextlib
import ctypes
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Seconds before a part that died is started again: the first, and the longest after doubling each time.
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.2, 10.0

#: A part that has lived so long died for a new reason: its delays begin anew.
STEADY_SECONDS = 30.0

_PR_SET_PDEATHSIG = 1  # prctl(2)
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What to run, how to tell that it is ready, and how it is stopped."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those that this process has itself."""
    open_files: tuple[int, ...] = ()
    """Descriptors that the process inherits."""
    prepare: Callable[[], None] = lambda: None
    """Done before each start."""
    ready: Callable[[], bool] = lambda: True
    """Whether what depends on this part may be started. Must answer within a second or so."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    """From its stop signal to its kill."""
    patience_seconds: float = math.inf
    """How long after a stop began it goes on for those that were started after it, before it gets its own stop signal."""
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends when the supervisor is gone (Linux)."""


class PartProcess:
    """A part's process, one after the other; each leads a session of its own, so that a terminal's Ctrl-C spares it."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.ended = 0
        """How many processes have ended in a row without a steady life."""
        self.end = ""
        """How the last one ended, in words."""
        self.next_start = 0.0
        self.stop_sent_at: float | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def alive(self) -> bool:
        """Whether there is a process that has not been reaped."""
        return self._process is not None

    def start(self) -> None:
        """Starts the process; one that can't be started counts as one that ended."""
        self._started_at = time.monotonic()
        try:
            self.part.prepare()
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                self.part.command,
                env={**os.environ, **self.part.env},
                stdin=subprocess.DEVNULL,
                pass_fds=self.part.open_files,
                start_new_session=True,
                preexec_fn=_follow(os.getpid(), self.part.death_signal),  # noqa: PLW1509 - the supervisor has one thread
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._note_end(f"can't be started: {error}")

    def reap(self) -> bool:
        """Whether the process has ended just now. Takes what it left in its group with it."""
        if self._process is None:
            return False
        pid = self._process.pid
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self._signal_group(signal.SIGKILL)  # while the leader is a zombie, the group's number can't belong to others
        status = self._process.wait()
        self._process = None
        self._note_end(f"exit code {status}" if status >= 0 else f"signal {signal.Signals(-status).name}")
        return True

    def send_stop(self) -> None:
        """Asks the process to end."""
        if self._process is not None and self.stop_sent_at is None:
            self.stop_sent_at = time.monotonic()
            os.kill(self._process.pid, self.part.stop_signal)  # not yet reaped, so the number is still its own

    def kill(self) -> None:
        """Ends the process and its group at once."""
        if self._process is not None:
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _note_end(self, how: str) -> None:
        now = time.monotonic()
        self.end = how
        self.ended = 1 if now - self._started_at >= STEADY_SECONDS else self.ended + 1
        self.next_start = now + min(FIRST_DELAY_SECONDS * 2 ** (self.ended - 1), LONGEST_DELAY_SECONDS)


def _follow(supervisor_pid: int, death_signal: signal.Signals) -> Callable[[], None]:
    """What a child does between fork and exec: takes signals again, and dies with the supervisor."""

    def in_child() -> None:
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != supervisor_pid:  # it died before the kernel knew our wish
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    return in_child


def streamer_command(name: str) -> list[str]:
    """What runs `streamer NAME` with this Python and this code."""
    # -P: a folder `models` where the operator happens to be is not ours; a checkout that we run from is.
    here = Path(__file__).parents[1] == Path.cwd()
    return [sys.executable, *([] if here else ["-P"]), "-m", "streamer", name]
