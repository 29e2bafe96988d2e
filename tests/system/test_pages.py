"""The commands of docs/operations.md and docs/tour.md, pasted into a shell as they stand, beside a running product."""

import os
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import blocks
from tests.missing import missing
from tests.system.product import COMMAND, Product

MARK = "==== end of a block ===="


def pasted(page: str, product: Product, folder: Path) -> list[str]:
    """What each block prints, in one shell that ends with the first command that fails; only the port is another."""
    for command in ("bash", "curl"):
        if shutil.which(command) is None:
            missing(f"no {command}: apt-get install {command}")
    (folder / "data").symlink_to(product.data)
    script = "set -eo pipefail\n" + "".join(f"{block}\necho '{MARK}'\n" for block in blocks(page, "sh"))
    environ = {"PATH": f"{COMMAND.parent}:{os.environ['PATH']}", "STREAMER_PORT": product.url.rpartition(":")[2]}
    done = subprocess.run(
        ["bash"],
        input=script.replace("http://127.0.0.1:8000", product.url),
        cwd=folder, env=environ, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout.split(f"{MARK}\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operations")


@pytest.fixture(scope="module")
def operated(product: Product, folder: Path) -> list[str]:
    """What the blocks of the operations page print, after somebody has asked something with a key that is to go."""
    create = [str(COMMAND), "keys", "create", "--name", "my site, old", "--data", str(product.data)]
    subprocess.run(create, check=True, capture_output=True, timeout=60)
    visitor = product.visitor()
    product.poll(visitor, product.ask(visitor, "What is kept?"))
    return pasted("operations.md", product, folder)


def test_health_is_told_and_counts_to_an_admin(operated: list[str]) -> None:
    assert re.findall(r"^ok +([a-z]+) ", operated[0], re.MULTILINE) == ["worker", "redis", "queue", "web"]
    assert operated[0].count('"status":"ready"') == 2
    assert operated[0].count('"counts"') == 1


def test_the_doctor_finds_nothing_wrong_with_a_running_service(operated: list[str], folder: Path) -> None:
    verdicts = re.findall(r"^(ok|warning|failed) +([a-z-]+)", operated[1], re.MULTILINE)
    assert [name for verdict, name in verdicts if verdict != "ok"] == []
    assert {"redis", "queue", "workers", "api-key", "port"} <= {name for _, name in verdicts}
    assert '"verdict": "ok"' in (folder / "doctor.json").read_text()


def test_a_backup_has_what_was_said(operated: list[str], folder: Path) -> None:
    with sqlite3.connect(folder / "backup" / "streamer.db") as copy:
        assert copy.execute("SELECT message FROM generation").fetchall() == [("What is kept?",)]
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert (folder / "backup" / "secret").stat().st_mode & 0o777 == 0o600


def test_a_restored_folder_is_one_to_start_from(operated: list[str]) -> None:
    assert "the database is up to date" in operated[3]
    assert re.search(r"^ok +api-key ", operated[3], re.MULTILINE)
    assert operated[3].rstrip().endswith(" 0 failed")


def test_an_old_key_is_revoked(operated: list[str]) -> None:
    assert re.search(r"^key_[0-9a-f]{16} is revoked$", operated[4], re.MULTILINE)


def test_a_new_secret_gives_a_new_key(operated: list[str], folder: Path) -> None:
    assert operated[5].startswith("sk-")
    assert (folder / "restored" / "secret").read_text() != (folder / "backup" / "secret").read_text()


def test_the_tour_can_be_taken(product: Product, tmp_path: Path) -> None:
    polled, streamed, looked, examined, _ = pasted("tour.md", product, tmp_path)
    assert '"status":"done"' in polled
    assert streamed.rstrip().split("\n\n")[-1].splitlines()[1] == "event: done"
    assert "streamer.db" in looked
    assert "('done', " in looked
    assert examined.rstrip().endswith(" 0 failed")
