"""A provider: where a model is asked, with which key, and how its server differs from others that speak the same API.

The key itself stands in no file that is copied, shared or versioned: a table names the variable or the file that holds it.
"""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from models.errors import SettingInvalid
from models.host_address import Reach, literal_reach
from models.settings import Settings, env_name

Kind = Literal["openai", "anthropic", "demo", "local"]
MaxTokensField = Literal["max_tokens", "max_completion_tokens"]

Seconds = Annotated[float, msgspec.Meta(ge=0.01, le=86_400)]

#: Where a kind's own API is.
BASE_URLS = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}

#: Hosts that answer nobody without a key.
KEYED_HOSTS = ("api.openai.com", "api.anthropic.com")

#: Bytes of a key's file that are read.
MAX_KEY_BYTES = 4096


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[providers.NAME]` table. Timeouts that are None come from the settings."""

    kind: Kind
    base_url: str = ""
    api_key_env: str = ""
    api_key_file: str = ""
    headers: dict[str, str] = {}
    include_usage: bool = True
    end_is_finish: bool = False
    max_tokens_field: MaxTokensField | None = None
    allow_private: bool = False
    connect_seconds: Seconds | None = None
    first_byte_seconds: Seconds | None = None
    idle_seconds: Seconds | None = None

    @property
    def url(self) -> str:
        """The base address; empty for a kind that needs no network."""
        return self.base_url or BASE_URLS.get(self.kind, "")

    @property
    def key_source(self) -> str:
        """The variable or the file that holds the key; empty where none is sent."""
        return self.api_key_env or self.api_key_file


def built_in(settings: Settings) -> dict[str, ProviderConfig]:
    """The providers that need no table, from OPENAI_… and ANTHROPIC_…; an address on loopback is allowed by giving it.

    Their addresses are not checked yet: `provider_check.url_fault` does that where one is used.
    """
    found = {"demo": ProviderConfig(kind="demo"), "local": ProviderConfig(kind="local")}
    kinds: tuple[Kind, ...] = ("openai", "anthropic")
    for kind in kinds:
        url = str(getattr(settings, f"{kind}_base_url")).strip()
        key = env_name(f"{kind}_api_key")
        found[kind] = ProviderConfig(kind=kind, base_url=url, api_key_env=key, allow_private=_is_loopback(url))
    return found


def read_key(config: ProviderConfig, settings: Settings) -> str:
    """The provider's key without the blanks of a careless paste; empty where none is sent.

    Raises SettingInvalid, which names the variable or the file and never quotes what is in it.
    """
    key = _file(config.api_key_file) if config.api_key_file else settings.variable(config.api_key_env)
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingInvalid(f"{config.key_source} holds characters that no key has")
    if not key and _needs_key(config, settings):
        raise SettingInvalid(f"{config.key_source or 'api_key_env'} must hold a key to use {config.url}")
    return key


def _needs_key(config: ProviderConfig, settings: Settings) -> bool:
    """Whoever names a key's place means it to be there; a built-in provider may do without, on a server of one's own."""
    named = bool(config.key_source) and config not in built_in(settings).values()
    return named or _host(config.url) in KEYED_HOSTS


def _file(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_KEY_BYTES).decode()
    except OSError as error:
        raise SettingInvalid(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingInvalid(f"{path} holds characters that no key has") from None


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_loopback(url: str) -> bool:
    return literal_reach(_host(url)) is Reach.LOOPBACK
