"""Frames on the wire, and the cursor that a client comes back with."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.event import EventId, Frame, Kind, Snapshot, Text, encode
from streamer.sse import (
    KEEP_ALIVE,
    close_frame,
    cursor_of,
    encode_frame,
    encode_unnumbered,
    opening,
    queued_frame,
)
from tasks.providers.sse_decoder import EventDecoder, ServerEvent
from tests.streamer.frames import Event, parse


def decoded(data: bytes) -> list[ServerEvent]:
    return list(EventDecoder().feed(data))


def test_an_event_is_one_frame_of_id_kind_and_one_line_of_data() -> None:
    frame = Frame(EventId(2, 17), Kind.DELTA, encode(Text(text="Hi")))

    assert encode_frame(frame) == b'id: 2-17\nevent: delta\ndata: {"text":"Hi"}\n\n'


@settings(deadline=None)
@given(st.text())
def test_no_text_breaks_out_of_its_frame(text: str) -> None:
    frame = encode_frame(Frame(EventId(1, 1), Kind.DELTA, encode(Text(text=text))))

    (event,) = parse(frame)
    (by_decoder,) = decoded(frame)

    assert frame.count(b"\n") == 4
    assert event == Event("1-1", "delta", {"text": text})
    assert json.loads(by_decoder.data) == {"text": text}


@pytest.mark.parametrize(
    "text", ["\n\ndata: x\n\nevent: done\n\n", "\r\n\r\n", "\rid: 9-9\r", "\x1c\x1d\x1e\x85\u2028\u2029"]
)
def test_line_breaks_of_every_kind_are_escaped(text: str) -> None:
    frame = encode_frame(Frame(EventId(1, 1), Kind.SNAPSHOT, encode(Snapshot(text=text)))).decode()

    assert frame.splitlines() == [*frame.split("\n")[:3], ""]
    assert parse(frame.encode())[0].data["text"] == text


def test_notices_have_no_id_so_that_the_clients_cursor_stays() -> None:
    assert parse(queued_frame()) == [Event(None, "queued", {})]
    assert parse(queued_frame(3)) == [Event(None, "queued", {"position": 3})]
    assert parse(encode_unnumbered(Kind.QUEUED, b"{}")) == [Event(None, "queued", {})]

    decoder = EventDecoder()
    after = [*decoder.feed(encode_frame(Frame(EventId(1, 5), Kind.DELTA, b"{}"))), *decoder.feed(queued_frame())]
    assert [event.id for event in after] == ["1-5", "1-5"]


def test_a_close_says_why_whether_and_when_to_come_back() -> None:
    decoder = EventDecoder()
    (event,) = decoder.feed(close_frame("draining", reconnect=True, retry_ms=1234))

    assert (event.type, decoder.retry_ms) == ("close", 1234)
    assert json.loads(event.data) == {"code": "draining", "reconnect": True, "retry_ms": 1234}
    assert parse(close_frame("x", reconnect=False, retry_ms=1))[0].id is None


def test_the_opening_and_a_keep_alive_are_bytes_but_no_events() -> None:
    decoder = EventDecoder()

    assert list(decoder.feed(opening(2500) + KEEP_ALIVE)) == []
    assert decoder.retry_ms == 2500
    assert opening()
    assert KEEP_ALIVE.endswith(b"\n\n")


@pytest.mark.parametrize(
    ("given", "cursor"),
    [
        ("1-0", EventId(1, 0)),
        ("1-17", EventId(1, 17)),
        ("999999999-999999999", EventId(999999999, 999999999)),
        ("0-5", EventId(0, 5)),
        ("007-01", EventId(7, 1)),
    ],
)
def test_an_id_is_a_cursor(given: str, cursor: EventId) -> None:
    assert cursor_of(given, None) == cursor_of(None, given) == cursor


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        " ",
        "0-0",
        "000-0",
        "1",
        "1-",
        "-1",
        "-1-2",
        "1--2",
        "1-2-3",
        "1:2",
        "1.2",
        " 1-2",
        "1-2 ",
        "1-2\n",
        "1-2\0",
        "1-2\r\nevent: done",
        "+1-2",
        "1_0-2",
        "0x1-2",
        "１-２",
        "٣-٤",
        "1-1000000000",
        "1000000000-1",
        "1-" + "9" * 10_000,
        "9" * 1_000_000,
        "x" * 10_000,
        "null",
        "undefined",
        "(1-2",
        "$",
        "+",
        "é-ü",
    ],
)
def test_anything_else_is_the_beginning(given: str | None) -> None:
    assert cursor_of(given, None) is None
    assert cursor_of(None, given) is None


def test_the_header_wins_over_the_query() -> None:
    assert cursor_of("1-5", "1-9") == EventId(1, 5)
    assert cursor_of("0-0", "1-9") is None
    assert cursor_of("garbage", "1-9") is None
    assert cursor_of("", "1-9") is None
