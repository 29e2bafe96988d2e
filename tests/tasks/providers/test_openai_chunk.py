"""Chunks of Chat Completions, as OpenAI and its imitators send them, become pieces."""

import json
from typing import Any

import pytest

from models.errors import ProviderFailure, ProviderOverloaded, ProviderProtocolBroken, ProviderRateLimited
from models.event import Usage
from tasks.providers.base import FinishPiece, Piece, ReasoningPiece, TextPiece, ToolCallPiece, UsagePiece
from tasks.providers.openai_chunk import ChunkReader


def _delta(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def _read(*chunks: object) -> list[Piece]:
    """The pieces of a whole answer; a chunk is an object, or JSON as it is."""
    reader = ChunkReader()
    texts = [chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks]
    return [piece for text in texts for piece in reader.read(text)] + list(reader.end())


STOP = FinishPiece("stop")


def test_text_comes_as_it_is_and_empty_text_not_at_all() -> None:
    chunks = [_delta(role="assistant", content=""), _delta(content=None), _delta(content="a "), _delta(content="\n\nb")]
    assert _read(*chunks, _delta("stop")) == [TextPiece("a "), TextPiece("\n\nb"), STOP]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("function_call", "tool_calls"),
        ("max_tokens", "length"),
        ("eos", "stop"),
    ],
)
def test_a_finish_reason_is_one_of_ours(said: str, meant: str) -> None:
    assert _read(_delta(said)) == [FinishPiece(meant)]


def test_the_finish_comes_after_usage_wherever_they_stood() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    pieces = _read(_delta(content="a"), _delta("length"), usage)
    assert pieces == [TextPiece("a"), UsagePiece(Usage(input=1, output=2)), FinishPiece("length")]


def test_a_finish_reason_in_the_last_text_chunk_counts() -> None:
    assert _read(_delta("length", content="a")) == [TextPiece("a"), FinishPiece("length")]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_kept_apart(name: str) -> None:
    assert _read(_delta(**{name: "hm"}), _delta(content="a")) == [ReasoningPiece("hm"), TextPiece("a"), STOP]


def test_reasoning_under_both_names_comes_once_and_objects_not_at_all() -> None:
    assert _read(_delta(reasoning_content="hm", reasoning="hm"), _delta(reasoning={"x": 1})) == [
        ReasoningPiece("hm"),
        STOP,
    ]


def test_a_refusal_is_text_and_the_reason() -> None:
    assert _read(_delta(refusal="I can't"), _delta("stop")) == [TextPiece("I can't"), FinishPiece("refusal")]


def test_tool_calls_come_in_pieces() -> None:
    first = {"index": 1, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
    second = {"index": 1, "function": {"arguments": '{"a":'}}
    pieces = _read(_delta(tool_calls=[first]), _delta(tool_calls=[second]), _delta("tool_calls"))
    expected = [
        ToolCallPiece(1, "call_1", "look", ""),
        ToolCallPiece(1, None, None, '{"a":'),
        FinishPiece("tool_calls"),
    ]
    assert pieces == expected


def test_whole_tool_calls_without_an_index_are_numbered() -> None:
    calls = [{"id": "a", "function": {"name": "f", "arguments": "{}"}}, {"id": "b", "function": None}]
    assert _read(_delta(tool_calls=calls))[:2] == [ToolCallPiece(0, "a", "f", "{}"), ToolCallPiece(1, "b", None, "")]


@pytest.mark.parametrize("index", [-1, 128, 10**30])
def test_a_tool_call_number_out_of_bounds_is_refused(index: int) -> None:
    with pytest.raises(ProviderProtocolBroken):
        _read(_delta(tool_calls=[{"index": index}]))


@pytest.mark.parametrize("name", ["content", "reasoning"])
def test_an_emoji_split_over_two_chunks_is_whole_again(name: str) -> None:
    halves = [_delta(**{name: half}) for half in ("a\ud83d", "\ude00b")]  # json.dumps escapes them
    assert [getattr(piece, "text", "") for piece in _read(*halves)] == ["a", "😀b", ""]


def test_half_an_emoji_at_the_end_is_replaced() -> None:
    assert _read(r'{"choices":[{"delta":{"content":"a\ud83d"}}]}') == [TextPiece("a"), TextPiece("\ufffd"), STOP]


def test_half_an_emoji_in_arguments_is_held_for_its_own_call() -> None:
    calls = [{"index": 0, "function": {"arguments": "\ud83d"}}, {"index": 1, "function": {"arguments": "\ude00"}}]
    pieces = _read(_delta(tool_calls=calls))
    assert [piece.arguments for piece in pieces if isinstance(piece, ToolCallPiece)] == ["", "\ufffd", "\ufffd"]


def test_nul_is_replaced_everywhere() -> None:
    call = {"id": "\0", "function": {"name": "\0", "arguments": "\0"}}
    pieces = _read(_delta(content="\0"), _delta(reasoning="\0"), _delta(tool_calls=[call]))
    texts = [TextPiece("\ufffd"), ReasoningPiece("\ufffd")]
    assert pieces == [*texts, ToolCallPiece(0, "\ufffd", "\ufffd", "\ufffd"), STOP]


def test_usage_beside_text_counts() -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    assert _read(_delta(content="a") | {"usage": usage}) == [
        TextPiece("a"),
        UsagePiece(Usage(input=11, output=3)),
        STOP,
    ]


@pytest.mark.parametrize(
    ("sent", "usage"),
    [
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            Usage(input=100, cached=64, output=50, reasoning=30),
        ),
        (  # a server that counts reasoning beside the completion
            {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "total_tokens": 150,
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            Usage(input=100, output=50, reasoning=30),
        ),
        ({"prompt_tokens": 5, "prompt_tokens_details": None, "completion_tokens": None}, Usage(input=5)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(input=5, cached=5)),
        ({"prompt_tokens": 5, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 1}, Usage(input=5, cached=4)),
        ({"prompt_tokens": -5, "completion_tokens": 10**30}, Usage(output=2**31 - 1)),
        ({"prompt_tokens": "5", "completion_tokens": 1.5}, Usage()),
    ],
)
def test_usage_is_read_whatever_it_holds(sent: dict[str, Any], usage: Usage) -> None:
    assert _read({"choices": [], "usage": sent}) == [UsagePiece(usage), STOP]


@pytest.mark.parametrize("usage", [None, [], "none", 0])
def test_usage_that_is_none_is_none(usage: object) -> None:
    assert _read(_delta(content="a") | {"usage": usage}) == [TextPiece("a"), STOP]


USAGE = {"prompt_tokens": 11, "completion_tokens": 3}


@pytest.mark.parametrize(
    "chunk",
    [
        _delta("stop") | {"usage": USAGE},
        _delta("stop") | {"x_groq": {"id": "req_1", "usage": USAGE}},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]},
        {"choices": [], "usage": USAGE, "x_groq": {}},
        {"usage": USAGE},
    ],
    ids=["beside the finish", "x_groq", "in the choice", "alone", "without choices"],
)
def test_usage_is_found_wherever_a_server_puts_it(chunk: dict[str, Any]) -> None:
    assert _read(_delta(content="a"), chunk) == [TextPiece("a"), UsagePiece(Usage(input=11, output=3)), STOP]


def test_each_usage_is_told_and_the_last_counts() -> None:
    chunks = [_delta(content="a") | {"usage": {"prompt_tokens": 11, "completion_tokens": count}} for count in (1, 2)]
    usages = [piece.usage.output for piece in _read(*chunks) if isinstance(piece, UsagePiece)]
    assert usages == [1, 2]


def test_a_content_that_is_a_list_is_text_and_reasoning() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]}
    parts = [
        thinking,
        {"type": "text", "text": "a"},
        {"type": "reference", "reference_ids": [1]},
        "b",
        7,
        {"type": "text"},
    ]
    assert _read(_delta(content=parts), _delta(content=[])) == [
        ReasoningPiece("hm"),
        TextPiece("a"),
        TextPiece("b"),
        STOP,
    ]


def test_other_choices_are_not_mixed_in() -> None:
    chunk = {"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]}
    assert _read(chunk) == [TextPiece("a"), STOP]


def test_choices_without_index_or_delta_do() -> None:
    assert _read({"choices": [{"delta": {"content": "a"}}]}, {"choices": [{"finish_reason": "stop"}]}) == [
        TextPiece("a"),
        STOP,
    ]


def test_chunks_with_nothing_known_are_skipped_and_counted() -> None:
    reader = ChunkReader()
    for data in ('{"object": "surprise", "x": 1}', '{"choices": []}', '{"choices": null, "timings": {}}'):
        assert list(reader.read(data)) == []
    assert reader.skipped == 3
    assert not reader.finished


@pytest.mark.parametrize(
    ("chunk", "kind"),
    [
        ({"error": {"message": "secret", "type": "server_error", "code": None}}, ProviderOverloaded),
        ({"error": {"message": "secret", "code": 429}, "choices": []}, ProviderRateLimited),
        ({"error": "secret"}, ProviderOverloaded),
        (_delta("error", content=""), ProviderOverloaded),
    ],
)
def test_an_error_object_ends_the_answer(chunk: dict[str, Any], kind: type[ProviderFailure]) -> None:
    with pytest.raises(kind) as caught:
        _read(chunk)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        "secret",
        '{"choices":[{"delta":{"content":"secret',
        '["secret"]',
        "12",
        '{"choices":"secret"}',
        '{"choices":[{"delta":{"content":{"secret":1}}}]}',
        '{"choices":[],"usage":{"prompt_tokens":NaN}}',
        '{"choices":[],"x":"\\ud83d","usage":{"prompt_tokens":NaN}}',
        '{"x":' * 100_000,
        '{"x":"\\ud83d","y":' * 100_000,
        '{"x":"\\ud83d","y":' + "9" * 5000 + "}",
    ],
)
def test_what_is_no_chunk_is_refused_without_being_quoted(data: str) -> None:
    with pytest.raises(ProviderProtocolBroken) as caught:
        _read(data)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
