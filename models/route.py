"""Named policies, from `streamer.toml`: which model answers, with which prompt, within which limits."""

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from models.errors import SettingInvalid
from models.settings import Settings, env_name

OnWorkerLost = Literal["restart", "keep_partial"]
OnProviderBroken = Literal["restart", "keep_partial"]


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[routes.NAME]` table. Sizes are tokens, durations seconds; what is left out comes from the settings."""

    model: str
    system: str = ""
    max_output_tokens: int | None = None
    temperature: float | None = None
    deadline_seconds: float | None = None
    max_calls: int | None = None
    max_crashes: int | None = None
    on_worker_lost: OnWorkerLost = "restart"
    on_provider_broken: OnProviderBroken = "keep_partial"

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
    routes: dict[str, Route] = {}


def load_routes(settings: Settings) -> Mapping[str, Route]:
    """Every route by its name; `chat` is built in and may be replaced.

    Raises SettingInvalid, which names the file and the key.
    """
    routes = {"chat": Route(model=settings.default_model)}
    path = _file(settings)
    if path is not None:
        routes |= _read(path)
    for name, route in routes.items():
        provider, model = route.provider_and_model
        if not provider or not model:
            where = f"{path}: routes.{name}.model" if path else env_name("model")
            raise SettingInvalid(f"{where} must be provider:model, such as openai:gpt-4o-mini, not {route.model!r}")
    return routes


def _file(settings: Settings) -> Path | None:
    if settings.routes_file:
        return Path(settings.routes_file)
    found = [path for path in (Path("streamer.toml"), settings.data_path / "streamer.toml") if path.is_file()]
    return found[0] if found else None


def _read(path: Path) -> dict[str, Route]:
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), _File).routes
    except OSError as error:
        raise SettingInvalid(f"{path} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"{path} is not valid TOML: {error}") from error
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        raise SettingInvalid(f"{path}: {where.rstrip('`') or 'top level'}: {message}") from error
