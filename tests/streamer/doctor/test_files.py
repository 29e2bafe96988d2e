"""What the doctor sees in the data folder."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from peewee import Database

from models.secret import load_secret
from models.settings import Settings
from streamer.doctor import files
from streamer.doctor.check import Verdict
from streamer.first_key import ensure_first_key
from tests.streamer.doctor.finding import found, only


@pytest.fixture
def installed(settings: Settings, database: Database) -> Settings:
    """A data folder with secret, database and first API key."""
    settings.data_path.chmod(0o700)
    with database.connection_context():
        ensure_first_key(settings, load_secret(settings))
    return settings


def test_a_whole_data_folder_is_fine(installed: Settings) -> None:
    for look in (files.data_folder, files.disk_space, files.secret, files.api_key):
        assert only(look, installed).verdict is Verdict.OK


def test_a_folder_that_is_not_there_is_made_later(tmp_path: Path) -> None:
    nowhere = Settings(data=str(tmp_path / "a" / "b"))
    for look in (files.data_folder, files.disk_space, files.secret, files.api_key):
        assert only(look, nowhere).verdict is Verdict.OK
    assert not (tmp_path / "a").exists()


def test_a_file_in_the_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert only(files.data_folder, Settings(data=str(tmp_path / "data"))).found.endswith("is no folder")


def test_what_others_can_read_is_told_and_left(installed: Settings) -> None:
    installed.data_path.chmod(0o755)
    assert "0755" in only(files.data_folder, installed).found
    for name, look in (("secret", files.secret), ("api_key", files.api_key)):
        path = installed.data_path / name
        path.chmod(0o644)
        first, second = look(installed)
        assert (first.verdict, second.verdict) == (Verdict.WARNING, Verdict.OK)
        assert f"chmod 600 {path}" in first.change
        assert path.stat().st_mode & 0o777 == 0o644


class Usage(NamedTuple):
    free: int


@pytest.mark.parametrize(("megabytes", "verdict"), [(99, "failed"), (100, "warning"), (1024, "ok")])
def test_a_disk_that_is_nearly_full_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, megabytes: int, verdict: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(megabytes * files.MB))
    assert only(files.disk_space, settings).verdict == verdict


def test_a_secret_that_is_too_short_is_told_without_it(settings: Settings) -> None:
    finding = only(files.secret, replace(settings, secret="canary"))
    assert finding.found == "STREAMER_SECRET: 6 characters will not do"
    assert "token_urlsafe" in finding.change


def test_a_secret_that_is_no_text_is_told(settings: Settings) -> None:
    (settings.data_path / "secret").write_bytes(b"\xff" * 40)
    assert ("failed", f"{settings.data_path}/secret can't be read") in found(files.secret, settings)


def test_a_lost_secret_is_told_where_keys_were_made_with_it(installed: Settings) -> None:
    (installed.data_path / "secret").unlink()
    assert only(files.secret, installed).verdict is Verdict.FAILED
    assert not (installed.data_path / "secret").exists()
    assert only(files.api_key, installed).verdict is Verdict.WARNING


def test_another_secret_is_told_by_the_key_that_it_does_not_open(installed: Settings) -> None:
    finding = only(files.api_key, replace(installed, secret="x" * 40))
    assert (finding.verdict, "another secret" in finding.found) == (Verdict.FAILED, True)


def test_a_key_that_the_database_does_not_know_is_told(installed: Settings) -> None:
    (installed.data_path / "api_key").write_text("sk-0123456789abcdef-" + "c" * 43)
    assert "holds no key of this database" in only(files.api_key, installed).found
