"""Providers that are built in, and where keys come from."""

from pathlib import Path

import pytest

from models.errors import SettingInvalid
from models.provider_config import ProviderConfig, read_key
from models.route_file import load_providers
from models.settings import Settings

KEYED = Settings(openai_api_key=" sk-1\n", anthropic_api_key="sk-ant-1")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where streamer.toml is looked for: a working folder without any."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "streamer.toml"


def test_the_built_in_providers_need_no_file(file: Path) -> None:
    found = load_providers(Settings())
    assert sorted(found) == ["anthropic", "demo", "local", "openai"]
    assert found["openai"] == ProviderConfig(
        kind="openai", base_url="https://api.openai.com/v1", api_key_env="OPENAI_API_KEY"
    )
    assert found["anthropic"].url == "https://api.anthropic.com"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "http://localhost:11434/v1", "http://[::1]:1/v1"])
def test_an_address_on_loopback_is_allowed_by_giving_it(file: Path, url: str) -> None:
    assert load_providers(Settings(openai_base_url=url))["openai"].allow_private


@pytest.mark.parametrize("url", ["http://10.0.0.1/v1", "http://gpu.lan/v1", "http://127.1/v1", "http://[::1/v1"])
def test_no_other_address_is(file: Path, url: str) -> None:
    assert not load_providers(Settings(openai_base_url=url))["openai"].allow_private


def test_a_kind_has_its_own_server_unless_another_is_said() -> None:
    assert ProviderConfig(kind="openai").url == "https://api.openai.com/v1"
    assert ProviderConfig(kind="anthropic", base_url="https://x").url == "https://x"
    assert ProviderConfig(kind="demo").url == ""


def test_a_variable_of_the_settings_has_the_settings_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    assert read_key(ProviderConfig(kind="openai", api_key_env="OPENAI_API_KEY"), KEYED) == "sk-1"


def test_any_other_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEAR_API_KEY", "sk-near ")
    assert read_key(ProviderConfig(kind="openai", api_key_env="NEAR_API_KEY"), KEYED) == "sk-near"


def test_without_a_place_none_is_sent() -> None:
    assert read_key(ProviderConfig(kind="openai", base_url="https://x"), KEYED) == ""


def test_a_place_that_holds_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEAR_API_KEY", raising=False)
    config = ProviderConfig(kind="openai", base_url="https://x/v1", api_key_env="NEAR_API_KEY")
    with pytest.raises(SettingInvalid, match=r"^NEAR_API_KEY must hold a key to use https://x/v1$"):
        read_key(config, KEYED)


def test_a_large_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("a" * 10_000_000)
    assert len(read_key(ProviderConfig(kind="openai", api_key_file=str(path)), KEYED)) == 4096
