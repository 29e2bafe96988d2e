"""The wheel: every file of the packages is inside, and it works in a venv and a folder that know nothing of the checkout."""

import os
import re
import signal
import subprocess
import sys
import sysconfig
import threading
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.packaging.fake_machine import ROOT

PACKAGES = ("models", "tasks", "streamer", "static")


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def project_version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


@contextmanager
def service(streamer: Path, folder: Path) -> Iterator[str]:
    """`streamer up` in `folder`, as its address; ended by SIGTERM, and killed should it hang."""
    theirs = ("STREAMER_", "OPENAI_", "ANTHROPIC_", "REDIS_", "DATABASE_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    command = [str(streamer), "up", "--port", "0", "--data", str(folder / "data")]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            addresses = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in process.stdout)
            address = next((found[0] for found in addresses if found), None)
            assert address is not None, (folder / "log").read_text()
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
            watchdog.cancel()
    assert process.returncode == 0, (folder / "log").read_text()


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
    assert tops == {*PACKAGES, f"streamer-{project_version()}.dist-info"}


def test_the_installed_code_is_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    python = installed / "bin" / "python"
    files = run(python, "-c", "import models, streamer; print(models.__file__, streamer.__file__)", folder=tmp_path)
    assert files.count(str(installed)) == 2


def test_the_installed_command_says_its_version(installed: Path, tmp_path: Path) -> None:
    said = run(installed / "bin" / "streamer", "--version", folder=tmp_path)
    assert said == f"streamer {project_version()}\n"


def test_the_installed_service_serves_its_page_and_widget(installed: Path, tmp_path: Path) -> None:
    with service(installed / "bin" / "streamer", tmp_path) as address:
        page, widget = httpx.get(f"{address}/"), httpx.get(f"{address}/static/widget.js")
    assert (page.status_code, widget.status_code) == (200, 200)
    assert "static/page.js" in page.text
