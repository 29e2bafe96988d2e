"""A wall clock that a test steps, for one process: a preloaded shim, which leaves the other clocks alone."""

import shutil
import struct
import subprocess
from pathlib import Path

from tests.missing import missing

SOURCE = Path(__file__).with_suffix(".c")


class WallClock:
    """`environment` makes a process see it; `step` moves it, at any time."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.offset"
        self._library = folder / "wall_clock.so"
        self.step(0)
        if not self._library.exists():
            compiler = shutil.which("cc")
            if compiler is None:
                missing("no C compiler for the stepped clock: apt-get install gcc libc6-dev")
            subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", self._library, SOURCE, "-ldl"], check=True)

    def step(self, seconds: int) -> None:
        """The wall clock differs by so many seconds from now on."""
        with self._file.open("r+b" if self._file.exists() else "w+b") as file:
            file.write(struct.pack("l", seconds))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "WALL_CLOCK_OFFSET": str(self._file)}
