"""`streamer doctor` as a person or a program calls it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from models.settings import Settings, env_name
from streamer.cli import main
from streamer.doctor.command import CHECKS, ONLINE
from streamer.doctor.report import Scrubber
from tests.system.product import COMMAND

Capture = pytest.CaptureFixture[str]

SECRETS = {
    "OPENAI_API_KEY": "sk-canary-openai-012345",
    "ANTHROPIC_API_KEY": "sk-canary-anthropic-012345",
    "STREAMER_SECRET": "canary-secret-0123456789-0123456789",
    "REDIS_URL": "redis://user:canary-redis%21@127.0.0.1:1/0",
    "STREAMER_BROKER_URL": "redis://127.0.0.1:1/1?password=canary-broker",
    "DATABASE_URL": "postgresql://user:canary-database@127.0.0.1/streamer",
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.__dataclass_fields__:
        monkeypatch.delenv(env_name(name), raising=False)
    monkeypatch.setenv("STREAMER_PORT", "0")  # another service of the machine's may have 8000


def test_every_check_has_a_name_of_its_own() -> None:
    names = [check.name for check in (*CHECKS, *ONLINE)]
    assert len(set(names)) == len(names)


def test_an_empty_folder_can_be_started_in_and_stays_empty(tmp_path: Path, capsys: Capture) -> None:
    assert main(["doctor", "--data", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert [check.name for check in CHECKS if check.name not in text] == []
    assert text.endswith(" warning, 0 failed\n")
    assert list(tmp_path.iterdir()) == []


def test_json_has_every_check_and_the_worst_verdict(tmp_path: Path, capsys: Capture) -> None:
    assert main(["doctor", "--data", str(tmp_path), "--online", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in told["checks"]} == {check.name for check in (*CHECKS, *ONLINE)}
    assert told["verdict"] == "warning"
    assert set(told["checks"][0]) == {"name", "verdict", "found", "change"}


def test_what_is_away_is_a_line_each_and_the_exit_code_1(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("STREAMER_PORT", "eighty")
    (tmp_path / "streamer.db").write_bytes(b"no database" * 1000)
    assert main(["doctor", "--data", str(tmp_path), "--json"]) == 1
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert {each["name"] for each in told["checks"]} == {check.name for check in CHECKS}
    failed = {each["name"] for each in told["checks"] if each["verdict"] == "failed"}
    assert {"settings", "database", "migrations", "redis", "queue"} <= failed
    assert "Traceback" not in out + err


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_no_secret_is_printed(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STREAMER_PORT", SECRETS["OPENAI_API_KEY"])  # pasted into the wrong line
    (tmp_path / "api_key").write_text("sk-0123456789abcdef-canary" + "c" * 37)
    assert main(["doctor", "--data", str(tmp_path), *options]) == 1
    out, err = capsys.readouterr()
    assert "OPENAI_API_KEY is set" in out
    assert "canary" not in out + err


def test_the_net_below_the_checks_takes_passwords_out_as_they_are_meant() -> None:
    scrubber = Scrubber(Settings(redis_url="redis://user:p%40ssword@h/0", secret="canary-canary"))
    assert scrubber.text("p%40ssword p@ssword canary-canary redis") == "… … … redis"


def on_a_terminal(data: Path, **env: str) -> str:
    """What the command prints where its output is a terminal."""
    reading, writing = os.openpty()
    command = [str(COMMAND), "doctor", "--data", str(data)]
    path = {"PATH": os.environ["PATH"], "STREAMER_PORT": "0"}
    with subprocess.Popen(command, stdout=writing, env=path | env, cwd=data) as process:
        os.close(writing)
        text = b""
        try:
            while piece := os.read(reading, 65536):
                text += piece
        except OSError:  # Linux's end of a terminal
            pass
        os.close(reading)
    assert process.returncode == 0
    return text.decode()


def test_colours_come_on_a_terminal_unless_nobody_wants_them(tmp_path: Path) -> None:
    assert "\x1b[32mok" in on_a_terminal(tmp_path)
    assert "\x1b" not in on_a_terminal(tmp_path, NO_COLOR="1")
