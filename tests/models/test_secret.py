"""The secret: made once for all processes, private, and never shown."""

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models import secret as module
from models.errors import SettingInvalid
from models.secret import Secret, load_secret
from models.settings import Settings

GIVEN = "a secret of the operator's, 32+ characters"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=str(tmp_path / "data"))


def test_a_secret_is_made_on_first_use_and_found_again(settings: Settings) -> None:
    first, second = load_secret(settings), load_secret(settings)

    assert first.derive("x") == second.derive("x")
    assert [each.name for each in settings.data_path.iterdir()] == ["secret"]


def test_a_made_secret_is_private_to_its_owner(settings: Settings) -> None:
    old = os.umask(0)
    try:
        load_secret(settings)
    finally:
        os.umask(old)

    assert (settings.data_path / "secret").stat().st_mode & 0o777 == 0o600
    assert settings.data_path.stat().st_mode & 0o777 == 0o700


def test_each_installation_makes_another_secret(tmp_path: Path) -> None:
    one, other = (load_secret(Settings(data=str(tmp_path / name))) for name in "ab")

    assert one.derive("x") != other.derive("x")


def test_all_who_start_at_once_get_the_same_secret(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def load(folder: Path) -> bytes:
        together.wait()
        return load_secret(Settings(data=str(folder))).derive("x")

    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            folder = tmp_path / str(number)
            assert len(set(pool.map(load, [folder] * 8))) == 1
            assert [each.name for each in folder.iterdir()] == ["secret"]


def test_who_comes_second_in_making_the_file_leaves_the_first_ones(settings: Settings) -> None:
    first = load_secret(settings)
    module._create(settings.data_path / "secret")

    assert load_secret(settings).derive("x") == first.derive("x")
    assert [each.name for each in settings.data_path.iterdir()] == ["secret"]


def test_a_secret_of_the_settings_wins_and_makes_no_file(settings: Settings) -> None:
    given = load_secret(Settings(data=settings.data, secret=GIVEN))

    assert given.derive("x") == Secret(GIVEN).derive("x")
    assert not settings.data_path.exists()


@pytest.mark.parametrize("value", ["x" * 31, "  " + "x" * 30 + "  ", "x" * 40 + "\ny", "x" * 40 + "\udc80", " " * 40])
def test_a_secret_of_the_settings_that_is_too_short_or_no_line_is_refused(settings: Settings, value: str) -> None:
    with pytest.raises(
        SettingInvalid, match=r"^STREAMER_SECRET must hold one line of at least 32 characters"
    ) as caught:
        load_secret(Settings(data=settings.data, secret=value))

    assert "xxx" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 31, b"x" * 40 + b"\xff", b"\0" * 40])
def test_a_file_that_holds_no_secret_is_refused_and_left_as_it_is(settings: Settings, content: bytes) -> None:
    path = settings.data_path / "secret"
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(SettingInvalid, match=r"data/secret") as caught:
        load_secret(settings)

    assert "xxx" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_folder_in_the_files_place_is_refused_in_one_line(settings: Settings) -> None:
    (settings.data_path / "secret").mkdir(parents=True)

    with pytest.raises(
        SettingInvalid, match=r"secret can't be used \(Is a directory\): mend it or set STREAMER_SECRET$"
    ):
        load_secret(settings)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_a_file_that_others_can_read_is_made_private_with_a_warning(
    settings: Settings, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    before = load_secret(settings)
    path = settings.data_path / "secret"
    path.chmod(mode)

    after = load_secret(settings)

    assert after.derive("x") == before.derive("x")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [(record.levelno, "could be read by others" in record.message) for record in caplog.records] == [
        (logging.WARNING, True)
    ]
    assert path.read_text().strip() not in caplog.text


def test_a_file_that_can_not_be_made_private_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    load_secret(settings)
    (settings.data_path / "secret").chmod(0o644)

    def refuse(descriptor: int, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("models.secret.os.fchmod", refuse)
    with pytest.raises(SettingInvalid, match="Operation not permitted"):
        load_secret(settings)


def test_each_purpose_has_a_key_of_its_own() -> None:
    purposes = ["visitor-token", "stream-ticket", "api-key-pepper", "dedupe", "grant"]
    keys = {Secret(GIVEN).derive(purpose) for purpose in purposes}

    assert len(keys) == 5
    assert all(len(key) == 32 for key in keys)


def test_a_derived_key_is_the_same_in_every_version() -> None:
    # Another value would take every API key's validity.
    assert Secret("s" * 32).derive("grant").hex() == "4c232917e88ce3303e038be5f80d61bd611b33e8f48f09931056199c10ce63d3"


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret(GIVEN)

    assert GIVEN not in f"{secret} {secret!r} {[secret]}"
