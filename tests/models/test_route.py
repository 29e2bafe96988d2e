"""Routes: found in one of three places, or refused with the file and the key that are wrong."""

import re
from pathlib import Path

import pytest

from models.errors import SettingInvalid
from models.route import Route
from models.route_file import RoutesInvalid, load_routes
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


NOT_TOML = {
    "an open bracket": (b"[routes.chat\n", ":1: not valid TOML: Expected ']'"),
    "a key given twice": (b'[routes.chat]\nmodel = "a:b"\nmodel = "a:c"\n', ":3: not valid TOML: Cannot overwrite"),
    "a string without end": (b'[routes.chat]\nsystem = """\nBe\nkind.\n', ":4: not valid TOML: "),
    "another encoding": ('[routes.chat]\nmodel = "a:b"\nsystem = "für"'.encode("latin-1"), ":3: .* must be UTF-8"),
}


@pytest.mark.parametrize(("data", "message"), NOT_TOML.values(), ids=NOT_TOML)
def test_what_is_no_toml_is_told_with_file_and_line(file: Path, settings: Settings, data: bytes, message: str) -> None:
    file.write_bytes(data)

    assert re.match(file.name + message, refusal(settings))


def test_a_byte_order_mark_is_no_mistake(file: Path, settings: Settings) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())

    assert "support" in load_routes(settings)


MODEL = "[routes.support]\nmodel = 'a:b'\n"
WRONG = {
    "an unknown table": ("[route.chat]\nmodel = 'a:b'", "1: route: unknown key; did you mean routes?"),
    "routes that are no table": ("\nroutes = 3", "2: routes: must hold tables [routes.NAME], not 3"),
    "a list of routes": ("[[routes]]\nmodel = 'a:b'", "1: routes: must hold tables [routes.NAME], not a list"),
    "a route that is no table": (
        "[routes]\nchat = 'a:b'",
        '2: routes.chat: must be a table [routes.chat], not "a:b"',
    ),
    "a route without a model": ("\n[routes.support]\nsystem = 'x'", "2: routes.support.model: is missing"),
    "an unknown key": (
        MODEL + "temprature = 1",
        "3: routes.support.temprature: unknown key; did you mean temperature?",
    ),
    "a key like none": (MODEL + "colour = 1", "3: routes.support.colour: unknown key"),
    "a model of another type": ("[routes.support]\nmodel = 7", "2: routes.support.model: must be text, "),
    "a model without a provider": (
        "[routes.support]\nmodel = 'gpt'",
        '2: routes.support.model: must be provider:model, such as openai:gpt-4o-mini, not "gpt"',
    ),
    "a model with an empty provider": ("[routes.support]\nmodel = ':gpt'", "2: routes.support.model: must be provider"),
    "a provider without a model": ("[routes.support]\nmodel = 'openai:'", "2: routes.support.model: must be provider"),
    "a text for a number": (
        MODEL + "max_calls = '3'",
        '3: routes.support.max_calls: must be a whole number from 1 to 1000000000, not "3"',
    ),
    "no calls at all": (MODEL + "max_calls = 0", "3: routes.support.max_calls: must be a whole number from 1 to"),
    "a yes for a number": (MODEL + "max_calls = true", "3: routes.support.max_calls: must be a whole number"),
    "a negative crash cap": (MODEL + "max_crashes = -1", "3: routes.support.max_crashes: must be"),
    "no output": (MODEL + "max_output_tokens = 0", "3: routes.support.max_output_tokens: must be"),
    "no time": (MODEL + "deadline_seconds = 0", "3: routes.support.deadline_seconds: must be a number from 1 to"),
    "a time without end": (MODEL + "deadline_seconds = inf", "3: routes.support.deadline_seconds: must be"),
    "a time that is none": (MODEL + "deadline_seconds = nan", "3: routes.support.deadline_seconds: must be"),
    "a negative temperature": (
        MODEL + "temperature = -1",
        "3: routes.support.temperature: must be a number from 0 to 2",
    ),
    "too hot": (MODEL + "temperature = 2.5", "3: routes.support.temperature: must be a number from 0 to 2, not 2.5"),
    "an unknown policy": (
        MODEL + "on_worker_lost = 'retry'",
        '3: routes.support.on_worker_lost: must be "restart" or "keep_partial", not "retry"',
    ),
    "a name with blanks": (
        "[routes.'my route']\nmodel = 'a:b'",
        '1: routes."my route": a route\'s name has up to 64 letters',
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_told_with_its_line_and_key(file: Path, settings: Settings, text: str, message: str) -> None:
    found = refusal_of(file, text, settings)

    assert found.startswith(f"{file.name}:{message}"), found


def test_all_mistakes_are_found_at_once_in_the_order_of_their_lines(file: Path, settings: Settings) -> None:
    file.write_text("[routes.b]\nmodle = 'a:b'\n\n[routes.a]\nmodel = 'x'\nmax_calls = 0\n\n[more]\n")

    with pytest.raises(RoutesInvalid) as caught:
        load_routes(settings)

    assert [line.split(": ")[:2] for line in caught.value.lines] == [
        ["streamer.toml:1", "routes.b.model"],
        ["streamer.toml:2", "routes.b.modle"],
        ["streamer.toml:5", "routes.a.model"],
        ["streamer.toml:6", "routes.a.max_calls"],
        ["streamer.toml:8", "more"],
    ]
    assert caught.value.message == caught.value.lines[0] + " (4 more: `streamer routes check` tells all)"


def test_what_is_left_out_comes_from_the_settings(settings: Settings) -> None:
    found = Route(model="demo:echo", max_calls=2, cache_seconds=0).effective(settings)

    assert (found["max_calls"], found["max_crashes"], found["cache_seconds"]) == (2, settings.max_crashes, 0)
    assert (found["max_requests"], found["request_window_seconds"]) == (30, 300)
    assert found["temperature"] is None


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


def test_a_route_allows_its_own_model_and_those_that_it_lists() -> None:
    assert Route(model="demo:echo").allowed("demo:echo") == "demo:echo"
    assert Route(model="demo:echo").allowed("demo:short") is None
    assert Route(model="demo:echo", models=("demo:short",)).allowed("demo:short") == "demo:short"


def test_a_route_may_have_names_of_its_own_for_models() -> None:
    route = Route(model="demo:echo", models={"fast": "demo:short"})

    assert route.allowed("fast") == "demo:short"
    assert route.allowed("demo:echo") == "demo:echo"
    assert route.allowed("demo:short") is None


@pytest.mark.parametrize("models", ['["demo:short"]', '{ fast = "demo:short" }'])
def test_models_are_a_list_or_a_table(settings: Settings, file: Path, models: str) -> None:
    file.write_text(f'[routes.chat]\nmodel = "demo:echo"\nmodels = {models}\n')

    assert load_routes(settings)["chat"].models in (("demo:short",), {"fast": "demo:short"})


def test_models_that_are_neither_are_refused(settings: Settings, file: Path) -> None:
    file.write_text('[routes.chat]\nmodel = "demo:echo"\nmodels = "demo:short"\n')

    assert "must be a list of texts" in refusal(settings)


def test_where_a_route_does_not_say_a_broken_answer_is_kept(settings: Settings) -> None:
    assert Route(model="demo:echo").effective(settings)["on_provider_broken"] == "keep_partial"


@pytest.mark.parametrize(
    ("fallbacks", "message"),
    [
        ('"demo:short"', 'must be a list of texts, such as ["…"], not "demo:short"'),
        ("[1]", 'must be a list of texts, such as ["…"], not a list'),
        ('["demo"]', 'must be provider:model, such as openai:gpt-4o-mini, not "demo"'),
        ('["demo:echo"]', "names demo:echo twice: a fallback is another model than those before it"),
        ('["a:b", "a:b"]', "names a:b twice: a fallback is another model than those before it"),
        (str([f"a:{n}" for n in range(9)]), "must be 8 models at most: each is one more wait for the visitor"),
    ],
)
def test_fallbacks_that_will_not_do_are_told(file: Path, settings: Settings, fallbacks: str, message: str) -> None:
    told = refusal_of(file, f'[routes.a]\nmodel = "demo:echo"\nfallbacks = {fallbacks}', settings)

    assert told == f"streamer.toml:3: routes.a.fallbacks: {message}"


def test_fallbacks_follow_the_model_that_is_asked_in_their_order(file: Path, settings: Settings) -> None:
    file.write_text('[routes.a]\nmodel = "openai:gpt"\nfallbacks = ["openai:mini", "near:llama:8b"]')
    route = load_routes(settings)["a"]

    assert route.fallbacks_of("openai", "gpt") == [("openai", "mini"), ("near", "llama:8b")]
    assert route.fallbacks_of("openai", "mini") == [("near", "llama:8b")]
    assert route.first_choice("near", "llama:8b") == ("openai", "gpt")
    assert route.first_choice("of", "yesterday") == ("of", "yesterday")
