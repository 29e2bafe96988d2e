"""The locked lists in requirements/: they agree with pyproject.toml, pin everything by hash and name no server."""

import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.packaging.fake_machine import ROOT

LISTS = ["runtime.txt", "test.txt", "redis-server.txt", "local.txt"]
PINNED = re.compile(
    r"^([a-z0-9._-]+)==(\S+)(?: ; .+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def pinned(name: str) -> dict[str, str]:
    return {package: version for package, version, _ in PINNED.findall((ROOT / "requirements" / name).read_text())}


def wanted(name: str) -> list[str]:
    project, groups = pyproject()["project"], pyproject()["dependency-groups"]
    runtime = project["dependencies"] + groups["build"]
    by_list = {
        "runtime.txt": runtime,
        "test.txt": runtime + groups["test"] + groups["lint"],
        "redis-server.txt": project["optional-dependencies"]["redis-server"],
        "local.txt": project["optional-dependencies"]["local"] + groups["weights"],
    }
    return list(by_list[name])


@pytest.mark.parametrize("name", LISTS)
def test_a_list_pins_by_hash_and_names_no_server(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert PINNED.sub("", text) == ""


@pytest.mark.parametrize("name", LISTS)
def test_a_list_holds_what_pyproject_wants(name: str) -> None:
    versions = pinned(name)
    for requirement in map(Requirement, wanted(name)):
        assert requirement.name in versions, f"{requirement} is not locked: scripts/lock"
        assert versions[requirement.name] in requirement.specifier, f"{requirement} is locked otherwise: scripts/lock"


def test_tests_run_with_the_releases_that_the_service_runs_with() -> None:
    assert pinned("runtime.txt").items() <= pinned("test.txt").items()
