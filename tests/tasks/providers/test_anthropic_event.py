"""Events of the Messages API become pieces."""

import json
from typing import Any

import pytest

from models.errors import ProviderFailure, ProviderOverloaded, ProviderProtocolBroken, ProviderRateLimited
from models.event import Usage
from tasks.providers.anthropic_event import MAX_TOOL_CALLS, EventReader
from tasks.providers.base import FinishPiece, Piece, ReasoningPiece, TextPiece, ToolCallPiece, UsagePiece

STOP = FinishPiece("stop")


def _delta(index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _text(text: str) -> dict[str, Any]:
    return _delta(type="text_delta", text=text)


def _block(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _arguments(index: int, text: str) -> dict[str, Any]:
    return _delta(index, type="input_json_delta", partial_json=text)


def _end(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def _finish(reason: str | None, **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage or None}


def _start(**usage: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "msg_1", "content": [], "usage": usage}}


def _read(*events: object) -> list[Piece]:
    """The pieces of a whole answer; an event is an object, or JSON as it is."""
    reader = EventReader()
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return [piece for text in texts for piece in reader.read(text)] + list(reader.end())


def test_text_comes_as_it_is_and_empty_text_not_at_all() -> None:
    assert _read(_block(0, type="text", text=""), _text("a "), _text(""), _text("\n\nb"), _end(0)) == [
        TextPiece("a "),
        TextPiece("\n\nb"),
        STOP,
    ]


def test_text_at_the_beginning_of_a_block_counts() -> None:
    assert _read(_block(0, type="text", text="a"), _text("b")) == [TextPiece("a"), TextPiece("b"), STOP]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "refusal"),
        ("pause_turn", "length"),
        ("model_context_window_exceeded", "length"),
        ("something_new", "stop"),
    ],
)
def test_a_stop_reason_is_one_of_ours(said: str, meant: str) -> None:
    assert _read(_text("a"), _finish(said)) == [TextPiece("a"), FinishPiece(meant)]


def test_a_stop_reason_finishes_and_message_stop_stops() -> None:
    reader = EventReader()
    assert (reader.finished, reader.stopped) == (False, False)
    list(reader.read(json.dumps(_finish(None))))
    assert (reader.finished, reader.stopped) == (False, False)
    list(reader.read(json.dumps(_finish("end_turn"))))
    assert (reader.finished, reader.stopped) == (True, False)
    list(reader.read('{"type": "message_stop"}'))
    assert (reader.finished, reader.stopped) == (True, True)


def test_thinking_is_reasoning_and_its_signature_says_nothing() -> None:
    reader = EventReader()
    events = [
        _block(0, type="thinking", thinking="", signature=""),
        _delta(type="thinking_delta", thinking="hm"),
        _delta(type="signature_delta", signature="c2ln"),
        _end(0),
        _block(1, type="redacted_thinking", data="x"),
        _end(1),
        _text("a"),
    ]
    assert [piece for event in events for piece in reader.read(json.dumps(event))] == [
        ReasoningPiece("hm"),
        TextPiece("a"),
    ]
    assert reader.skipped == 0


def test_tool_calls_come_in_pieces_and_are_numbered_among_themselves() -> None:
    events = [
        _block(0, type="text", text="a"),
        _end(0),
        _block(1, type="tool_use", id="toolu_1", name="look", input={}),
        _arguments(1, ""),
        _arguments(1, '{"x":'),
        _arguments(1, "1}"),
        _end(1),
        _block(2, type="tool_use", id="toolu_2", name="now", input={}),
        _arguments(2, ""),
        _end(2),
        _finish("tool_use"),
    ]
    assert _read(*events) == [
        TextPiece("a"),
        ToolCallPiece(0, "toolu_1", "look", ""),
        ToolCallPiece(0, None, None, '{"x":'),
        ToolCallPiece(0, None, None, "1}"),
        ToolCallPiece(1, "toolu_2", "now", ""),
        ToolCallPiece(1, None, None, "{}"),
        FinishPiece("tool_calls"),
    ]


def test_a_tools_input_that_comes_whole_is_its_arguments() -> None:
    assert _read(_block(0, type="tool_use", id="t", name="n", input={"x": 1}), _end(0)) == [
        ToolCallPiece(0, "t", "n", '{"x":1}'),
        STOP,
    ]


def test_too_many_tool_calls_are_refused() -> None:
    with pytest.raises(ProviderProtocolBroken, match="more than 128"):
        _read(*(_block(index, type="tool_use", id="t", name="n") for index in range(MAX_TOOL_CALLS + 1)))


def test_usage_is_taken_over_and_never_added_up() -> None:
    start = _start(input_tokens=10, cache_creation_input_tokens=200, cache_read_input_tokens=3000, output_tokens=1)
    assert _read(start, _text("a"), _finish(None, output_tokens=5), _finish("end_turn", output_tokens=9)) == [
        TextPiece("a"),
        UsagePiece(Usage(input=3210, cached=3000, cache_write=200, output=5)),
        UsagePiece(Usage(input=3210, cached=3000, cache_write=200, output=9)),
        STOP,
    ]


def test_the_last_event_may_correct_the_input_and_null_changes_nothing() -> None:
    finish = _finish("end_turn", input_tokens=12, cache_read_input_tokens=None, output_tokens=9)
    assert _read(_start(input_tokens=10, cache_read_input_tokens=5, output_tokens=1), finish) == [
        UsagePiece(Usage(input=17, cached=5, output=9)),
        STOP,
    ]


def test_the_placeholder_of_the_first_event_is_no_usage() -> None:
    assert _read(_start(input_tokens=10, output_tokens=1), _text("a")) == [TextPiece("a"), STOP]


@pytest.mark.parametrize(
    ("sent", "usage"),
    [
        ({"input_tokens": -5, "output_tokens": 10**30}, Usage(output=2**31 - 1)),
        ({"input_tokens": 2**31, "cache_read_input_tokens": 2**31}, Usage(input=2**31 - 1, cached=2**31 - 1)),
        ({"input_tokens": "5", "output_tokens": 1.5}, Usage()),
    ],
)
def test_usage_is_read_whatever_it_holds(sent: dict[str, Any], usage: Usage) -> None:
    assert _read(_finish("end_turn", **sent)) == [UsagePiece(usage), STOP]


@pytest.mark.parametrize("usage", [[], "none", 0])
def test_usage_that_is_none_is_none(usage: object) -> None:
    assert _read({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}) == [STOP]


def test_pings_and_citations_say_nothing_and_the_unknown_is_skipped_and_counted() -> None:
    reader = EventReader()
    silent = [{"type": "ping"}, _delta(type="citations_delta", citation={"url": "x"}), _end(0)]
    unknown = [{"type": "surprise"}, {}, _delta(type="surprise_delta"), _block(3, type="server_tool_use"), _delta(3)]
    assert [piece for event in silent for piece in reader.read(json.dumps(event))] == []
    assert reader.skipped == 0
    assert [piece for event in unknown for piece in reader.read(json.dumps(event))] == []
    assert reader.skipped == 5


def test_an_emoji_split_over_two_deltas_is_whole_again() -> None:
    assert _read(_text("a\ud83d"), _text("\ude00b")) == [TextPiece("a"), TextPiece("😀b"), STOP]


def test_half_an_emoji_at_the_end_is_replaced() -> None:
    thinking = _delta(type="thinking_delta", thinking="\ud83d")
    tool = [_block(1, type="tool_use", id="t", name="n"), _arguments(1, "\ud83d")]
    assert _read(thinking, _text("a\ud83d"), *tool)[-4:] == [
        ReasoningPiece("\ufffd"),
        TextPiece("\ufffd"),
        ToolCallPiece(0, None, None, "\ufffd"),
        STOP,
    ]


def test_nul_is_replaced_everywhere() -> None:
    tool = _block(1, type="tool_use", id="\0", name="\0", input={"\ud83d": "\0"})
    assert _read(_text("\0"), tool) == [
        TextPiece("\ufffd"),
        ToolCallPiece(0, "\ufffd", "\ufffd", '{"\\ud83d":"\\u0000"}'),
        STOP,
    ]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error", "message": "secret"}, ProviderOverloaded),
        ({"type": "rate_limit_error", "message": "secret"}, ProviderRateLimited),
        ({"type": "api_error", "message": "secret"}, ProviderOverloaded),
        ("secret", ProviderOverloaded),
        (None, ProviderOverloaded),
    ],
)
def test_an_error_event_ends_the_answer(error: object, kind: type[ProviderFailure]) -> None:
    with pytest.raises(kind) as caught:
        _read(_text("a"), {"type": "error", "error": error})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        "secret",
        '{"type":"content_block_delta","delta":{"text":"secret',
        '["secret"]',
        "12",
        '{"type":"content_block_delta","delta":"secret"}',
        '{"type":"content_block_delta","delta":{"type":"text_delta","text":{"secret":1}}}',
        '{"type":"content_block_start","content_block":{"type":"tool_use","input":{"secret":NaN}}}',
        '{"x":' * 100_000,
    ],
)
def test_what_is_no_event_is_refused_without_being_quoted(data: str) -> None:
    with pytest.raises(ProviderProtocolBroken) as caught:
        _read(data)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
