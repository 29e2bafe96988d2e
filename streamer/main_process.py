"""What the process that a container was started with runs: so that one health check fits every role of an image."""

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

Role = Literal["serve", "worker", "up"]
ROLES: tuple[Role, ...] = ("serve", "worker", "up")


class MainProcess(NamedTuple):
    """A role, and the options of its command line that say where it is; None where it has none."""

    role: Role
    processes: int = 1
    data: str | None = None
    host: str | None = None
    port: int | None = None


def read_main_process(pid: int) -> MainProcess | None:
    """What the process runs (Linux); None where it runs none of our roles, or can't be looked at."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return None
    return main_process_of(line.rstrip("\0").split("\0"))


def main_process_of(words: list[str]) -> MainProcess | None:
    """The same of a command line, behind an interpreter or a small init, too."""
    for index, (word, role) in enumerate(pairwise(words)):
        if Path(word).name == "streamer" and role in ROLES:
            parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
            parser.add_argument("--processes", type=int, default=1)
            for name, kind in (("--data", str), ("--host", str), ("--port", int)):
                parser.add_argument(name, type=kind)
            given, _ = parser.parse_known_args(words[index + 2 :])
            return MainProcess(role, given.processes, given.data, given.host, given.port)
    return None
