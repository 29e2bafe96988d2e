"""`streamer routes` as an operator types it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from models.settings import Settings, env_name
from streamer.cli import main
from tests.streamer.processes import ROOT

Capture = pytest.CaptureFixture[str]

EXAMPLE = ROOT / "streamer.example.toml"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working folder without a file, and no settings of the developer's own."""
    for name in Settings.__dataclass_fields__:
        monkeypatch.delenv(env_name(name), raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(text: str) -> list[list[str]]:
    return [re.split(r"  +", line) for line in text.splitlines()]


def test_the_example_that_is_shipped_is_right(capsys: Capture) -> None:
    assert main(["routes", "check", str(EXAMPLE)]) == 0
    assert capsys.readouterr().out == "3 routes are fine\n"


def test_without_a_file_the_built_in_route_is_fine(capsys: Capture) -> None:
    assert main(["routes", "check"]) == 0
    assert capsys.readouterr().out == "1 route is fine\n"


def test_every_mistake_is_a_line_of_its_own(here: Path, capsys: Capture) -> None:
    (here / "streamer.toml").write_text(
        '[routes.chat]\nmodel = "demo:echo"\ntemprature = 1\n\n[routes.b]\nmodel = "opnai:x"\nmax_calls = 0\n'
    )

    assert main(["routes", "check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "streamer.toml:3: routes.chat.temprature: unknown key; did you mean temperature?",
        'streamer.toml:6: routes.b.model: there is no provider "opnai"; did you mean openai:?',
        "streamer.toml:7: routes.b.max_calls: must be a whole number from 1 to 1000000000, not 0",
    ]


def test_mistakes_of_providers_are_told_too_and_their_keys_are_not(here: Path, capsys: Capture) -> None:
    (here / "streamer.toml").write_text(
        '[routes.chat]\nmodel = "near:x"\n\n[providers.near]\nkind = "openai"\nbase_url = "http://gpu.lan/v1"\n'
        'api_key = "sk-canary"\n\n[routes.b]\nmodel = "far:x"\n'
    )

    assert main(["routes", "check"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[:2] for line in told] == [
        ["streamer.toml:6", "providers.near.base_url"],
        ["streamer.toml:7", "providers.near.api_key"],
        ["streamer.toml:10", "routes.b.model"],
    ]
    assert "canary" not in "".join(told)


@pytest.mark.parametrize("command", ["routes show", "up", "serve", "worker"])
def test_no_command_goes_on_with_a_mistake(here: Path, command: str) -> None:
    (here / "streamer.toml").write_text('[routes.chat]\nmodel = "opnai:x"\nmax_call = 1\n')
    assert main(["migrate"]) == 0
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "REDIS_URL": "redis://127.0.0.1:1/0"}

    # A process of its own: a worker blocks signals before all else.
    ended = subprocess.run(
        [sys.executable, "-m", "streamer", *command.split()], cwd=here, env=environment, capture_output=True, text=True
    )

    assert ended.returncode == 1
    assert ended.stderr == (
        'streamer: streamer.toml:2: routes.chat.model: there is no provider "opnai"; did you mean openai:? '
        "(1 more: `streamer routes check` tells all)\n"
    )


def test_a_file_that_is_missing_is_told(capsys: Capture) -> None:
    assert main(["routes", "check", "none.toml"]) == 1
    assert capsys.readouterr().err == "streamer: none.toml can't be read: No such file or directory\n"


def test_all_routes_are_shown_with_the_values_that_hold(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("STREAMER_ROUTES", str(EXAMPLE))
    monkeypatch.setenv("STREAMER_MAX_CALLS", "5")

    assert main(["routes", "show"]) == 0
    head, chat, classify, summarize = table(capsys.readouterr().out)
    assert head[:2] == ["NAME", "MODEL"]
    assert chat[:9] == [
        "chat", "openai:gpt-4o-mini", "conversation", "8000", "800", "0.7", "120 s", "5", "600 s, visitor",
    ]  # fmt: skip
    assert (classify[0], classify[7], classify[9]) == ("classify", "3", "120 in 60 s")
    assert (summarize[0], summarize[8]) == ("summarize", "86400 s, public")


def test_one_route_is_shown_with_every_key(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("STREAMER_ROUTES", str(EXAMPLE))

    assert main(["routes", "show", "classify"]) == 0
    shown = dict(table(capsys.readouterr().out))
    assert (shown["temperature"], shown["max_crashes"], shown["max_output_tokens"]) == ("0", "3", "5")

    assert main(["routes", "show", "classify", "--json"]) == 0
    as_json = json.loads(capsys.readouterr().out)
    assert list(as_json) == list(shown)
    assert (as_json["temperature"], as_json["version"]) == (0.0, shown["version"])

    assert main(["routes", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classify"] == as_json


def test_the_local_model_s_room_is_what_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("STREAMER_MODEL", "local:smollm2")
    assert main(["routes", "show", "chat"]) == 0
    assert dict(table(capsys.readouterr().out))["max_input_tokens"] == "1024"


def test_a_route_that_is_not_there_is_told_with_those_that_are(capsys: Capture) -> None:
    assert main(["routes", "show", "chta"]) == 1
    assert capsys.readouterr().err == "streamer: there is no route 'chta': there are chat\n"


def test_keys_are_never_shown(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("STREAMER_SECRET", "canary" * 8)

    for command in (["show"], ["show", "chat"], ["show", "--json"], ["check"]):
        assert main(["routes", *command]) == 0
    assert "canary" not in "".join(capsys.readouterr())


def test_names_for_models_are_shown_with_what_they_mean(here: Path, capsys: Capture) -> None:
    (here / "streamer.toml").write_text(
        '[routes.chat]\nmodel = "demo:echo"\nmodels = { fast = "demo:short", slow = "demo:long" }\n'
    )

    assert main(["routes", "show", "chat"]) == 0
    assert ["models", "fast = demo:short, slow = demo:long"] in table(capsys.readouterr().out)
