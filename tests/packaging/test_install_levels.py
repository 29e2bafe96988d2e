"""scripts/install test and scripts/install local: what they bring beyond the service itself, and how far they go without it."""

import pytest

from tests.packaging.fake_machine import LOCAL, PROJECT, REDIS, RUNTIME, TEST, FakeMachine


def test_the_test_level_installs_the_test_tools_and_covers_the_other(machine: FakeMachine) -> None:
    machine.python("python3", "3.11.2")
    machine.command("chromium", "exit 0")
    machine.command("php", "exit 0")
    machine.install("test")
    assert machine.calls[1:] == [TEST, PROJECT, REDIS, LOCAL]
    machine.install()
    assert len(machine.calls) == 5


def test_the_local_model_is_installed_when_it_is_asked_for_and_once(machine: FakeMachine) -> None:
    machine.python("python3", "3.11.2")
    machine.install()
    assert LOCAL not in machine.calls
    for _ in range(2):
        assert machine.install("local").returncode == 0
    assert machine.calls[3:] == [LOCAL]


def test_a_new_release_of_the_local_model_is_installed(machine: FakeMachine) -> None:
    machine.python("python3", "3.11.2")
    machine.install("local")
    with (machine.project / "requirements" / "local.txt").open("a") as changed:
        changed.write("# changed\n")
    machine.install("local")
    assert machine.calls[4:] == [RUNTIME, PROJECT, LOCAL]


def test_where_there_is_no_local_model_who_asked_for_it_is_told(machine: FakeMachine) -> None:
    machine.python("python3", "3.11.2")
    done = machine.install("local", PIP_BREAKS_ON="local.txt")
    assert done.returncode == 1
    assert "pip could not install requirements/local.txt" in done.stdout
    assert machine.install("local").returncode == 0
    assert machine.calls[4:] == [LOCAL]


def test_the_tests_go_on_without_the_local_model(machine: FakeMachine) -> None:
    machine.python("python3", "3.11.2")
    machine.command("chromium", "exit 0")
    done = machine.install("test", PIP_BREAKS_ON="local.txt")
    assert done.returncode == 0
    assert "its tests are skipped" in done.stdout


@pytest.mark.parametrize(
    ("package", "told"),
    [
        ("chromium", "no Chromium: the browser tests are skipped"),
        ("php-cli", "no PHP: the tests of the examples in PHP are skipped"),
    ],
)
def test_what_only_debian_has_is_said_and_how_to_get_it(machine: FakeMachine, package: str, told: str) -> None:
    machine.python("python3", "3.11.2")
    machine.logging("apt-get")
    done = machine.install("test")
    assert done.returncode == 0
    assert told in done.stdout
    assert f"    su -c 'apt-get install {package}'\n" in done.stdout


def test_root_on_debian_gets_it(root_machine: FakeMachine) -> None:
    root_machine.python("python3", "3.11.2")
    root_machine.logging("apt-get")
    assert root_machine.install("test").returncode == 0
    assert root_machine.calls[-2:] == [f"apt-get install -y -q {package}" for package in ("chromium", "php-cli")]


def test_without_a_redis_that_speaks_tls_and_root_it_says_what_to_type(machine: FakeMachine) -> None:
    (machine.bin / "redis-check-rdb").unlink()
    machine.python("python3", "3.11.2")
    machine.logging("apt-get")
    done = machine.install("test")
    assert done.returncode == 0
    assert "no Redis that speaks TLS: its tests are skipped" in done.stdout
    assert "    su -c 'apt-get install redis-tools'\n" in done.stdout


def test_root_on_debian_gets_a_redis_that_speaks_tls(root_machine: FakeMachine) -> None:
    (root_machine.bin / "redis-check-rdb").unlink()
    root_machine.python("python3", "3.11.2")
    root_machine.logging("apt-get")
    assert root_machine.install("test").returncode == 0
    assert root_machine.calls[-1] == "apt-get install -y -q redis-tools"


def test_an_unknown_level_is_refused(machine: FakeMachine) -> None:
    done = machine.install("everything")
    assert (done.returncode, done.stdout) == (1, "install: usage: scripts/install [test|local]\n")
