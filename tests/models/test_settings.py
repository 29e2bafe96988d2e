"""Settings: one table of variables, read from the environment or refused with the variable's name."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from models.errors import SettingInvalid
from models.settings import Settings, env_name, environ_mistakes, is_given, unknown_variables

FIELDS = dataclasses.fields(Settings)
NUMBERS = [item for item in FIELDS if item.type in (int, float)]


def names(items: list[Any]) -> list[str]:
    return [item.name for item in items]


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environ({}) == Settings()


def test_the_defaults_keep_their_own_rules() -> None:
    settings = Settings.from_environ({})

    assert settings.renew_seconds < settings.lease_seconds
    assert settings.keepalive_seconds < 15
    assert settings.append_window_seconds == 0.025


def test_every_setting_has_a_help_and_a_variable_of_its_own() -> None:
    variables = [env_name(item.name) for item in FIELDS]

    assert len(set(variables)) == len(variables)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]+", variable) for variable in variables)
    assert all(item.metadata["help"] for item in FIELDS)


@pytest.mark.parametrize("item", NUMBERS, ids=names(NUMBERS))
def test_every_number_has_a_minimum_that_its_default_keeps(item: Any) -> None:
    assert item.metadata["minimum"] is not None
    assert item.default >= item.metadata["minimum"]


@pytest.mark.parametrize(
    "item", [item for item in FIELDS if item.name.endswith("_seconds")], ids=lambda item: item.name
)
def test_every_duration_says_seconds(item: Any) -> None:
    assert item.metadata["unit"] == "s"


@pytest.mark.parametrize("item", FIELDS, ids=lambda item: item.name)
def test_every_setting_is_read_from_its_variable(item: Any) -> None:
    wanted: Any = item.default + 1 if item.type in (int, float) else "text"
    settings = Settings.from_environ({env_name(item.name): str(wanted)})

    assert getattr(settings, item.name) == wanted
    assert type(getattr(settings, item.name)) is item.type


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_environ({"STREAMER_PORT": "", "STREAMER_MODEL": ""}) == Settings()


def test_the_process_environment_is_read_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMER_PORT", "8123")

    assert Settings.from_environ().port == 8123


def test_it_is_known_whether_the_environment_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMER_MODEL", "demo:short")
    monkeypatch.setenv("STREAMER_PORT", "")
    monkeypatch.delenv("STREAMER_HOST", raising=False)

    assert [is_given(name) for name in ("model", "port", "host")] == [True, False, False]


def test_the_command_line_wins_over_the_environment_where_it_says_something() -> None:
    environ = {"STREAMER_PORT": "1", "STREAMER_HOST": "::1"}
    settings = Settings.from_environ(environ, port=2, host=None)

    assert (settings.port, settings.host) == (2, "::1")


@pytest.mark.parametrize("raw", ["many", "1.5", "0x10", "1e3", "1 2"])
def test_a_whole_number_that_is_none_is_refused_by_name(raw: str) -> None:
    with pytest.raises(SettingInvalid, match=f"STREAMER_PORT must be a whole number, not '{raw}'"):
        Settings.from_environ({"STREAMER_PORT": raw})


def test_a_number_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(SettingInvalid, match="STREAMER_LEASE_SECONDS must be a number, not 'soon'"):
        Settings.from_environ({"STREAMER_LEASE_SECONDS": "soon"})


@pytest.mark.parametrize("raw", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize("name", ["deadline_seconds", "append_window_seconds", "worker_drain_seconds"])
def test_a_number_without_a_size_is_refused_by_name(name: str, raw: str) -> None:
    with pytest.raises(SettingInvalid, match=env_name(name)):
        Settings.from_environ({env_name(name): raw})


@pytest.mark.parametrize("item", NUMBERS, ids=names(NUMBERS))
def test_a_number_below_its_minimum_is_refused_by_name(item: Any) -> None:
    below = item.metadata["minimum"] - 1

    with pytest.raises(SettingInvalid, match=f"{env_name(item.name)} must be at least"):
        Settings.from_environ({env_name(item.name): str(int(below) if item.type is int else below)})


def test_a_minimum_holds_for_the_command_line_too() -> None:
    with pytest.raises(SettingInvalid, match="STREAMER_PORT must be at least 0, not -1"):
        Settings.from_environ({}, port=-1)


@pytest.mark.parametrize("renew", ["9", "10"])
def test_a_renewal_must_come_before_the_leases_end(renew: str) -> None:
    with pytest.raises(SettingInvalid, match="STREAMER_RENEW_SECONDS must be below STREAMER_LEASE_SECONDS"):
        Settings.from_environ({"STREAMER_RENEW_SECONDS": renew})


@pytest.mark.parametrize(
    ("environ", "model"),
    [
        ({}, "demo:echo"),
        ({"OPENAI_API_KEY": "sk-1"}, "openai:gpt-4o-mini"),
        ({"ANTHROPIC_API_KEY": "sk-1"}, "anthropic:claude-haiku-4-5"),
        ({"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2"}, "openai:gpt-4o-mini"),
        ({"OPENAI_API_KEY": "sk-1", "STREAMER_MODEL": "demo:short"}, "demo:short"),
        ({"STREAMER_MODEL": "openai:o3"}, "openai:o3"),
    ],
)
def test_the_built_in_model_is_the_demo_until_there_is_a_key(environ: dict[str, str], model: str) -> None:
    assert Settings.from_environ(environ).default_model == model


def test_the_data_folder_does_not_move_with_the_working_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert Settings(data="here").data_path == tmp_path / "here"


def test_what_is_secret_does_not_show_in_the_repr() -> None:
    secrets = ("redis_url", "broker_url", "database_url", "secret", "openai_api_key", "anthropic_api_key")
    values: dict[str, Any] = dict.fromkeys(secrets, "hush-hush")

    assert "hush-hush" not in repr(Settings(**values))


def test_every_mistake_of_the_environment_is_told_at_once() -> None:
    environ = {"STREAMER_PORT": "eighty", "STREAMER_MAX_CALLS": "0", "STREAMER_HOST": "0.0.0.0"}

    assert environ_mistakes(environ) == {
        "STREAMER_PORT": "STREAMER_PORT must be a whole number, not 'eighty'",
        "STREAMER_MAX_CALLS": "STREAMER_MAX_CALLS must be at least 1, not 0",
    }


def test_two_settings_that_contradict_each_other_are_both_mistakes() -> None:
    environ = {"STREAMER_RENEW_SECONDS": "9", "STREAMER_LEASE_SECONDS": "5"}

    assert set(environ_mistakes(environ)) == set(environ)


def test_what_is_good_in_the_environment_holds_where_the_rest_is_not() -> None:
    settings = Settings.from_good_environ({"STREAMER_PORT": "eighty", "STREAMER_HOST": "0.0.0.0"}, data="here")

    assert (settings.port, settings.host, settings.data) == (8000, "0.0.0.0", "here")


def test_a_misspelt_variable_is_known_by_its_prefix() -> None:
    environ = {"STREAMER_LAESE_SECONDS": "5", "STREAMER_LEASE_SECONDS": "5", "PATH": "/bin"}

    assert unknown_variables(environ) == ["STREAMER_LAESE_SECONDS"]
