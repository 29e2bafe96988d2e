"""In which line each key of a TOML text stands: tomllib, the one judge of what TOML is, does not tell."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

KeyPath = tuple[str, ...]

_CLOSES = re.compile(r"\"\"\"|'''|[\]}]")
"""What the last line of a statement of several lines holds."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def lines_of_keys(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, at which the statement of each key begins. `text` is valid TOML.

    The text is given to tomllib a statement at a time. A statement has ended with the first line at which it can be parsed: an
    open string, list or table can't.
    """
    found: dict[KeyPath, int] = {}
    table: KeyPath = ()
    statement, first = "", 1
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if statement and not _CLOSES.search(line):
            statement += line + "\n"
            continue
        first = first if statement else number
        statement += line + "\n"
        try:
            said = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        paths = list(_paths(said))
        is_header = statement.lstrip().startswith("[")
        for path in paths:
            found.setdefault(path if is_header else table + path, first)
        table = paths[-1] if is_header else table
        statement = ""
    return found


def _paths(value: Any) -> Iterator[KeyPath]:
    """Every path of keys in `value`, the outer ones first."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (key,)
            yield from ((key, *path) for path in _paths(inner))


def spelled(path: KeyPath) -> str:
    """The path as TOML writes it."""
    return ".".join(key if _BARE.fullmatch(key) else f'"{_escaped(key)}"' for key in path)


def _escaped(key: str) -> str:
    return key.encode("unicode_escape").decode().replace('"', '\\"')


def line_of_error(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str]:
    """Where tomllib broke off, and why, without the place."""
    message, _, place = str(error).partition(" (at ")
    line = re.search(r"line (\d+)", place)
    return (int(line[1]) if line else text.rstrip("\n").count("\n") + 1), message
