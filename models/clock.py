"""The clock of the rows: seconds near Unix time that no step of this machine's wall clock moves.

With SQLite it is this machine's boot-time clock, the same in all processes. With Postgres it is the server's clock, which the
boot-time clock follows between two looks at it.
"""

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class BootClock:
    """The boot-time clock plus an offset.

    With SQLite one process stores it once a boot and all others read it; with Postgres each finds its own.
    """

    def __init__(self) -> None:
        self.offset_seconds: float | None = None

    def __call__(self) -> float:
        assert self.offset_seconds is not None, "the clock is read before database.connect() has set it"
        return boot_seconds() + self.offset_seconds


def boot_seconds() -> float:
    """Seconds since boot, time asleep included where the system counts it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """What tells this boot of the machine from any other."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "unknown"


boot_clock = BootClock()
