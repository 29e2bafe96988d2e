"""Providers by name, and settings that won't do."""

import pytest

from models.errors import SettingInvalid
from models.settings import Settings
from tasks.providers.demo import DemoProvider
from tasks.providers.openai import OpenAIProvider
from tasks.providers.registry import NAMES, Registry, split_model

KEYED = Settings(openai_api_key="sk-1")


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("openai:gpt-4o-mini", ("openai", "gpt-4o-mini")),
        ("openai:ft:gpt-4o:org::id", ("openai", "ft:gpt-4o:org::id")),
        ("demo:echo", ("demo", "echo")),
    ],
)
def test_a_model_is_provider_and_name(model: str, parts: tuple[str, str]) -> None:
    assert split_model(model) == parts


@pytest.mark.parametrize("model", ["", "gpt-4o", ":gpt-4o", "openai:"])
def test_half_a_model_is_refused(model: str) -> None:
    with pytest.raises(SettingInvalid, match="provider:model"):
        split_model(model)


async def test_every_name_has_its_one_provider() -> None:
    registry = Registry(KEYED)
    for name in NAMES:
        assert registry.provider(name).name == name
        assert registry.provider(name) is registry.provider(name)
    assert isinstance(registry.provider("demo"), DemoProvider)
    assert isinstance(registry.provider("openai"), OpenAIProvider)
    await registry.aclose()


def test_an_unknown_name_says_which_setting_and_what_there_is() -> None:
    with pytest.raises(SettingInvalid, match=r"STREAMER_MODEL .* demo:, openai:"):
        Registry(KEYED).provider("opnai")


def test_openai_itself_needs_a_key() -> None:
    with pytest.raises(SettingInvalid, match="OPENAI_API_KEY"):
        Registry(Settings()).provider("openai")


def test_a_server_of_ones_own_needs_none() -> None:
    assert Registry(Settings(openai_base_url="http://localhost:11434/v1")).provider("openai").name == "openai"


def test_a_key_is_taken_without_the_blanks_around_it() -> None:
    provider = Registry(Settings(openai_api_key=" sk-1\n")).provider("openai")
    assert isinstance(provider, OpenAIProvider)
    assert "authorization: Bearer sk-1\r\n" in provider._upstream._headers


@pytest.mark.parametrize("key", ["sk-1\r\nx: y", "sk-1 sk-2", "sk-é", "sk-\0", "sk-\x7f"])
def test_a_key_that_is_no_header_is_refused_unquoted(key: str) -> None:
    with pytest.raises(SettingInvalid, match="OPENAI_API_KEY") as caught:
        Registry(Settings(openai_api_key=key)).provider("openai")
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.openai.com/v1",
        "ftp://x/v1",
        "http://",
        "http://user:pass@x/v1",
        "http://x:port/v1",
        "http://x:0/v1",
        "http://x/v1?a=b",
        "http://x/v1#a",
        "http://x/v1\r\nx: y",
        "http://x/a b",
        "http://é/v1",
        "http://[::1/v1",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingInvalid, match="OPENAI_BASE_URL"):
        Registry(Settings(openai_api_key="sk-1", openai_base_url=url)).provider("openai")
