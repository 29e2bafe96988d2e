"""What the model is told: the route's prompt, the answered turns on the way to this one, and the new message."""

from typing import Any

import pytest

from models.admission import admit
from models.generation import Generation, Status
from models.route import Route
from models.settings import Settings
from tasks.history import MAX_TURNS, provider_request
from tests.models.rows import ROUTE, changed, other_tenant, request

pytestmark = pytest.mark.usefixtures("database")


def turn(settings: Settings, message: str, answer: str = "", status: Status = Status.DONE, **more: Any) -> Generation:
    """A turn of the conversation that has ended."""
    row = admit(request(message, conversation="talk", **more), settings).generation
    return changed(row, status=status, text=answer)


def told(row: Generation, route: Route = ROUTE) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in provider_request(row, route).messages]


def test_a_first_message_is_told_alone(settings: Settings) -> None:
    assert told(turn(settings, "hello")) == [("user", "hello")]


def test_the_routes_prompt_comes_first_and_its_limits_go_along(settings: Settings) -> None:
    route = Route(model="openai:gpt-4o:latest", system="Be kind.", max_output_tokens=50, temperature=0.0)

    found = provider_request(turn(settings, "hello", route=route), route)

    assert [(message.role, message.content) for message in found.messages] == [
        ("system", "Be kind."),
        ("user", "hello"),
    ]
    assert (found.model, found.max_output_tokens, found.temperature) == ("gpt-4o:latest", 50, 0.0)


def test_a_route_that_names_another_model_by_now_does_not_change_who_is_asked(settings: Settings) -> None:
    row = turn(settings, "hello", route=Route(model="openai:gpt-4o-mini"))

    found = provider_request(row, Route(model="demo:echo", system="Be kind."))

    assert (found.model, found.messages[0].content) == ("gpt-4o-mini", "Be kind.")


def test_turns_are_told_oldest_first_with_their_answers(settings: Settings) -> None:
    turn(settings, "one", "first")
    turn(settings, "two", "second")

    assert told(turn(settings, "three")) == [
        ("user", "one"),
        ("assistant", "first"),
        ("user", "two"),
        ("assistant", "second"),
        ("user", "three"),
    ]


def test_a_failed_turn_drops_with_its_question_and_what_came_before_stays(settings: Settings) -> None:
    turn(settings, "one", "first")
    turn(settings, "broken", "half of it", Status.ERROR)
    turn(settings, "silent", "")

    assert told(turn(settings, "two")) == [("user", "one"), ("assistant", "first"), ("user", "two")]


@pytest.mark.parametrize("status", [Status.INCOMPLETE, Status.CANCELLED])
def test_what_was_broken_off_is_told_as_far_as_it_came(settings: Settings, status: Status) -> None:
    turn(settings, "one", "half", status)

    found = told(turn(settings, "two"))

    assert [role for role, _ in found] == ["user", "assistant", "user"]
    assert found[1][1].startswith("half")


def test_other_visitors_conversations_of_that_name_are_not_told(settings: Settings) -> None:
    turn(settings, "secret", "of another", visitor="another")
    turn(settings, "secret", "of a tenant", tenant=other_tenant())

    assert told(turn(settings, "hello")) == [("user", "hello")]


def test_a_long_conversation_is_told_by_its_newest_turns(settings: Settings) -> None:
    for number in range(MAX_TURNS + 3):
        turn(settings, f"question {number}", f"answer {number}")

    found = told(turn(settings, "now"))

    assert len(found) == 2 * MAX_TURNS + 1
    assert found[0] == ("user", "question 3")
    assert found[-2:] == [("assistant", f"answer {MAX_TURNS + 2}"), ("user", "now")]


def test_a_parent_that_is_gone_ends_the_way_back(settings: Settings) -> None:
    first = turn(settings, "one", "first")
    second = turn(settings, "two", "second")
    third = turn(settings, "three")
    Generation.delete().where(Generation.id == first.id).execute()

    assert second.parent == first.id
    assert told(third) == [("user", "two"), ("assistant", "second"), ("user", "three")]


def test_a_new_turn_is_told_what_led_to_it_and_not_what_came_after(settings: Settings) -> None:
    first = turn(settings, "one", "first")
    turn(settings, "two", "second")
    edited = changed(turn(settings, "two, but better"), parent=first.id)

    assert told(edited) == [("user", "one"), ("assistant", "first"), ("user", "two, but better")]
