"""`streamer.toml`: where it is looked for, its routes and providers, and every mistake in it with its line."""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from models.errors import SettingInvalid
from models.provider_check import key_fault, table_faults
from models.provider_config import ProviderConfig, built_in
from models.route import Route
from models.settings import Settings, env_name
from models.toml_lines import KeyPath, line_of_error, lines_of_keys, spelled
from models.toml_table import guess, shown, value_fault

FILE_NAME = "streamer.toml"

#: What a route or a provider may be called: it stands in requests, tables and Redis keys.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

#: Models that a route may fall back to.
MAX_FALLBACKS = 8

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
    """Routes and providers as far as their keys are good, and what is wrong. `path` None: there is no file."""

    path: Path | None
    routes: dict[str, Route]
    providers: dict[str, ProviderConfig]
    mistakes: list[Mistake] = field(default_factory=list)
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def refuse(self, path: KeyPath, message: str) -> None:
        """Notes a mistake at a key, or at the table that should have it."""
        line = next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), None)
        self.mistakes.append(Mistake(line, spelled(path), message))

    def checked(self) -> Mapping[str, Route]:
        """Every route by its name. Raises RoutesInvalid; SettingInvalid, where the one that is built in is wrong."""
        if self.mistakes and self.path is None:
            raise SettingInvalid(f"{env_name('model')}: {self.mistakes[0].message}")
        if self.mistakes and self.path:
            raise RoutesInvalid(self.path, self.mistakes)
        return self.routes


def load_routes(settings: Settings) -> Mapping[str, Route]:
    """Every route by its name; `chat` is built in and may be replaced. Raises SettingInvalid, with file, line and key."""
    return read_route_file(settings).checked()


def load_providers(settings: Settings) -> Mapping[str, ProviderConfig]:
    """Every provider by its name, the built-in ones included; a table may replace these. Raises SettingInvalid likewise."""
    file = read_route_file(settings)
    file.checked()
    return file.providers


def read_route_file(settings: Settings, path: Path | None = None) -> RouteFile:
    """The file at `path`, else the one that the settings name, else the first found.

    Raises SettingInvalid where the file can't be read, or STREAMER_MODEL is wrong: a mistake of the file is in `mistakes`.
    """
    if fault := _model_fault(settings.default_model):
        raise SettingInvalid(f"{env_name('model')} {fault}")
    path = path or _found(settings)
    file = RouteFile(path, {"chat": Route(model=settings.default_model)}, built_in(settings))
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
    for key in content.keys() - set(_TABLES):
        file.refuse((key,), f"unknown key{guess(key, list(_TABLES))}; {_KINDS_OF_TABLES}")
    for kind, take in _TABLES.items():
        tables = content.get(kind, {})
        if not isinstance(tables, dict):
            file.refuse((kind,), f"must hold tables [{kind}.NAME], not {shown(tables)}")
            continue
        for name, table in tables.items():
            take(file, name, table)


def _is_table(file: RouteFile, where: tuple[str, str], table: Any) -> bool:
    """Whether there are keys to look at; refuses what is no table, and a name that is none."""
    kind, name = where
    if not NAME.fullmatch(name):
        noun = kind.removesuffix("s")
        file.refuse(where, f"a {noun}'s name has up to 64 letters, digits, - and _, and begins with a letter or digit")
    if not isinstance(table, dict):
        file.refuse(where, f"must be a table [{spelled(where)}], not {shown(table)}")
        return False
    return True


def _take_route(file: RouteFile, name: str, table: Any) -> None:
    """Adds the route to the file's, without the keys that are mistakes."""
    where = ("routes", name)
    if not _is_table(file, where, table):
        return
    good = {}
    for key, value in table.items():
        if key not in _FIELDS:
            file.refuse((*where, key), f"unknown key{guess(key, list(_FIELDS))}")
        elif fault := value_fault(_FIELDS[key].type, value) or _models_fault(key, value, table):
            file.refuse((*where, key), fault)
        else:
            good[key] = value
    if "model" not in table:
        file.refuse((*where, "model"), "is missing; write it as provider:model, such as openai:gpt-4o-mini")
    if "model" in good:
        file.routes[name] = msgspec.convert(good, Route)


def _take_provider(file: RouteFile, name: str, table: Any) -> None:
    """Adds the provider to the file's, without the keys that are mistakes."""
    where = ("providers", name)
    if not _is_table(file, where, table):
        return
    good = {}
    for key, value in table.items():
        if fault := key_fault(key, value):
            file.refuse((*where, key), fault)
        else:
            good[key] = value
    if "kind" not in table:
        file.refuse((*where, "kind"), 'is missing; most servers are "openai", which means its API, not its owner')
    if "kind" in good:
        config = msgspec.convert(good, ProviderConfig)
        for key, fault in table_faults(config, good):
            file.refuse((*where, key), fault)
        file.providers[name] = config


_TABLES: dict[str, Callable[[RouteFile, str, Any], None]] = {"routes": _take_route, "providers": _take_provider}

_KINDS_OF_TABLES = "a route is a table [routes.NAME], a provider a table [providers.NAME]"


def _models_fault(key: str, value: Any, table: dict[str, Any]) -> str | None:
    """What is wrong with a key that names models."""
    if key == "model":
        return _model_fault(value)
    if key != "fallbacks":
        return None
    if len(value) > MAX_FALLBACKS:
        return f"must be {MAX_FALLBACKS} models at most: each is one more wait for the visitor"
    for number, model in enumerate(value):
        if fault := _model_fault(model):
            return fault
        if model in value[:number] or model == table.get("model"):
            return f"names {model} twice: a fallback is another model than those before it"
    return None


def _model_fault(model: str) -> str | None:
    provider, _, name = model.partition(":")
    if provider and name:
        return None
    return f"must be provider:model, such as openai:gpt-4o-mini, not {shown(model)}"
