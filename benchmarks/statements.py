"""Every statement to SQLite in a process, by its shape: what it does to which table, by which columns.

`python -m benchmarks.statements FILE serve …` is `streamer serve …` that notes them in the file, a line of JSON each.
"""

import json
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from models.sqlite import TurnTakingSqlite

_QUOTED = re.compile(r"'(?:[^']|'')*'")
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE) (\w+)")
_WHERE = re.compile(r" WHERE (.*?)(?: RETURNING | ORDER BY |$)")
_COLUMN = re.compile(r"(\w+) (?:=|!=|<>|<|>|<=|>=|IS|IN) ")


class Statement(NamedTuple):
    """`at_ns` of the monotonic clock; `thread`: the name of the one that made it."""

    at_ns: int
    thread: str
    shape: str


def shape(sql: str) -> str:
    """What it does, to which table, and the columns that its first condition looks at; no value of any."""
    text = " ".join(_QUOTED.sub("?", sql).replace('"', "").split())
    table = _TABLE.search(text)
    if table is None:
        return text
    words = [text.partition(" ")[0], "COUNT" if "COUNT(" in text else "", table[1]]
    words.append("OR UPDATE" if " ON CONFLICT" in text else "")
    if condition := _WHERE.search(text):
        words.append("BY " + ", ".join(dict.fromkeys(_COLUMN.findall(condition[1]))))
    return " ".join(filter(None, words))


def watch(note: Callable[[Statement], None]) -> Callable[[], None]:
    """Calls `note` for each statement on the connections that are opened from now on; returns what ends that for further ones."""
    database: Any = TurnTakingSqlite
    connect = database._connect

    def traced(self: TurnTakingSqlite) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(self)
        connection.set_trace_callback(
            lambda sql: note(Statement(time.monotonic_ns(), threading.current_thread().name, shape(sql)))
        )
        return connection

    database._connect = traced

    def stop() -> None:
        database._connect = connect

    return stop


def main() -> int:
    """The product's own command line, behind the name of the file."""
    from streamer.cli import main as streamer

    out = open(sys.argv[1], "a", buffering=1)  # noqa: SIM115, PTH123 (it is open for as long as the process)
    watch(lambda statement: print(json.dumps(statement, ensure_ascii=False), file=out))
    return streamer(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
