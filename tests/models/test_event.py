"""The schema of what is streamed: ids, kinds, one line of JSON each, and text that every store takes."""

import json
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.event import (
    NOWHERE,
    TERMINAL,
    Close,
    Done,
    EventId,
    Failed,
    Kind,
    Queued,
    Snapshot,
    Started,
    Switched,
    Text,
    ToolCall,
    Usage,
    Waiting,
    decode,
    encode,
    storable,
)

PAYLOADS: list[msgspec.Struct] = [
    Queued(),
    Queued(position=3),
    Waiting(reason="rate_limited", retry_after=1.5),
    Started(run=1, provider="openai", model="gpt-4o-mini"),
    Started(run=2, provider="openai", model="gpt-4o-mini", reason="restarted"),
    Switched(provider="openai", model="o3", reason="overloaded"),
    Text(text="a"),
    ToolCall(index=0, id="call_1", name="find", arguments="{"),
    ToolCall(index=1),
    Snapshot(text="a", reasoning="b", tool_calls=[{"index": 0, "id": None, "name": "find", "arguments": "{}"}]),
    Done(
        status="done",
        finish_reason="stop",
        provider="demo",
        model="echo",
        usage=Usage(input=1, output=2),
        cost_micros=None,
        sha256="0" * 64,
        length=1,
        cached=False,
    ),
    Failed(code="internal", message="m", retryable=True, sha256="0" * 64, length=0),
    Close(code="draining", reconnect=True, retry_ms=500),
]


@pytest.mark.parametrize("text", ["1-0", "12-345", "999999999-999999999", "0-0"])
def test_an_id_is_read_as_it_is_written(text: str) -> None:
    found = EventId.parse(text)

    assert found is not None
    assert str(found) == text


NO_IDS = [
    "1",
    "1-",
    "-1",
    "1-1-1",
    "1:1",
    "+1-1",
    "1--1",
    "1e3-1",
    "0x1-1",
    "$",
    "-",
    "+",
    "1234567890-1",
    "1-1234567890",
    "٣-٣",
    "１-１",
    "1_0-1",
]


@pytest.mark.parametrize("text", [*NO_IDS, "", " 1-1", "1-1 ", "1-1\n", "\n1-1", "1-1\0", "9" * 100_000])
def test_what_spells_no_id_is_none(text: str) -> None:
    assert EventId.parse(text) is None


def test_ids_are_ordered_by_their_run_and_then_by_their_number() -> None:
    ordered = [NOWHERE, EventId(1, -1), EventId(1, 0), EventId(1, 9), EventId(1, 10), EventId(2, 0), EventId(10, 0)]

    assert all(earlier < later for earlier, later in pairwise(ordered))


def test_no_kind_is_one_that_eventsource_takes_for_its_own() -> None:
    assert not {"error", "open", "message"} & set(Kind)


def test_two_kinds_end_a_generation() -> None:
    assert {Kind.DONE, Kind.FAILED} == TERMINAL


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda each: type(each).__name__)
def test_a_payload_comes_back_from_its_json(payload: msgspec.Struct) -> None:
    assert decode(encode(payload), type(payload)) == payload


def test_what_says_nothing_is_left_out_but_for_the_terminal_events() -> None:
    assert encode(Started(run=1, provider="a", model="b")) == b'{"run":1,"provider":"a","model":"b"}'
    assert encode(Snapshot(text="")) == b'{"text":""}'
    assert b'"cost_micros":null' in encode(PAYLOADS[10])
    assert b'"usage":{"input":1,"cached":0,"cache_write":0,"output":2,"reasoning":0,"source":"provider"}' in encode(
        PAYLOADS[10]
    )


def test_unknown_members_are_ignored_so_that_an_older_reader_goes_on() -> None:
    assert decode(b'{"text":"a","later":1}', Text) == Text(text="a")


@pytest.mark.parametrize("data", [b"", b"{", b'{"text":1}', b"[]"])
def test_what_is_no_payload_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(data, Text)


@given(st.text(max_size=60).map(storable))
def test_any_storable_text_is_one_line_that_no_client_splits(text: str) -> None:
    data = encode(Text(text=text))

    assert len(data.decode().splitlines()) == 1
    assert json.loads(data) == {"text": text}


@pytest.mark.parametrize("escaped", ["\u2028", "\u2029", "\u0085", "\r\n", "\x0b\x0c\x1c\x1d\x1e", "\u2028" * 3])
def test_every_line_break_is_escaped(escaped: str) -> None:
    data = encode(Text(text=f"a{escaped}b"))

    assert len(data.decode().splitlines()) == 1
    assert decode(data, Text).text == f"a{escaped}b"


def test_characters_whose_bytes_look_alike_are_left_as_they_are() -> None:
    text = "Å\u0145\u2027\u202a\u0084\u0086é…"

    assert encode(Text(text=text)) == f'{{"text":"{text}"}}'.encode()


@pytest.mark.parametrize(
    ("given_text", "stored"),
    [
        ("plain", "plain"),
        ("ümläut 🙂", "ümläut 🙂"),
        ("a\0b", "a\ufffdb"),
        ("\0", "\ufffd"),
        ("a\ud83d", "a\ufffd"),
        ("\udc00b", "\ufffdb"),
        ("ü\0", "ü\ufffd"),
    ],
)
def test_what_a_store_refuses_is_replaced(given_text: str, stored: str) -> None:
    assert storable(given_text) == stored


@given(st.text(st.characters(), max_size=40))
def test_storable_text_keeps_its_length_and_encodes(text: str) -> None:
    found = storable(text)

    assert len(found) == len(text)
    assert "\0" not in found
    assert found.encode().decode() == found
