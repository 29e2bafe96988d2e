"""The Dockerfile: what it is made of exists, what must not be in the image is not, and its commands run."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from streamer.cli import _parser
from tests.packaging.dockerfile import Stage, command_in, is_sent, stages
from tests.packaging.fake_machine import ROOT
from tests.system.product import COMMAND, eventually

BUILD, IMAGE = stages()


def closure(requirements: list[str]) -> set[str]:
    """All packages that these need, by their normalised names."""
    found: set[str] = set()
    todo = list(requirements)
    while todo:
        each = Requirement(todo.pop())
        name = canonicalize_name(each.name)
        if name not in found:
            found.add(name)
            needed = [Requirement(line) for line in metadata.requires(name) or []]
            extras = ["", *each.extras]
            todo += [
                str(need)
                for need in needed
                if not need.marker or any(need.marker.evaluate({"extra": extra}) for extra in extras)
            ]
    return found


def sources(stage: Stage) -> list[str]:
    """What COPY takes from the project."""
    lines = [rest.split() for rest in stage.all("COPY")]
    return [word for words in lines if not words[0].startswith("--from=") for word in words[:-1]]


@pytest.mark.parametrize("stage", [BUILD, IMAGE], ids=["build", "image"])
def test_the_base_is_a_slim_python_by_a_tag_that_stays_what_it_is(stage: Stage) -> None:
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+( AS build)?", stage.base)


def test_what_is_copied_exists_and_is_sent() -> None:
    assert {"models", "tasks", "streamer", "static"} <= set(sources(BUILD))
    for source in sources(BUILD):
        path = ROOT / source
        assert path.exists(), source
        for file in [path] if path.is_file() else path.rglob("*.py"):
            assert is_sent(str(file.relative_to(ROOT))), file


@pytest.mark.parametrize(
    "path",
    [
        ".git/config", ".venv/bin/python", "data/secret", "data/api_key", "streamer.toml", ".env", "streamer/.env.local",
        "tests/conftest.py", "docs/security.md", "models/__pycache__/x.pyc", "requirements/test.txt",
        "requirements/redis-server.txt", "notes.txt", "Dockerfile", "key.pem",
    ],
)  # fmt: skip
def test_data_secrets_tests_and_tools_stay_out(path: str) -> None:
    assert not is_sent(path)


def test_the_image_holds_what_was_installed_and_nothing_else_of_the_project() -> None:
    assert IMAGE.all("COPY") == ["--from=build /opt/streamer /opt/streamer"]
    assert not any("pip" in rest or "apt" in rest for rest in IMAGE.all("RUN"))


def test_packages_are_checked_by_their_hashes_and_the_lists_exist() -> None:
    installs = [rest for rest in BUILD.all("RUN") if " install " in rest]
    lists = [name for rest in installs for name in re.findall(r"-r (\S+)", rest)]
    assert lists == ["requirements/runtime.txt"]
    assert all((ROOT / name).exists() for name in lists)
    assert "--require-hashes --only-binary=:all:" in installs[0]
    assert "--no-deps --no-build-isolation ." in installs[1]
    assert BUILD.env["PIP_NO_CACHE_DIR"] == "1"


def test_exactly_what_the_service_does_not_need_is_taken_out_again() -> None:
    (step,) = (rest for rest in BUILD.all("RUN") if "uninstall" in rest)
    removed = set(step.partition("--yes")[2].partition("&&")[0].split())
    listed = re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements" / "runtime.txt").read_text(), re.MULTILINE)
    needed = closure([each for each in metadata.requires("streamer") or [] if "extra ==" not in each])
    # async-timeout is for Python 3.11.2 and older, tzdata for Windows.
    assert removed == set(listed) - needed - {"async-timeout", "tzdata"}
    assert step.rstrip().endswith("check")


def test_the_process_is_nobody_in_particular_and_may_write_one_folder() -> None:
    user, _, group = IMAGE.one("USER").partition(":")
    assert user.isdecimal()
    assert group.isdecimal()
    assert int(user) > 999
    assert IMAGE.one("VOLUME") == IMAGE.env["STREAMER_DATA"] == IMAGE.one("WORKDIR")
    assert f"chown {user}:{group} {IMAGE.one('VOLUME')}" in IMAGE.one("RUN")
    assert (IMAGE.env["PYTHONDONTWRITEBYTECODE"], IMAGE.env["PYTHONUNBUFFERED"]) == ("1", "1")


def test_it_stops_as_the_service_expects() -> None:
    assert IMAGE.one("STOPSIGNAL") == "SIGTERM"
    assert command_in(IMAGE.one("ENTRYPOINT")) == ["streamer"]  # no shell between: it gets the signal itself


def test_its_command_is_one_that_parses() -> None:
    assert _parser().parse_args(command_in(IMAGE.one("CMD"))).host == "0.0.0.0"


def test_it_names_no_server_and_no_secret() -> None:
    text = (ROOT / "Dockerfile").read_text() + (ROOT / ".dockerignore").read_text()
    assert re.findall(r"\w+://(?!127\.0\.0\.1)", text) == []
    assert not any(re.search(r"KEY|SECRET|TOKEN|PASSWORD|_URL", name) for name in {**BUILD.env, **IMAGE.env})


# --- as it runs -----------------------------------------------------------------------------------------------------


@contextmanager
def process(*arguments: str, environ: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the image's, ended by its stop signal; its exit code is 0."""
    log = folder / f"{arguments[0]}.log"
    with log.open("wb") as out:
        running = subprocess.Popen([str(COMMAND), *arguments], env=environ, cwd=folder, stdout=out, stderr=out)
    try:
        yield running
    finally:
        running.terminate()
        assert running.wait(30) == 0, log.read_text()


def is_well(environ: dict[str, str], pid: int) -> bool:
    """What the health check says, if this process were the container's first."""
    _streamer, *words = command_in(IMAGE.one("HEALTHCHECK"))
    command = [str(COMMAND), *words, "--pid", str(pid)]
    return subprocess.run(command, env=environ, capture_output=True, timeout=30).returncode == 0


def test_serve_and_worker_run_by_the_images_commands_and_the_health_check_tells(tmp_path: Path, redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environ = {"PATH": os.environ["PATH"], "REDIS_URL": redis_url, "STREAMER_PORT": str(port)}
    environ |= IMAGE.env | {"PATH": os.environ["PATH"], "STREAMER_DATA": str(tmp_path)}
    environ["HTTP_PROXY"] = environ["http_proxy"] = "http://127.0.0.1:1"  # a container's proxy is not asked
    migrated = subprocess.run([str(COMMAND), "migrate"], env=environ, cwd=tmp_path, capture_output=True, timeout=60)
    assert migrated.returncode == 0, migrated.stderr
    with process("worker", environ=environ, folder=tmp_path) as worker:
        with process(*command_in(IMAGE.one("CMD")), environ=environ, folder=tmp_path) as web:
            eventually(lambda: is_well(environ, web.pid))
            eventually(lambda: is_well(environ, worker.pid))
            web.send_signal(signal.SIGSTOP)
            assert not is_well(environ, web.pid)
            web.send_signal(signal.SIGCONT)
        assert is_well(environ, worker.pid)
        assert not is_well(environ, os.getpid())
