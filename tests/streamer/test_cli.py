"""The command line as a person types it: what it prints, where, and with which exit code."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.api_key import find_key, revoke_key, verify_key
from models.database import connect, database
from models.secret import load_secret
from models.settings import Settings, env_name
from models.tenant import first_tenant
from streamer import cli, cli_help
from streamer.cli import main
from streamer.first_key import FirstKey, ensure_first_key
from tests.models.rows import other_tenant
from tests.streamer.processes import ROOT

COMMANDS = [name.split() for name in cli_help.SUMMARIES if name != "streamer"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own settings play no part."""
    for name in Settings.__dataclass_fields__:
        monkeypatch.delenv(env_name(name), raising=False)


@pytest.fixture
def data(tmp_path: Path, capsys: Capture) -> str:
    """A data folder with an up-to-date database."""
    assert main(["migrate", "--data", str(tmp_path)]) == 0
    capsys.readouterr()
    return str(tmp_path)


def in_shell(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamer", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=30, env={"PATH": "/usr/bin:/bin", **env},
    )  # fmt: skip


def table(text: str) -> list[list[str]]:
    return [re.split(r"  +", line) for line in text.splitlines()]


# --- help -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_help_teaches_by_examples_and_exit_codes(command: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "exit codes:" in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", cli_help.SETTINGS)
def test_help_names_the_settings_that_matter_and_they_exist(name: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main([*name.split(), "--help"])
    text = capsys.readouterr().out
    for setting in cli_help.SETTINGS[name]:
        assert env_name(setting) in text
    assert "--data FOLDER" in text


def test_every_example_is_a_command_line_that_parses() -> None:
    for lines in cli_help.EXAMPLES.values():
        for line in lines:
            words = re.sub(r"^(\w+=\S+ )*streamer ", "", line).replace('"', "").split()
            known = words[0] in {"COMMAND", *(each[0] for each in COMMANDS)}
            assert known, line


def test_help_comes_fast_because_it_imports_nothing_heavy() -> None:
    heavy = ["redis", "peewee", "starlette", "uvicorn", "dramatiq", "httpx", "asyncio"]
    program = (
        "import sys; from streamer.cli import main\n"
        "try: main(['up', '--help'])\n"
        f"except SystemExit: print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_told(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("streamer ")


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["fly"], ["up", "--port", "many"], ["keys"], ["keys", "create"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: streamer")


def test_what_the_operator_can_mend_is_one_line_on_stderr_and_ends_with_1() -> None:
    done = in_shell("up", STREAMER_PORT="eighty")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "streamer: STREAMER_PORT must be a whole number, not 'eighty'\n"


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_process_without_a_redis_says_so(command: str, data: str) -> None:
    done = in_shell(command, "--data", data)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "streamer: no Redis: set REDIS_URL or start `streamer up`"
    assert "Traceback" not in done.stderr


def test_a_defect_is_one_line_without_its_words(monkeypatch: pytest.MonkeyPatch, capsys: Capture, data: str) -> None:
    def defect(*_: object) -> int:
        raise ValueError("a prompt that nobody may read")

    monkeypatch.setattr("streamer.keys.show", defect)
    assert main(["keys", "list", "--data", data]) == cli.DEFECT
    error = capsys.readouterr().err
    assert re.fullmatch(
        r"streamer: a defect of the program: ValueError at streamer/test_cli\.py:\d+ in defect < .*\n", error
    )


def test_ctrl_c_is_no_error_to_talk_about(monkeypatch: pytest.MonkeyPatch, capsys: Capture, data: str) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("streamer.keys.show", interrupted)
    assert main(["keys", "list", "--data", data]) == cli.INTERRUPTED
    assert capsys.readouterr() == ("", "")


def test_a_database_that_is_not_up_to_date_says_what_to_run(tmp_path: Path, capsys: Capture) -> None:
    assert main(["keys", "list", "--data", str(tmp_path)]) == 1
    assert "run `streamer migrate`" in capsys.readouterr().err


def test_migrate_makes_the_folder_and_may_run_again(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "new" / "data"
    for _ in range(2):
        assert main(["migrate", "--data", str(folder)]) == 0
        assert "the database is up to date" in capsys.readouterr().out


def test_a_data_folder_that_can_t_be_made_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").touch()
    assert main(["migrate", "--data", str(tmp_path / "file" / "data")]) == 1
    assert capsys.readouterr().err.startswith("streamer: the data folder ")


# --- keys -----------------------------------------------------------------------------------------------------------


def test_a_key_is_printed_once_listed_without_its_secret_and_revoked_by_its_id(data: str, capsys: Capture) -> None:
    assert main(["keys", "create", "--name", "my site", "--data", data]) == 0
    plain = capsys.readouterr().out.strip()
    connect(Settings(data=data))
    with database.connection_context():
        assert verify_key(plain, load_secret(Settings(data=data))) is not None

    assert main(["keys", "list", "--data", data]) == 0
    listed = capsys.readouterr().out
    assert plain not in listed
    head, row = table(listed)
    assert head == ["ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "REVOKED"]
    assert row[1:3] == ["my site", "chat session"]
    assert row[4:] == ["-", "-"]

    assert main(["keys", "revoke", row[0], "--data", data]) == 0
    with database.connection_context():
        assert verify_key(plain, load_secret(Settings(data=data))) is None
    assert main(["keys", "revoke", row[0], "--data", data]) == 1
    assert "there is no live key" in capsys.readouterr().err


def test_a_key_may_expire_and_have_scopes_of_its_own(data: str, capsys: Capture) -> None:
    assert main(["keys", "create", "--name", "short", "--scopes", "chat", "--expires-days", "0.5", "--data", data]) == 0
    assert main(["keys", "list", "--data", data]) == 0
    row = table(capsys.readouterr().out)[-1]
    assert row[2] == "chat"
    expires = time.strptime(row[4], "%Y-%m-%d %H:%M")
    created = time.strptime(row[3], "%Y-%m-%d %H:%M")
    assert 43200 - 60 <= time.mktime(expires) - time.mktime(created) <= 43200 + 60


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--name", " "], "--name must have a character"),
        (["--name", "two\nlines"], "--name must have a character"),
        (["--name", "n", "--scopes", " "], "--scopes must have a word"),
        (["--name", "n", "--scopes", "Session!"], "A scope is a word of lower-case letters"),
        (["--name", "n", "--expires-days", "0"], "--expires-days must be above 0"),
        (["--name", "n", "--expires-days", "nan"], "--expires-days must be above 0"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(data: str, capsys: Capture, options: list[str], told: str) -> None:
    assert main(["keys", "create", *options, "--data", data]) == 1
    assert capsys.readouterr().err.startswith(f"streamer: {told}")


# --- the first key, and links ---------------------------------------------------------------------------------------


def first_key(data: str) -> tuple[FirstKey, str]:
    settings = Settings(data=data)
    with database.connection_context():
        state = ensure_first_key(settings, load_secret(settings))
    return state, (settings.data_path / "api_key").read_text()


def test_the_first_key_is_made_once_for_its_owner_s_eyes_only(data: str) -> None:
    connect(Settings(data=data))
    state, plain = first_key(data)
    assert state is FirstKey.GOOD
    assert (Path(data) / "api_key").stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(r"sk-[0-9a-f]{16}-[\w-]{43}\n", plain)
    assert first_key(data) == (FirstKey.GOOD, plain)


def test_a_lost_first_key_is_made_anew_and_a_revoked_one_is_not(data: str) -> None:
    connect(Settings(data=data))
    _, lost = first_key(data)
    (Path(data) / "api_key").unlink()
    _, plain = first_key(data)
    assert plain != lost
    with database.connection_context():
        found = find_key(f"key_{plain[3:19]}")
        assert found is not None
        assert found.scope_set == {"session", "chat", "admin"}
        revoke_key(found.public_id)
    assert first_key(data) == (FirstKey.REVOKED, plain)


def test_a_first_key_of_another_secret_is_told_and_kept(data: str) -> None:
    connect(Settings(data=data))
    _, plain = first_key(data)
    (Path(data) / "secret").unlink()
    assert first_key(data) == (FirstKey.FOREIGN, plain)


def test_a_link_under_an_address_of_one_s_own_needs_no_running_service(data: str, capsys: Capture) -> None:
    connect(Settings(data=data))
    first_key(data)
    assert main(["link", "--data", data, "--url", "https://chat.example.org/"]) == 0
    assert re.fullmatch(r"https://chat\.example\.org/#grant=[\w.-]+\n", capsys.readouterr().out)


def test_a_link_to_nowhere_is_refused(data: str, capsys: Capture) -> None:
    assert main(["link", "--data", data]) == 1
    assert "no `streamer up` is ready" in capsys.readouterr().err
    assert main(["link", "--data", data, "--url", "chat.example.org"]) == 1
    assert "--url must start with" in capsys.readouterr().err


def test_a_signing_secret_is_shown_and_changed(data: str, capsys: Capture) -> None:
    command = ["keys", "signing-secret"]
    assert main([*command, "show", "--data", data]) == 0
    before = capsys.readouterr().out
    assert main([*command, "rotate", "--data", data]) == 0
    rotated = capsys.readouterr()
    assert main([*command, "show", "--data", data]) == 0
    after = capsys.readouterr().out

    assert re.fullmatch(r"sig-[\w-]{43}\n", before)
    assert before != after == rotated.out
    assert re.fullmatch(r"the secret before signs too until \d{4}-\d\d-\d\d \d\d:\d\d UTC\n", rotated.err)


def test_a_signing_secret_is_its_tenants(data: str, capsys: Capture) -> None:
    command = ["keys", "signing-secret", "show", "--data", data]
    assert main(command) == 0
    first = capsys.readouterr().out
    connect(Settings(data=data))
    with database.connection_context():
        own, other = first_tenant().public_id, other_tenant().public_id
    assert main([*command, "--tenant", own]) == 0
    assert capsys.readouterr().out == first
    assert main([*command, "--tenant", other]) == 0
    assert capsys.readouterr().out != first
    assert main([*command, "--tenant", "ten_none"]) == 1
    assert "there is no tenant 'ten_none': leave --tenant out for the first" in capsys.readouterr().err
