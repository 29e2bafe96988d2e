"""Routes: found in one of three places, or refused with the file and the key that are wrong."""

import re
from pathlib import Path

import pytest

from models.errors import SettingInvalid
from models.route import Route, load_routes
from models.settings import Settings

GOOD = """
[routes.chat]
model = "demo:short"

[routes.support]
model = "openai:gpt-4o-mini"
system = "Du bist freundlich – immer."
max_output_tokens = 500
temperature = 0
deadline_seconds = 60
max_calls = 2
max_crashes = 1
on_worker_lost = "keep_partial"
on_provider_broken = "restart"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where streamer.toml is looked for: a working folder without any."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder / "streamer.toml"


def refusal(settings: Settings) -> str:
    with pytest.raises(SettingInvalid) as caught:
        load_routes(settings)
    return caught.value.message


def refusal_of(file: Path, text: str, settings: Settings) -> str:
    file.write_text(text)
    return refusal(settings)


def test_without_a_file_there_is_the_built_in_route(file: Path, settings: Settings) -> None:
    assert load_routes(settings) == {"chat": Route(model="demo:echo")}


def test_a_good_file_is_read_with_every_key(file: Path, settings: Settings) -> None:
    file.write_text(GOOD)

    assert load_routes(settings) == {
        "chat": Route(model="demo:short"),
        "support": Route(
            model="openai:gpt-4o-mini",
            system="Du bist freundlich – immer.",
            max_output_tokens=500,
            temperature=0.0,
            deadline_seconds=60.0,
            max_calls=2,
            max_crashes=1,
            on_worker_lost="keep_partial",
            on_provider_broken="restart",
        ),
    }


def test_the_built_in_route_stays_beside_others(file: Path, settings: Settings) -> None:
    file.write_text('[routes.support]\nmodel = "demo:long"')

    assert sorted(load_routes(settings)) == ["chat", "support"]


def test_a_file_without_routes_changes_nothing(file: Path, settings: Settings) -> None:
    file.write_text("# nothing yet\n")

    assert load_routes(settings) == {"chat": Route(model="demo:echo")}


def test_the_named_file_goes_before_the_working_folders_and_that_before_the_data_folders(
    file: Path, settings: Settings, tmp_path: Path
) -> None:
    named = tmp_path / "named.toml"
    places = [settings.data_path / "streamer.toml", file, named]

    found = []
    for number, place in enumerate(places):
        place.write_text(f'[routes.chat]\nmodel = "demo:{number}"')
        if place is named:
            settings = Settings(data=settings.data, routes_file=str(named))
        found.append(load_routes(settings)["chat"].model)

    assert found == ["demo:0", "demo:1", "demo:2"]


@pytest.fixture
def latin_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text files are read as Latin-1, as they are in such a locale."""
    read_text = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, *_: read_text(path, "latin-1"))


@pytest.mark.usefixtures("latin_locale")
def test_the_file_is_utf_8_in_every_locale(file: Path, settings: Settings) -> None:
    file.write_bytes(GOOD.encode())

    assert load_routes(settings)["support"].system == "Du bist freundlich – immer."


def test_a_named_file_that_is_missing_is_told(settings: Settings, tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"

    message = refusal(Settings(data=settings.data, routes_file=str(missing)))

    assert message == f"{missing} can't be read: No such file or directory"


def test_a_folder_in_the_files_place_is_told(settings: Settings, tmp_path: Path) -> None:
    assert f"{tmp_path} can't be read" in refusal(Settings(data=settings.data, routes_file=str(tmp_path)))


@pytest.mark.parametrize("data", [b"[routes.chat\n", b'[routes.chat]\nmodel = "a:b"\nmodel = "a:c"\n', b"\xff\xfe"])
def test_what_is_no_toml_is_told_with_the_file(file: Path, settings: Settings, data: bytes) -> None:
    file.write_bytes(data)

    assert refusal(settings).startswith(f"{file.name} is not valid TOML: ")


WRONG = {
    "an unknown table": ("[route.chat]\nmodel = 'a:b'", "top level: .*`route`"),
    "routes that are no table": ("routes = 3", "routes: Expected `object`, got `int`"),
    "a route that is no table": ("[routes]\nchat = 'a:b'", "routes.chat: Expected `object`, got `str`"),
    "a route without a model": ("[routes.support]\nsystem = 'x'", "routes.support: .*missing required field `model`"),
    "an unknown key": ("[routes.support]\nmodel = 'a:b'\nmodle = 'x'", "routes.support: .*unknown field `modle`"),
    "a model of another type": ("[routes.support]\nmodel = 7", "routes.support.model: Expected `str`, got `int`"),
    "a model without a provider": ("[routes.support]\nmodel = 'gpt'", "routes.support.model must be provider:model"),
    "a model with an empty provider": ("[routes.support]\nmodel = ':gpt'", "routes.support.model must be"),
    "a provider without a model": ("[routes.support]\nmodel = 'openai:'", "routes.support.model must be"),
    "a text for a number": (
        "[routes.support]\nmodel = 'a:b'\nmax_calls = '3'",
        "routes.support.max_calls: Expected `int",
    ),
    "no calls at all": ("[routes.support]\nmodel = 'a:b'\nmax_calls = 0", "routes.support.max_calls: .*>= 1"),
    "a negative crash cap": ("[routes.support]\nmodel = 'a:b'\nmax_crashes = -1", "routes.support.max_crashes: .*>= 1"),
    "no output": ("[routes.support]\nmodel = 'a:b'\nmax_output_tokens = 0", "routes.support.max_output_tokens: .*>= 1"),
    "no time": ("[routes.support]\nmodel = 'a:b'\ndeadline_seconds = 0", "routes.support.deadline_seconds: .*>= 1"),
    "a time without end": (
        "[routes.support]\nmodel = 'a:b'\ndeadline_seconds = inf",
        "routes.support.deadline_seconds",
    ),
    "a negative temperature": (
        "[routes.support]\nmodel = 'a:b'\ntemperature = -1",
        "routes.support.temperature: .*>= 0",
    ),
    "an unknown policy": (
        "[routes.support]\nmodel = 'a:b'\non_worker_lost = 'retry'",
        "routes.support.on_worker_lost: Invalid enum value 'retry'",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_key_is_told_with_its_file_and_route(file: Path, settings: Settings, text: str, message: str) -> None:
    found = refusal_of(file, text, settings)

    assert re.match(f"{file.name}: {message}", found), found


def test_a_wrong_model_in_the_environment_is_told_by_its_variable(file: Path, settings: Settings) -> None:
    file.write_text('[routes.support]\nmodel = "demo:echo"')

    message = refusal(Settings(data=settings.data, model="gpt-4o-mini"))

    assert message.startswith("STREAMER_MODEL must be provider:model")


def test_a_model_may_hold_colons() -> None:
    assert Route(model="ollama:llama3:8b").provider_and_model == ("ollama", "llama3:8b")


def test_any_change_is_a_new_version() -> None:
    base = Route(model="demo:echo")
    others = [
        Route(model="demo:short"),
        Route(model="demo:echo", system="x"),
        Route(model="demo:echo", temperature=0.5),
        Route(model="demo:echo", max_calls=1),
        Route(model="demo:echo", on_provider_broken="restart"),
    ]

    assert base.version == Route(model="demo:echo").version
    assert len({base.version, *(each.version for each in others)}) == 1 + len(others)
