"""The providers that the file and the settings describe, made when first asked for: one of each in a process."""

from collections.abc import Callable, Mapping

from models.errors import SettingInvalid
from models.provider_check import url_fault
from models.provider_config import Kind, ProviderConfig, built_in, read_key
from models.route_file import load_providers
from models.settings import Settings, env_name
from tasks.providers.anthropic import AnthropicProvider
from tasks.providers.base import Provider
from tasks.providers.demo import DemoProvider
from tasks.providers.local import LocalProvider
from tasks.providers.openai import OpenAIProvider
from tasks.providers.upstream import Timeouts


def split_model(model: str) -> tuple[str, str]:
    """`openai:gpt-4o-mini` as ("openai", "gpt-4o-mini"); the model may hold more colons.

    Raises SettingInvalid where it is not provider:model.
    """
    provider, colon, name = model.partition(":")
    if not (provider and colon and name):
        raise SettingInvalid(f"A model is written provider:model, such as openai:gpt-4o-mini, not {model!r}")
    return provider, name


class Registry:
    """The process's providers by name. `configs` are those of the settings' file unless given."""

    def __init__(self, settings: Settings, configs: Mapping[str, ProviderConfig] | None = None) -> None:
        self._settings = settings
        self._configs = load_providers(settings) if configs is None else configs
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
        config = self._configs.get(name)
        if config is None or config.kind not in _MAKERS:
            raise SettingInvalid(
                f"There is no provider {name!r}: {env_name('model')} and each route's model begin with one of "
                + ", ".join(f"{known}:" for known in usable(self._configs))
            )
        if config.url and (fault := url_fault(config)):
            raise SettingInvalid(f"{address_source(name, config, self._settings)} {fault}")
        return _MAKERS[config.kind](name, config, self._settings)


def usable(configs: Mapping[str, ProviderConfig]) -> list[str]:
    """The names of the providers that can be made, in order."""
    return sorted(name for name, config in configs.items() if config.kind in _MAKERS)


def address_source(name: str, config: ProviderConfig, settings: Settings) -> str:
    """Where a provider's address is said: a variable, or a key of the file."""
    is_built_in = config == built_in(settings).get(name)
    return env_name(f"{name}_base_url") if is_built_in else f"providers.{name}.base_url"


def _demo(name: str, config: ProviderConfig, settings: Settings) -> Provider:
    return DemoProvider(settings.demo_tokens_per_second, name=name)


def _openai(name: str, config: ProviderConfig, settings: Settings) -> Provider:
    return OpenAIProvider(
        config.url,
        read_key(config, settings),
        Timeouts.of(settings, config),
        name=name,
        headers=config.headers,
        include_usage=config.include_usage,
        end_is_finish=config.end_is_finish,
        max_tokens_field=config.max_tokens_field,
        allow_private=config.allow_private,
    )


def _local(name: str, config: ProviderConfig, settings: Settings) -> Provider:
    return LocalProvider(settings, name)


def _anthropic(name: str, config: ProviderConfig, settings: Settings) -> Provider:
    return AnthropicProvider(
        config.url,
        read_key(config, settings),
        Timeouts.of(settings, config),
        name=name,
        headers=config.headers,
        allow_private=config.allow_private,
    )


_MAKERS: dict[Kind, Callable[[str, ProviderConfig, Settings], Provider]] = {
    "anthropic": _anthropic,
    "demo": _demo,
    "local": _local,
    "openai": _openai,
}
