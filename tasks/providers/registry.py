"""The providers that the settings allow, made when first asked for: one of each in a process."""

from urllib.parse import urlsplit

from models.errors import SettingInvalid
from models.settings import Settings, env_name
from tasks.providers.base import Provider
from tasks.providers.demo import DemoProvider
from tasks.providers.openai import OpenAIProvider
from tasks.providers.upstream import Timeouts

NAMES = ("demo", "openai")


def split_model(model: str) -> tuple[str, str]:
    """`openai:gpt-4o-mini` as ("openai", "gpt-4o-mini"); the model may hold more colons.

    Raises SettingInvalid where it is not provider:model.
    """
    provider, colon, name = model.partition(":")
    if not (provider and colon and name):
        raise SettingInvalid(f"A model is written provider:model, such as openai:gpt-4o-mini, not {model!r}")
    return provider, name


class Registry:
    """The process's providers by name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._providers: dict[str, Provider] = {}

    def provider(self, name: str) -> Provider:
        """The provider `name`, always the same one.

        Raises SettingInvalid, which names the setting to change: the name is unknown, or its key or address won't do.
        """
        found = self._providers.get(name)
        if found is None:
            found = self._providers[name] = self._made(name)
        return found

    async def aclose(self) -> None:
        """Closes every provider's connections."""
        providers, self._providers = list(self._providers.values()), {}
        for provider in providers:
            await provider.aclose()

    def _made(self, name: str) -> Provider:
        if name == "demo":
            return DemoProvider(self._settings.demo_tokens_per_second)
        if name == "openai":
            return self._openai()
        raise SettingInvalid(
            f"There is no provider {name!r}: {env_name('model')} and each route's model begin with one of "
            + ", ".join(f"{known}:" for known in NAMES)
        )

    def _openai(self) -> OpenAIProvider:
        base_url = _address("openai_base_url", self._settings.openai_base_url)
        key = _key("openai_api_key", self._settings.openai_api_key)
        if not key and urlsplit(base_url).hostname == "api.openai.com":
            raise SettingInvalid(f"{env_name('openai_api_key')} must hold a key to use {base_url}")
        return OpenAIProvider(base_url, key, Timeouts.of(self._settings))


def _address(setting: str, value: str) -> str:
    value = value.strip()
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not _is_header(value) or "@" in parts.netloc or "?" in value or "#" in value:
        raise SettingInvalid(f"{env_name(setting)} must be an http or https address without user, query or fragment")
    return value


def _key(setting: str, value: str) -> str:
    """The key without the blanks of a careless paste. What is no header value is refused here, where nothing quotes it."""
    key = value.strip()
    if not _is_header(key):
        raise SettingInvalid(f"{env_name(setting)} holds characters that no key has")
    return key


def _is_header(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value
