"""Every statement to SQLite in a process, by its shape: what it does to which table, without a value.

`python -m benchmarks.statements FILE serve …` is `streamer serve …` that notes them in the file, a line of JSON each.
"""

import json
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from models.sqlite import TurnTakingSqlite

_VALUES = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?(?:e[+-]?\d+)?\b")
_QUOTES = re.compile(r'"(?:t\d+"\.")?')
_LONG = (
    (re.compile(r"^SELECT .{40,}? FROM "), "SELECT … FROM "),
    (re.compile(r"^(INSERT (?:OR \w+ )?INTO \w+) .*?(?= ON CONFLICT| RETURNING|$)"), r"\1 …"),
    (re.compile(r"^(UPDATE \w+ SET) .*? (?=WHERE |FROM )"), r"\1 … "),
    (re.compile(r" RETURNING .*"), " RETURNING …"),
    (re.compile(r" AS t\d+"), ""),
)


class Statement(NamedTuple):
    """`at_ns` of the monotonic clock; `thread`: the name of the one that made it."""

    at_ns: int
    thread: str
    shape: str


def shape(sql: str) -> str:
    """The statement without its values and without long lists of columns."""
    found = " ".join(_QUOTES.sub("", _VALUES.sub("?", sql.replace('"t1".', ""))).split())
    for pattern, instead in _LONG:
        found = pattern.sub(instead, found)
    return found


def watch(note: Callable[[Statement], None]) -> Callable[[], None]:
    """Calls `note` for each statement on the connections that are opened from now on; returns what ends that for further ones."""
    connect = TurnTakingSqlite._connect

    def traced(self: TurnTakingSqlite) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(self)  # type: ignore[no-untyped-call]
        connection.set_trace_callback(
            lambda sql: note(Statement(time.monotonic_ns(), threading.current_thread().name, shape(sql)))
        )
        return connection

    TurnTakingSqlite._connect = traced  # type: ignore[method-assign]

    def stop() -> None:
        TurnTakingSqlite._connect = connect  # type: ignore[method-assign]

    return stop


def main() -> int:
    """The product's own command line, behind the name of the file."""
    from streamer.cli import main as streamer

    out = open(sys.argv[1], "a", buffering=1)  # noqa: SIM115, PTH123 (it is open for as long as the process)
    watch(lambda statement: print(json.dumps(statement, ensure_ascii=False), file=out))
    return streamer(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
