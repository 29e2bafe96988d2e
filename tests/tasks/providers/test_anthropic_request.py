"""Requests in the words of the Messages API, and what it has no words for."""

from typing import Any

import pytest

from models.errors import ProviderRefusedRequest
from tasks.providers.anthropic_request import DEFAULT_MAX_TOKENS, request_body
from tasks.providers.base import Message, ProviderRequest

CALL = {"id": "toolu_1", "type": "function", "function": {"name": "look", "arguments": '{"x": 1}'}}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}


def _body(*messages: Message, **more: Any) -> dict[str, Any]:
    return request_body(ProviderRequest(model="claude", messages=messages, **more))


def _user(text: str = "hello") -> Message:
    return Message(role="user", content=text)


def test_what_is_asked_for_is_said_and_no_more() -> None:
    assert _body(_user()) == {
        "model": "claude",
        "max_tokens": DEFAULT_MAX_TOKENS,
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
    }
    more = _body(_user(), max_output_tokens=7, temperature=0.5)
    assert (more["max_tokens"], more["temperature"]) == (7, 0.5)
    assert _body(_user(), temperature=1.5)["temperature"] == 1.0


def test_the_system_prompt_stands_at_the_top() -> None:
    body = _body(Message(role="system", content="Be kind."), _user(), Message(role="developer", content="Be brief."))
    assert body["system"] == "Be kind.\n\nBe brief."
    assert body["messages"] == [{"role": "user", "content": "hello"}]


def test_an_answer_that_said_nothing_is_left_out() -> None:
    body = _body(
        _user("a"), Message(role="assistant", content=""), Message(role="assistant", content=" \n"), _user("b")
    )
    assert [turn["content"] for turn in body["messages"]] == ["a", "b"]


def test_tools_and_their_results_are_translated() -> None:
    tool = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": SCHEMA}}
    bare = {"type": "function", "function": {"name": "now"}}
    body = _body(
        _user(),
        Message(role="assistant", content="I look.", tool_calls=(CALL,)),
        Message(role="tool", content="sunny", tool_call_id="toolu_1"),
        Message(role="tool", content="warm", tool_call_id="toolu_2"),
        Message(role="assistant", content="", tool_calls=({"id": "t", "function": {"name": "now", "arguments": ""}},)),
        tools=(tool, bare),
    )
    assert body["tools"] == [
        {"name": "look", "input_schema": SCHEMA, "description": "Looks."},
        {"name": "now", "input_schema": {"type": "object"}},
    ]
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"x": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "warm"},
            ],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "now", "input": {}}]},
    ]


def test_json_by_a_schema_is_structured_output_and_text_is_the_default() -> None:
    by_schema = {"type": "json_schema", "json_schema": {"name": "point", "schema": SCHEMA, "strict": True}}
    assert _body(_user(), response_format=by_schema)["output_config"] == {
        "format": {"type": "json_schema", "schema": SCHEMA}
    }
    assert "output_config" not in _body(_user(), response_format={"type": "text"})


@pytest.mark.parametrize(
    "more",
    [
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "secret"}}},
        {"tools": ({"type": "secret"},)},
        {"tools": ({"type": "function", "function": {"description": "secret"}},)},
        {"tools": ({"type": "function", "function": "secret"},)},
    ],
)
def test_what_the_api_has_no_words_for_is_refused_without_being_quoted(more: dict[str, Any]) -> None:
    with pytest.raises(ProviderRefusedRequest, match="This provider takes") as caught:
        _body(_user(), **more)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("arguments", ["secret", '{"x":', 7])
def test_arguments_that_are_no_json_are_refused(arguments: object) -> None:
    call = {"id": "t", "function": {"name": "look", "arguments": arguments}}
    with pytest.raises(ProviderRefusedRequest, match="no JSON"):
        _body(_user(), Message(role="assistant", content="", tool_calls=(call,)))
