"""`streamer routes`: says what is wrong with the routes' file, and what holds for each route."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.errors import SettingInvalid
from models.route import Route
from models.route_file import RoutesInvalid, read_route_file
from models.settings import Settings
from tasks.history import max_input_tokens
from tasks.route_checks import check_routes, load_checked_routes

#: The columns of the table of all routes, and what each shows.
COLUMNS = {
    "NAME": "name",
    "MODEL": "model",
    "HISTORY": "history",
    "INPUT": "max_input_tokens",
    "OUTPUT": "max_output_tokens",
    "TEMPERATURE": "temperature",
    "DEADLINE": "deadline_seconds",
    "CALLS": "max_calls",
    "CACHE": "cache",
    "REQUESTS": "requests",
    "VERSION": "version",
}


def check(settings: Settings, file: str | None) -> int:
    """Prints every mistake of the file, or how many routes there are. 1 where there are mistakes. Raises SettingInvalid."""
    try:
        routes = check_routes(read_route_file(settings, Path(file) if file else None), settings).checked()
    except RoutesInvalid as error:
        print(*error.lines, sep="\n")
        return 1
    print("1 route is fine" if len(routes) == 1 else f"{len(routes)} routes are fine")
    return 0


def show(settings: Settings, name: str | None, *, as_json: bool) -> int:
    """Prints all routes, or all that holds for one, with the values that the settings give. Raises SettingInvalid."""
    routes = load_checked_routes(settings)
    if name is not None and name not in routes:
        raise SettingInvalid(f"there is no route {name!r}: there are {', '.join(sorted(routes))}")
    values = {each: _values(each, routes[each], settings) for each in sorted(routes) if name in (None, each)}
    if as_json:
        print(json.dumps(values if name is None else values[name], ensure_ascii=False, indent=2))
    elif name is None:
        _print_rows([tuple(COLUMNS), *(_row(each) for each in values.values())])
    else:
        _print_rows([(key, _cell(value)) for key, value in values[name].items()])
    return 0


def _values(name: str, route: Route, settings: Settings) -> dict[str, Any]:
    told = {"max_input_tokens": max_input_tokens(route, settings)}
    return {"name": name, **route.effective(settings), **told, "version": route.version}


def _row(values: Mapping[str, Any]) -> tuple[str, ...]:
    cache = f"{values['cache_seconds']:g} s, {values['cache_scope']}" if values["cache_seconds"] else "off"
    requests = f"{values['max_requests']} in {values['request_window_seconds']:g} s"
    shown = {**values, "cache": cache, "requests": requests, "deadline_seconds": f"{values['deadline_seconds']:g} s"}
    return tuple(_cell(shown[key]) for key in COLUMNS.values())


def _cell(value: Any) -> str:
    if value in (None, "", ()):
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} = {each}" for name, each in value.items())
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, ensure_ascii=False) if "\n" in str(value) else str(value)


def _print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
