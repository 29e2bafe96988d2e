"""`streamer.toml`: where it is looked for, what is in it, and every mistake in it with its line."""

import difflib
import json
import re
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from models.errors import SettingInvalid
from models.route import Route
from models.settings import Settings, env_name
from models.toml_lines import KeyPath, line_of_error, lines_of_keys, spelled

FILE_NAME = "streamer.toml"

#: What a route may be called: it stands in requests, tables and Redis keys.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

_FIELDS = {each.name: each for each in msgspec.structs.fields(Route)}


class Mistake(NamedTuple):
    """`line` counts from 1; None: the file as a whole. `key` is empty for what is no TOML."""

    line: int | None
    key: str
    message: str


class RoutesInvalid(SettingInvalid):
    """The routes' file has mistakes; `lines` has one line of text for each."""

    def __init__(self, path: Path, mistakes: Sequence[Mistake]) -> None:
        self.lines = [_told(path, each) for each in sorted(mistakes, key=lambda each: each.line or 0)]
        more = len(self.lines) - 1
        rest = f" ({more} more: `streamer routes check` tells all)" if more else ""
        super().__init__(self.lines[0] + rest)


def _told(path: Path, mistake: Mistake) -> str:
    place = str(path) if mistake.line is None else f"{path}:{mistake.line}"
    return ": ".join(filter(None, (place, mistake.key, mistake.message)))


@dataclass(slots=True)
class RouteFile:
    """The routes as far as their keys are good, and what is wrong. `path` None: there is no file."""

    path: Path | None
    routes: dict[str, Route]
    mistakes: list[Mistake] = field(default_factory=list)
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def refuse(self, path: KeyPath, message: str) -> None:
        """Notes a mistake at a key, or at the table that should have it."""
        line = next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), None)
        self.mistakes.append(Mistake(line, spelled(path), message))

    def checked(self) -> Mapping[str, Route]:
        """Every route by its name. Raises RoutesInvalid."""
        if self.mistakes:
            raise RoutesInvalid(self.path or Path(FILE_NAME), self.mistakes)
        return self.routes


def load_routes(settings: Settings) -> Mapping[str, Route]:
    """Every route by its name; `chat` is built in and may be replaced. Raises SettingInvalid, with file, line and key."""
    return read_route_file(settings).checked()


def read_route_file(settings: Settings, path: Path | None = None) -> RouteFile:
    """The file at `path`, else the one that the settings name, else the first found.

    Raises SettingInvalid where the file can't be read, or STREAMER_MODEL is wrong: a mistake of the file is in `mistakes`.
    """
    if fault := _model_fault(settings.default_model):
        raise SettingInvalid(f"{env_name('model')} {fault}")
    path = path or _found(settings)
    file = RouteFile(path, {"chat": Route(model=settings.default_model)})
    if path is not None:
        _read(file, path)
    return file


def _found(settings: Settings) -> Path | None:
    if settings.routes_file:
        return Path(settings.routes_file)
    found = [each for each in (Path(FILE_NAME), settings.data_path / FILE_NAME) if each.is_file()]
    return found[0] if found else None


def _read(file: RouteFile, path: Path) -> None:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        content = tomllib.loads(text)
    except OSError as error:
        raise SettingInvalid(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        file.mistakes.append(Mistake(line, "", "not valid TOML: the file must be UTF-8"))
        return
    except tomllib.TOMLDecodeError as error:
        line, message = line_of_error(error, text)
        file.mistakes.append(Mistake(line, "", f"not valid TOML: {message}"))
        return
    file.lines = lines_of_keys(text)
    for key in content.keys() - {"routes"}:
        file.refuse((key,), f"unknown key{_guess(key, ['routes'])}; a route is a table [routes.NAME]")
    tables = content.get("routes", {})
    if not isinstance(tables, dict):
        file.refuse(("routes",), f"must hold tables [routes.NAME], not {_shown(tables)}")
        return
    for name, table in tables.items():
        _take(file, name, table)


def _take(file: RouteFile, name: str, table: Any) -> None:
    """Adds the route to the file's, without the keys that are mistakes."""
    where = ("routes", name)
    if not NAME.fullmatch(name):
        file.refuse(where, "a route's name has up to 64 letters, digits, - and _, and begins with a letter or digit")
    if not isinstance(table, dict):
        file.refuse(where, f"must be a table [{spelled(where)}], not {_shown(table)}")
        return
    good = {}
    for key, value in table.items():
        if key not in _FIELDS:
            file.refuse((*where, key), f"unknown key{_guess(key, list(_FIELDS))}")
        elif fault := _fault(key, value):
            file.refuse((*where, key), fault)
        else:
            good[key] = value
    if "model" not in table:
        file.refuse((*where, "model"), "is missing; write it as provider:model, such as openai:gpt-4o-mini")
    if "model" in good:
        file.routes[name] = msgspec.convert(good, Route)


def _fault(key: str, value: Any) -> str | None:
    """What is wrong with the value of a known key."""
    kind = _FIELDS[key].type
    try:
        found = msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return f"must be {_wanted(kind)}, not {_shown(value)}"
    return _model_fault(found) if key == "model" else None


def _model_fault(model: str) -> str | None:
    provider, _, name = model.partition(":")
    if provider and name:
        return None
    return f"must be provider:model, such as openai:gpt-4o-mini, not {_shown(model)}"


def _wanted(kind: Any) -> str:
    """The values that a type allows, in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _wanted(next(each for each in arguments if each is not type(None)))
    if origin is Literal:
        return " or ".join(map(_shown, arguments))
    if origin is Annotated:
        low, high = arguments[1].ge, arguments[1].le
        return f"{_wanted(arguments[0])} from {low} to {high:.15g}"
    return {str: 'text, such as "…"', int: "a whole number", float: "a number"}[kind]


def _shown(value: Any) -> str:
    """A value as a message shows it: as the file has it, and short."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _guess(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {close[0]}?" if close else ""
