"""The wheel: every file of the packages is inside, and it works in a venv and a folder that know nothing of the checkout."""

import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.packaging.fake_machine import ROOT

PACKAGES = ("models", "tasks", "streamer", "static")


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", folder, ROOT, folder=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a venv with the wheel in it; its dependencies are those of the venv that runs the tests."""
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, symlinks=True)
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python")
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, folder=folder)
    packages = sysconfig.get_path("purelib", vars={"base": str(folder)})
    # Only the folder itself gets on the path: its .pth files, the editable install's among them, are not read.
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    assert ours - inside == set()


@pytest.mark.parametrize(
    "pattern", ["static/*", "tasks/ranks/*", "models/migrations/*.py", "models/append.lua", "models/event.py"]
)
def test_what_the_service_reads_at_run_time_is_in_the_wheel(wheel: Path, pattern: str) -> None:
    assert [name for name in zipfile.ZipFile(wheel).namelist() if Path(name).match(pattern)]


def test_nothing_else_is_in_the_wheel(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert tops == {*PACKAGES, f"streamer-{version}.dist-info"}


def test_the_installed_code_is_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    python = installed / "bin" / "python"
    files = run(python, "-c", "import models, streamer; print(models.__file__, streamer.__file__)", folder=tmp_path)
    assert files.count(str(installed)) == 2
