"""What a route must keep beside its keys' types."""

from collections.abc import Callable
from pathlib import Path

import pytest

from models.route_file import RoutesInvalid
from models.settings import Settings
from tasks import tokenizer
from tasks.route_checks import MESSAGE_TOKENS, load_checked_routes

WORDS = "one two three four five six seven eight nine ten "

Refusals = Callable[[str], list[str]]


@pytest.fixture
def refusals(tmp_path: Path, settings: Settings) -> Refusals:
    """The mistakes of a file with this text, without the file's name."""
    path = settings.data_path / "streamer.toml"

    def found(text: str) -> list[str]:
        path.write_text(text)
        try:
            load_checked_routes(settings)
        except RoutesInvalid as error:
            return [line.removeprefix(f"{path}:") for line in error.lines]
        return []

    return found


def test_a_provider_that_is_none_is_told_with_the_one_that_may_be_meant(refusals: Refusals) -> None:
    near, far = refusals('[routes.a]\nmodel = "opnai:gpt-4o"\n[routes.b]\nmodel = "zzz:x"')
    assert near == '2: routes.a.model: there is no provider "opnai"; did you mean openai:?'
    assert far.startswith('4: routes.b.model: there is no provider "zzz"; a model begins with anthropic: or demo: or ')


def test_a_provider_of_the_file_is_one(refusals: Refusals) -> None:
    table = '[providers.near]\nkind = "anthropic"\nbase_url = "http://localhost:1"\nallow_private = true\n'
    assert refusals(table + '[routes.a]\nmodel = "near:x"\ntemperature = 1') == []
    assert refusals(table + '[routes.a]\nmodel = "near:x"\ntemperature = 1.5') == [
        "7: routes.a.temperature: must be 1 at most with near, not 1.5"
    ]


def test_a_prompt_must_leave_room_for_a_message(refusals: Refusals) -> None:
    prompt = WORDS * 10
    tokens = tokenizer.count(prompt, "echo")
    route = f'[routes.a]\nmodel = "demo:echo"\nsystem = "{prompt}"\nmax_input_tokens = '

    assert refusals(route + str(tokens + MESSAGE_TOKENS)) == []
    (told,) = refusals(route + str(tokens + MESSAGE_TOKENS - 1))
    assert told.startswith(f"3: routes.a.system: the prompt has {tokens} tokens, and 64 must be left for a message: ")
    assert told.endswith(f"raise max_input_tokens, which is {tokens + MESSAGE_TOKENS - 1}")


def test_the_safety_text_counts_too_and_the_settings_limit_is_named_by_its_variable(refusals: Refusals) -> None:
    (told,) = refusals(f'[routes.a]\nmodel = "demo:echo"\nsafety = "{WORDS * 2000}"')

    assert told.startswith("3: routes.a.safety: the prompt has ")
    assert told.endswith("raise STREAMER_MAX_INPUT_TOKENS, which is 16000")


def test_tokens_are_not_counted_where_the_bytes_already_fit(
    refusals: Refusals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "count", lambda *_: pytest.fail("counted"))

    assert refusals(f'[routes.a]\nmodel = "demo:echo"\nsystem = "{WORDS * 100}"') == []


def test_mistakes_of_both_kinds_are_told_at_once(refusals: Refusals) -> None:
    told = refusals('[routes.a]\nmodel = "zzz:x"\n[routes.b]\nmodle = "demo:echo"\nmodel = "demo:echo"')

    assert [line.split(": ")[:2] for line in told] == [["2", "routes.a.model"], ["4", "routes.b.modle"]]


def test_each_model_that_a_server_may_ask_for_has_a_provider(refusals: Refusals) -> None:
    route = '[routes.a]\nmodel = "demo:echo"\nmodels = '

    assert refusals(route + '["demo:short"]') == refusals(route + '{ fast = "demo:short" }') == []
    for wrong in ('["demo:short", "zzz:x"]', '{ fast = "zzz:x" }', '["demo"]'):
        (told,) = refusals(route + wrong)
        assert told.startswith("3: routes.a.models: each must be provider:model, which begins with ")


def test_each_fallback_has_a_provider_that_takes_what_the_route_says(refusals: Refusals) -> None:
    route = '[routes.a]\nmodel = "demo:echo"\ntemperature = 1.5\nfallbacks = '

    assert refusals(route + '["demo:short", "openai:gpt-4o-mini"]') == []
    assert refusals(route + '["demo:short", "opnai:x"]') == [
        '4: routes.a.fallbacks: there is no provider "opnai"; did you mean openai:?'
    ]
    assert refusals(route + '["anthropic:claude"]') == [
        "3: routes.a.temperature: must be 1 at most with anthropic, not 1.5"
    ]


def test_there_is_one_local_model(refusals: Refusals) -> None:
    assert refusals('[routes.a]\nmodel = "local:smollm2"') == []
    assert refusals('[routes.a]\nmodel = "demo:echo"\nfallbacks = ["local:llama"]') == [
        "3: routes.a.fallbacks: there is one local model: write local:smollm2"
    ]


def test_a_prompt_that_leaves_the_local_model_no_room_names_the_route_s_own_key(refusals: Refusals) -> None:
    (told,) = refusals(f'[routes.a]\nmodel = "local:smollm2"\nsystem = "{WORDS * 300}"')
    assert told.endswith("shorten it or raise max_input_tokens, which is 1024")
