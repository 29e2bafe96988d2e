"""What the doctor sees of the machine."""

import resource
import socket
import time
from dataclasses import replace

import pytest

from models.settings import Settings
from streamer.doctor import machine
from streamer.doctor.check import Verdict
from tests.streamer.doctor.finding import only
from tests.streamer.doctor.healthy import Healthy


@pytest.mark.parametrize(
    ("bounds", "version", "allowed"),
    [
        ("", "1.0", True),
        (">=2.2,<3", "2.2.1", True),
        ("<3,>=2.2", "3.0", False),
        (">=2.2", "2.10", True),
        ("<3", "3.0.0", False),
        (">=3.11", "3.10.13", False),
        ("==1.2.0", "1.2", True),
        ("!=1.2", "1.2", False),
        (">1", "1.0.1", True),
        ("<=1", "1.0.1", False),
        (">=2.0", "2.0rc1", True),
    ],
)
def test_a_version_is_held_against_its_bounds(bounds: str, version: str, allowed: bool) -> None:
    assert machine.allows(bounds, version) is allowed


def test_python_and_packages_of_this_environment_are_fine(settings: Settings) -> None:
    assert only(machine.python, settings).verdict is Verdict.OK
    assert only(machine.packages, settings).verdict is Verdict.OK


def test_a_package_that_is_missing_or_too_old_is_named() -> None:
    assert machine.package_fault("no-such-package>=1") == "no-such-package is not installed"
    assert machine.package_fault("redis>=999; python_version > '3'").endswith(", not >=999")
    assert machine.package_fault("redis") == ""


def test_a_python_that_the_package_does_not_ask_for_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.metadata", lambda name: {"Requires-Python": ">=4"})

    assert only(machine.python, settings).verdict is Verdict.FAILED


def test_a_clock_of_the_past_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(machine.clock, settings).verdict is Verdict.OK
    monkeypatch.setattr(time, "time", lambda: 86_400.0)
    assert "1970-01-02 00:00:00 UTC" in only(machine.clock, settings).found


def test_fewer_open_files_than_viewers_are_told(settings: Settings) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("there is no limit here")
    few, many = replace(settings, max_viewers=1), replace(settings, max_viewers=hard)

    assert only(machine.open_files, few).verdict is Verdict.OK
    assert "LimitNOFILE=" in only(machine.open_files, many).change


def test_a_soft_limit_matters_where_serve_runs_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, 524288))
    alone = replace(settings, redis_url="redis://10.0.0.5/0")

    assert only(machine.open_files, settings).verdict is Verdict.OK
    assert only(machine.open_files, alone).verdict is Verdict.WARNING


def test_the_tokenizers_ranks_are_whole(settings: Settings) -> None:
    assert only(machine.ranks, settings).verdict is Verdict.OK


def test_a_port_is_free_taken_or_ours(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        taken = only(machine.port, replace(settings, port=number))
    assert (taken.verdict, f"port {number}" in taken.found) == (Verdict.FAILED, True)
    assert only(machine.port, replace(settings, port=number)).found == f"127.0.0.1:{number} is free"
    assert only(machine.port, replace(settings, port=0)).found == "any free one on 127.0.0.1"
    with Healthy() as ours:
        answering = only(machine.port, replace(settings, port=ours.port))
    assert answering.found == f"the service answers at http://127.0.0.1:{ours.port}"
