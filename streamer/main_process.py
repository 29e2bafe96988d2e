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
            # No more than the role has: what it takes as an abbreviation would stand for two of them.
            parser.add_argument("--data")
            if role != "worker":
                parser.add_argument("--host")
                parser.add_argument("--port", type=int)
            if role != "up":
                parser.add_argument("--processes", type=int)
            parser.set_defaults(host=None, port=None, processes=None)
            given, _ = parser.parse_known_args(words[index + 2 :])
            return MainProcess(role, given.processes or 1, given.data, given.host, given.port)
    return None
