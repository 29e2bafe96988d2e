"""Named policies, from `streamer.toml`: which model answers, with which prompt, within which limits."""

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from models.errors import SettingInvalid
from models.settings import Settings, env_name

OnWorkerLost = Literal["restart", "keep_partial"]
OnProviderBroken = Literal["restart", "keep_partial"]

History = Literal["conversation", "none"]
CacheScope = Literal["visitor", "public"]

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=1, le=1e9)]
Pause = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=100)]

T = TypeVar("T")


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[routes.NAME]` table. Sizes are tokens, durations seconds; what is left out comes from the settings."""

    model: str
    system: str = ""
    safety: str = ""
    history: History = "conversation"
    max_input_tokens: Count | None = None
    max_output_tokens: Count | None = None
    temperature: Temperature | None = None
    deadline_seconds: Seconds | None = None
    max_calls: Count | None = None
    max_crashes: Count | None = None
    on_worker_lost: OnWorkerLost = "restart"
    on_provider_broken: OnProviderBroken = "keep_partial"
    cache_seconds: Pause | None = None
    cache_scope: CacheScope = "visitor"
    max_requests: Count | None = None
    request_window_seconds: Seconds | None = None

    @property
    def version(self) -> str:
        """What tells this policy from any other: a change of any value is a new version."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]

    @property
    def provider_and_model(self) -> tuple[str, str]:
        """`openai:gpt-4o-mini` in its two parts."""
        provider, _, model = self.model.partition(":")
        return provider, model


class _File(msgspec.Struct, forbid_unknown_fields=True):
    routes: dict[str, Any] = {}


def load_routes(settings: Settings) -> Mapping[str, Route]:
    """Every route by its name; `chat` is built in and may be replaced.

    Raises SettingInvalid, which names the file and the key.
    """
    routes = {"chat": Route(model=settings.default_model)}
    _check_model(routes["chat"], env_name("model"))
    path = _file(settings)
    return routes if path is None else routes | _read(path)


def _check_model(route: Route, where: str) -> None:
    provider, model = route.provider_and_model
    if not provider or not model:
        raise SettingInvalid(f"{where} must be provider:model, such as openai:gpt-4o-mini, not {route.model!r}")


def _file(settings: Settings) -> Path | None:
    if settings.routes_file:
        return Path(settings.routes_file)
    found = [path for path in (Path("streamer.toml"), settings.data_path / "streamer.toml") if path.is_file()]
    return found[0] if found else None


def _read(path: Path) -> dict[str, Route]:
    try:
        found = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise SettingInvalid(f"{path} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"{path} is not valid TOML: {error}") from error
    tables = _converted(found, _File, path, "").routes
    routes = {name: _converted(table, Route, path, f"routes.{name}") for name, table in tables.items()}
    for name, route in routes.items():
        _check_model(route, f"{path}: routes.{name}.model")
    return routes


def _converted(found: Any, kind: type[T], path: Path, key: str) -> T:
    """`found`, which stands at `key` of the file. The place that msgspec tells leaves out the names of tables."""
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        message, _, inside = str(error).partition(" - at `$")
        place = (key + inside.rstrip("`")).removeprefix(".") or "top level"
        raise SettingInvalid(f"{path}: {place}: {message}") from error
