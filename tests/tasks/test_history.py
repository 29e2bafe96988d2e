"""What the model is told: the prompt, the newest turns that fit, whole ones only, and the new message."""

from dataclasses import replace
from typing import Any

import pytest
import tiktoken

from models.admission import admit
from models.generation import Generation, Status
from models.route import Route
from models.settings import Settings
from models.turn import MAX_TURNS, Turn, turns_before
from tasks import tokenizer
from tasks.history import MARKERS, Told, fits, max_input_tokens, surely_fits, takes_no_time, tell
from tests.models.rows import ROUTE, changed, other_tenant, request

pytestmark = pytest.mark.usefixtures("database")

MODEL = "gpt-4o-mini"
PLENTY = 100_000


def turn(settings: Settings, message: str, answer: str = "", status: Status = Status.DONE, **more: Any) -> Generation:
    """A turn of the conversation that has ended."""
    row = admit(request(message, conversation="talk", **more), settings).generation
    return changed(row, status=status, text=answer)


def told(row: Generation, route: Route = ROUTE, limit: int = PLENTY) -> Told:
    return tell(row, route, turns_before(row, limit * tokenizer.MAX_TOKEN_BYTES), limit)


def said(found: Told) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in found.request.messages]


def tokens(found: Told) -> int:
    """What tiktoken itself counts."""
    encoding: tiktoken.Encoding = tokenizer.encoder(MODEL)
    return sum(len(encoding.encode_ordinary(message.content)) for message in found.request.messages)


def test_a_first_message_is_told_alone(settings: Settings) -> None:
    found = told(turn(settings, "hello there"))

    assert said(found) == [("user", "hello there")]
    assert found.sent == (0, 0, 2)


def test_the_routes_prompt_comes_first_and_its_limits_go_along(settings: Settings) -> None:
    route = Route(model="openai:gpt-4o:latest", system="Be kind.", max_output_tokens=50, temperature=0.0)

    request = told(turn(settings, "hello", route=route), route).request

    assert [(message.role, message.content) for message in request.messages] == [
        ("system", "Be kind."),
        ("user", "hello"),
    ]
    assert (request.model, request.max_output_tokens, request.temperature) == ("gpt-4o:latest", 50, 0.0)


@pytest.mark.parametrize(
    ("system", "safety", "prompt"),
    [
        ("Be kind.", "Say no ill.", [("system", "Be kind.\n\nSay no ill.")]),
        ("", "Say no ill.", [("system", "Say no ill.")]),
        ("Be kind.", "", [("system", "Be kind.")]),
        ("", "", []),
    ],
)
def test_the_safety_text_is_the_last_paragraph_of_the_prompt(
    settings: Settings, system: str, safety: str, prompt: list[tuple[str, str]]
) -> None:
    route = Route(model=ROUTE.model, system=system, safety=safety)

    assert said(told(turn(settings, "hello"), route)) == [*prompt, ("user", "hello")]


def test_a_route_that_names_another_model_by_now_does_not_change_who_is_asked(settings: Settings) -> None:
    row = turn(settings, "hello", route=Route(model="openai:gpt-4o-mini"))

    request = told(row, Route(model="demo:echo", system="Be kind.")).request

    assert (request.model, request.messages[0].content) == ("gpt-4o-mini", "Be kind.")


def test_turns_are_told_oldest_first_with_their_answers(settings: Settings) -> None:
    turn(settings, "one", "first")
    turn(settings, "two", "second")

    found = told(turn(settings, "three"))

    assert said(found) == [
        ("user", "one"),
        ("assistant", "first"),
        ("user", "two"),
        ("assistant", "second"),
        ("user", "three"),
    ]
    assert found.sent == (2, 0, tokens(found))


def test_a_failed_turn_drops_with_its_question_and_what_came_before_stays(settings: Settings) -> None:
    turn(settings, "one", "first")
    turn(settings, "broken", "half of it", Status.ERROR)
    turn(settings, "silent", "")

    found = told(turn(settings, "two"))

    assert said(found) == [("user", "one"), ("assistant", "first"), ("user", "two")]
    assert (found.sent.turns, found.sent.dropped) == (1, 0)


@pytest.mark.parametrize("status", [Status.INCOMPLETE, Status.CANCELLED])
@pytest.mark.parametrize(("text", "before"), [("half", "half\n\n"), ("", "")])
def test_what_was_broken_off_is_told_as_far_as_it_came_and_marked(
    settings: Settings, status: Status, text: str, before: str
) -> None:
    turn(settings, "one", text, status)

    found = told(turn(settings, "two"))

    assert said(found) == [("user", "one"), ("assistant", before + MARKERS[status]), ("user", "two")]
    assert found.sent == (1, 0, tokens(found))


def test_markers_are_short_notes_in_brackets() -> None:
    for marker in MARKERS.values():
        assert marker.startswith("[")
        assert marker.endswith(".]")
        assert tokenizer.count(marker, MODEL) < 12


def test_other_visitors_conversations_of_that_name_are_not_told(settings: Settings) -> None:
    turn(settings, "secret", "of another", visitor="another")
    turn(settings, "secret", "of a tenant", tenant=other_tenant())

    assert said(told(turn(settings, "hello"))) == [("user", "hello")]


def test_not_even_a_parent_of_another_conversation_is_told(settings: Settings) -> None:
    strange = turn(settings, "secret", "of another", visitor="another")
    row = changed(turn(settings, "hello"), parent=strange.id)

    assert said(told(row)) == [("user", "hello")]


def test_a_parent_that_is_gone_ends_the_way_back(settings: Settings) -> None:
    first = turn(settings, "one", "first")
    second = turn(settings, "two", "second")
    third = turn(settings, "three")
    Generation.delete().where(Generation.id == first.id).execute()

    assert second.parent == first.id
    assert said(told(third)) == [("user", "two"), ("assistant", "second"), ("user", "three")]


def test_a_new_turn_is_told_what_led_to_it_and_not_what_came_after(settings: Settings) -> None:
    first = turn(settings, "one", "first")
    turn(settings, "two", "second")
    edited = changed(turn(settings, "two, but better"), parent=first.id)

    assert said(told(edited)) == [("user", "one"), ("assistant", "first"), ("user", "two, but better")]


# The budget


def test_the_way_back_ends_at_the_first_turn_that_does_not_fit(settings: Settings) -> None:
    turn(settings, "small", "turn")
    turn(settings, "a question that is", "longer " * 20)
    turn(settings, "two", "second")
    row = turn(settings, "now")

    found = told(row, limit=20)

    assert said(found) == [("user", "two"), ("assistant", "second"), ("user", "now")]
    assert found.sent == (1, 2, tokens(found))


def test_a_turn_that_fits_to_the_token_goes_along_and_one_token_less_leaves_all_of_it(settings: Settings) -> None:
    turn(settings, "one", "first")
    turn(settings, "two", "second " * 9)
    row = turn(settings, "now")
    whole = told(row)

    assert told(row, limit=whole.sent.tokens) == whole
    less = told(row, limit=whole.sent.tokens - 1)
    assert (less.sent.turns, less.sent.dropped) == (1, 1)
    assert said(less) == said(whole)[2:]


def test_the_marker_counts(settings: Settings) -> None:
    turn(settings, "one", "first", Status.CANCELLED)
    row = turn(settings, "now")
    whole = told(row)

    assert told(row, limit=whole.sent.tokens).sent.turns == 1
    assert told(row, limit=whole.sent.tokens - 1).sent.turns == 0


def test_the_prompt_and_the_new_message_go_along_however_small_the_budget(settings: Settings) -> None:
    route = Route(model=ROUTE.model, system="Be kind.")
    turn(settings, "one", "first")

    found = told(turn(settings, "and now this"), route, limit=1)

    assert said(found) == [("system", "Be kind."), ("user", "and now this")]
    assert found.sent == (0, 1, tokens(found))


def test_failed_turns_take_no_room(settings: Settings) -> None:
    turn(settings, "one", "first")
    turn(settings, "broken", "x " * 5000, Status.ERROR)

    assert told(turn(settings, "two"), limit=10).sent.turns == 1


def test_texts_that_can_not_fit_are_not_even_loaded(settings: Settings) -> None:
    limit = 10
    turn(settings, "one", "first")
    turn(settings, "two", " " * (limit * tokenizer.MAX_TOKEN_BYTES))
    row = turn(settings, "three")

    newest, oldest = turns_before(row, limit * tokenizer.MAX_TOKEN_BYTES)

    assert (newest.loaded, newest.answer) == (False, "")
    assert (oldest.loaded, oldest.answer) == (False, "")
    assert told(row, limit=limit).sent[:2] == (0, 2)


def test_no_more_turns_are_looked_at_than_the_cap(settings: Settings) -> None:
    first = turn(settings, "first", "answer")
    rows = [
        {**first.__data__, "id": f"turn {number:04}", "parent": f"turn {number - 1:04}", "message": f"{number}"}
        for number in range(1, MAX_TURNS + 5)
    ]
    Generation.insert_many(rows).execute()
    row = changed(first, parent=rows[-1]["id"])

    found = told(row)

    assert (found.sent.turns, found.sent.dropped) == (MAX_TURNS, 0)
    assert said(found)[0] == ("user", "5")


def test_what_is_looked_at_comes_in_one_statement(settings: Settings, database: Any, monkeypatch: Any) -> None:
    for number in range(5):
        turn(settings, f"{number}", "answer")
    row = turn(settings, "now")
    statements: list[str] = []
    execute = database.execute_sql

    def noting(sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    monkeypatch.setattr(database, "execute_sql", noting)

    assert len(turns_before(row, PLENTY)) == 5
    assert len(statements) == 1


# What fits at POST


@pytest.mark.parametrize(
    ("message", "system", "limit", "fit"),
    [
        ("hello there", "", 2, True),
        ("hello there", "", 1, False),
        ("hello there", "Be kind.", 5, True),
        ("hello there", "Be kind.", 4, False),
        ("hello there", "Be kind.", 2, False),
        (" " * 100_000, "", 10_000, True),
        ("word " * 16_001, "", 16_000, False),
    ],
)
def test_a_message_fits_where_it_keeps_within_the_limit_with_the_prompt(
    message: str, system: str, limit: int, fit: bool
) -> None:
    assert fits(message, Route(model=ROUTE.model, system=system), limit) is fit


def test_what_has_fewer_bytes_than_tokens_are_allowed_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "encoder", lambda _: pytest.fail("it was counted"))

    assert fits("é" * 10, Route(model=ROUTE.model, system="12345"), 25)


def test_a_routes_limit_goes_before_the_settings(settings: Settings) -> None:
    assert max_input_tokens(ROUTE, settings) == settings.max_input_tokens
    assert max_input_tokens(Route(model=ROUTE.model, max_input_tokens=7), settings) == 7


def test_the_local_model_is_told_less_unless_its_route_says_otherwise(settings: Settings) -> None:
    assert max_input_tokens(Route(model="local:smollm2"), settings) == 1024
    assert (
        max_input_tokens(Route(model="local:another"), settings) == settings.max_input_tokens
    )  # a server of one's own
    assert max_input_tokens(Route(model="local:smollm2", max_input_tokens=1500), settings) == 1500
    assert max_input_tokens(Route(model="local:smollm2"), replace(settings, max_input_tokens=500)) == 500


# What may be counted on an event loop


def test_little_is_counted_at_once_unless_its_encoding_is_still_to_be_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = Generation(message="x" * 1000, model="gpt-4o-mini")
    before = Turn(Status.DONE, True, "y" * 600, "z" * 400)
    tokenizer.encoder(row.model)

    assert takes_no_time(row, ROUTE, [before])
    assert not takes_no_time(row, ROUTE, [before, before])
    monkeypatch.setattr(tokenizer, "_loaded", {})
    assert not takes_no_time(row, ROUTE, [before])


def test_a_message_whose_bytes_are_within_the_limit_surely_fits() -> None:
    assert surely_fits("🙂", ROUTE, 4)
    assert not surely_fits("🙂", ROUTE, 3)
    assert fits("🙂" * 2, ROUTE, 7)
