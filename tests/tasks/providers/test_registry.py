"""Providers by name, from the settings and from the file's tables, and what won't do."""

from pathlib import Path

import pytest

from models.errors import SettingInvalid
from models.settings import Settings
from tasks.providers.anthropic import AnthropicProvider
from tasks.providers.demo import DemoProvider
from tasks.providers.openai import OpenAIProvider
from tasks.providers.registry import Registry, split_model, usable

KEYED = Settings(openai_api_key="sk-1", anthropic_api_key="sk-ant-1")


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where streamer.toml is looked for: a working folder without any."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "streamer.toml"


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
    for name in set(usable(registry._configs)) - {"local"}:  # which needs a server that runs
        assert registry.provider(name).name == name
        assert registry.provider(name) is registry.provider(name)
    assert isinstance(registry.provider("demo"), DemoProvider)
    assert isinstance(registry.provider("openai"), OpenAIProvider)
    await registry.aclose()


def test_an_unknown_name_says_which_setting_and_what_there_is() -> None:
    with pytest.raises(SettingInvalid, match=r"STREAMER_MODEL .* demo:, .*openai:"):
        Registry(KEYED).provider("opnai")


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_openai_and_anthropic_themselves_need_a_key(name: str) -> None:
    with pytest.raises(SettingInvalid, match=f"^{name.upper()}_API_KEY must hold a key to use https://api.{name}.com"):
        Registry(Settings()).provider(name)


def test_anthropic_is_sent_its_own_key_and_the_version() -> None:
    provider = Registry(KEYED).provider("anthropic")
    assert isinstance(provider, AnthropicProvider)
    assert "host: api.anthropic.com\r\n" in provider._upstream._headers
    assert "anthropic-version: 2023-06-01\r\nx-api-key: sk-ant-1\r\n" in provider._upstream._headers
    assert "sk-1" not in provider._upstream._headers


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


TABLES = """
[providers.groq]
kind = "openai"
base_url = "https://api.groq.com/openai/v1"
api_key_env = "GROQ_API_KEY"
headers = { x-team = "a b" }
include_usage = false
end_is_finish = true
max_tokens_field = "max_completion_tokens"
idle_seconds = 5

[providers.slow]
kind = "demo"
"""


def test_a_table_makes_a_provider_of_its_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(TABLES)
    monkeypatch.setenv("GROQ_API_KEY", "gsk-1")
    registry = Registry(Settings(provider_first_byte_seconds=7))
    groq = registry.provider("groq")
    assert isinstance(groq, OpenAIProvider)
    assert groq.name == "groq"
    assert "host: api.groq.com\r\n" in groq._upstream._headers
    assert "x-team: a b\r\nauthorization: Bearer gsk-1\r\n" in groq._upstream._headers
    assert (groq._include_usage, groq._end_is_finish, groq._max_tokens) == (False, True, "max_completion_tokens")
    timeouts = groq._upstream._timeouts
    assert (timeouts.connect_seconds, timeouts.first_byte_seconds, timeouts.idle_seconds) == (10, 7, 5)
    assert registry.provider("slow").name == "slow"


def test_a_key_that_a_table_names_must_be_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(TABLES)
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    with pytest.raises(SettingInvalid, match=r"^GROQ_API_KEY must hold a key to use https://api.groq.com/openai/v1$"):
        Registry(Settings()).provider("groq")


def test_a_key_comes_from_a_file_too(file: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    file.write_text(f'[providers.a]\nkind = "openai"\napi_key_file = "{key}"\n')
    with pytest.raises(SettingInvalid, match=r"key can't be read: No such file or directory"):
        Registry(Settings()).provider("a")
    key.write_text("")
    with pytest.raises(SettingInvalid, match=r"key must hold a key"):
        Registry(Settings()).provider("a")
    key.write_bytes(b"\xff")
    with pytest.raises(SettingInvalid, match=r"key holds characters that no key has"):
        Registry(Settings()).provider("a")
    key.write_text(" sk-2\n")
    provider = Registry(Settings()).provider("a")
    assert isinstance(provider, OpenAIProvider)
    assert "authorization: Bearer sk-2\r\n" in provider._upstream._headers


def test_a_table_takes_the_place_of_a_built_in_provider(file: Path) -> None:
    file.write_text('[providers.openai]\nkind = "openai"\nbase_url = "http://127.0.0.1:1/v1"\nallow_private = true\n')
    provider = Registry(KEYED).provider("openai")
    assert isinstance(provider, OpenAIProvider)
    assert "authorization" not in provider._upstream._headers


def test_no_table_sends_a_key_of_ones_own_to_openai_by_leaving_it_out(file: Path) -> None:
    file.write_text('[providers.openai]\nkind = "openai"\n')
    with pytest.raises(SettingInvalid, match=r"^api_key_env must hold a key to use https://api.openai.com/v1$"):
        Registry(KEYED).provider("openai")


@pytest.mark.parametrize("url", ["http://example.com/v1", "http://10.0.0.1/v1", "https://169.254.169.254/v1"])
def test_an_address_that_is_not_safe_is_refused_with_its_variable(url: str) -> None:
    with pytest.raises(SettingInvalid, match=r"^OPENAI_BASE_URL (must|leads)"):
        Registry(Settings(openai_api_key="sk-1", openai_base_url=url)).provider("openai")
