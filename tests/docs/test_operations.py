"""Commands and configurations in docs/operations.md and docs/tour.md are ones that are taken. tests/system runs what can be run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from redis.connection import parse_url

from streamer.cli import _parser
from tests.docs.pages import DOCS, blocks, commands
from tests.missing import missing
from tests.packaging.dockerfile import stages

PAGES = ("operations.md", "tour.md")


def test_every_command_parses() -> None:
    found = [words for page in PAGES for words in commands(page)]
    assert len(found) > 10
    for words in found:
        line = re.sub(r'"[^"]*"', "x", " ".join(words)).split(">")[0].split()
        _parser().parse_args(line)


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        missing("no systemd-analyze")
    (unit,) = blocks("operations.md", "ini")
    # What it names must be there; here that is this installation.
    unit = unit.replace("/srv/streamer/.venv/bin/streamer", str(Path(sys.executable).with_name("streamer")))
    file = tmp_path / "streamer.service"
    file.write_text(unit.replace("/srv/streamer", str(tmp_path)))
    done = subprocess.run([analyze, "verify", str(file)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_waits_for_longer_than_a_stop_takes() -> None:
    (unit,) = blocks("operations.md", "ini")
    found = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert found is not None
    assert int(found[1]) > 15


def test_containers_are_given_what_the_image_expects() -> None:
    (text,) = (each for each in blocks("operations.md", "console") if "docker run" in each)
    image = stages()[-1]
    runs = [line for line in text.splitlines() if "docker run" in line]
    assert all(f":{image.one('VOLUME')}" in line for line in runs)
    (worker,) = (line for line in runs if line.endswith("streamer worker"))
    assert not any("--no-healthcheck" in line for line in runs)  # the image's own fits both
    found = re.search(r"--stop-timeout (\d+)", worker)
    assert found is not None
    assert int(found[1]) > 63  # the drain, and what a worker that hangs gets beyond it
    (web,) = (line for line in runs if line.endswith("streamer"))
    assert f":{image.one('EXPOSE')} " in web


def test_the_probes_are_commands_that_parse() -> None:
    (probes,) = blocks("operations.md", "yaml")
    found = re.findall(r"command: \[streamer, ([^]]+)\]", probes)
    assert len(found) == 3
    for words in found:
        assert _parser().parse_args(words.split(", ")).role == "worker"


def test_the_addresses_of_a_redis_elsewhere_are_ones_that_are_taken() -> None:
    urls = re.findall(r"='(rediss://.+)'", (DOCS / "operations.md").read_text())
    assert len(urls) == 2
    for url in urls:
        parts = parse_url(url)  # type: ignore[no-untyped-call]
        assert (parts["ssl_ca_certs"], "%" in parts["password"]) == ("/etc/streamer/redis-ca.pem", False)


@pytest.mark.parametrize("word", ["proxy_buffering off", "proxy_http_version 1.1", "$uri"])
def test_the_proxy_streams_and_logs_no_query(word: str) -> None:
    (server,) = blocks("operations.md", "nginx")
    assert word in server
    assert "$request " not in server
