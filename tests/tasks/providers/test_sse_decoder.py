"""The event-stream decoder: bytes in, events out, wherever the bytes are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ProviderProtocolBroken
from tasks.providers.sse_decoder import EventDecoder, ServerEvent


def _event(data: str, type: str = "message", id: str = "") -> ServerEvent:
    return ServerEvent(type, data, id)


CASES: dict[str, tuple[bytes, list[ServerEvent]]] = {
    "nothing": (b"", []),
    "a line of data": (b"data: x\n\n", [_event("x")]),
    "two events": (b"data: x\n\ndata: y\n\n", [_event("x"), _event("y")]),
    "lines of data join": (b"data: x\ndata: y\n\n", [_event("x\ny")]),
    "the standard's first example": (b"data: YHOO\ndata: +2\ndata: 10\n\n", [_event("YHOO\n+2\n10")]),
    "the standard's second example": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [_event("first event", id="1"), _event("second event"), _event(" third event")],
    ),
    "the standard's third example": (b"data\n\ndata\ndata\n\ndata:", [_event(""), _event("\n")]),
    "only one space goes": (b"data:test\n\ndata: test\n\n", [_event("test"), _event("test")]),
    "a type lasts one event": (b"event: a\ndata: x\n\ndata: y\n\n", [_event("x", "a"), _event("y")]),
    "a type without data is forgotten": (b"event: a\n\ndata: y\n\n", [_event("y")]),
    "an id lasts": (b"id: 7\ndata: x\n\ndata: y\n\n", [_event("x", id="7"), _event("y", id="7")]),
    "an id with NUL is ignored": (b"id: 7\nid: 8\0\ndata: x\n\n", [_event("x", id="7")]),
    "an id without data counts": (b"id: 7\n\ndata: x\n\n", [_event("x", id="7")]),
    "comments are nothing": (b": hi\ndata: x\n:\n: there\n\n:\n\n", [_event("x")]),
    "unknown fields are nothing": (b"dat: a\ndata : b\n data: c\ndatax: d\nx\ndata: e\n\n", [_event("e")]),
    "a colon in the data": (b"data: a: b\n\n", [_event("a: b")]),
    "half an event is dropped": (b"data: x\n\ndata: y\n", [_event("x")]),
    "half a line is dropped": (b"data: x\n\ndata: y", [_event("x")]),
    "CR ends lines": (b"data: x\rdata: y\r\r", [_event("x\ny")]),
    "CRLF ends lines once": (b"data: x\r\ndata: y\r\n\r\n", [_event("x\ny")]),
    "all three ends in a row": (b"data: x\r\n\ndata: y\n\rdata: z\r\r\n", [_event("x"), _event("y"), _event("z")]),
    "CR then LF CR": (b"data: x\n\r\ndata: y\r\r", [_event("x"), _event("y")]),
    "a byte order mark goes": (b"\xef\xbb\xbfdata: x\n\n", [_event("x")]),
    "only the first one goes": (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\ndata: y\n\n", [_event("y")]),
    "a byte order mark later is text": ("data: \ufeffx\n\n".encode(), [_event("\ufeffx")]),
    "a byte order mark before a blank line": (b"\xef\xbb\xbf\ndata: x\n\n", [_event("x")]),
    "other line separators are text": (
        "data: a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\n\n".encode(),
        [_event("a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg")],
    ),
    "emoji": ("event: 🎉\nid: 🆔\ndata: 😀中é\n\n".encode(), [_event("😀中é", "🎉", "🆔")]),
    "no UTF-8": (b"data: a\xffb\xf0\x9f\x98\n\n", [_event("a\ufffdb\ufffd")]),
    "half a character at a line's end": (b"data: \xe4\xb8\ndata: \xad\n\n", [_event("\ufffd\n\ufffd")]),
    "an encoded surrogate": (b"data: \xed\xa0\xbd\n\n", [_event("\ufffd\ufffd\ufffd")]),
    "NUL in data": (b"data: a\0b\n\n", [_event("a\0b")]),
    "text that looks like events": (b'data: {"x":"\\n\\ndata: y"}\n\n', [_event('{"x":"\\n\\ndata: y"}')]),
}


def _decoded(*chunks: bytes, decoder: EventDecoder | None = None) -> list[ServerEvent]:
    decoder = decoder or EventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize(("stream", "events"), CASES.values(), ids=CASES.keys())
def test_a_stream_has_its_events_wherever_it_is_cut(stream: bytes, events: list[ServerEvent]) -> None:
    assert _decoded(stream) == events
    for cut in range(len(stream) + 1):
        assert _decoded(stream[:cut], stream[cut:]) == events, stream[:cut]
        assert _decoded(stream[:cut], b"", stream[cut : cut + 1], stream[cut + 1 :]) == events, stream[:cut]
    assert _decoded(*(stream[at : at + 1] for at in range(len(stream)))) == events


def _reference(stream: bytes) -> list[ServerEvent]:
    """The standard's algorithm word for word, for a whole stream at once."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]
    events, data, kind, last_id = [], "", "", ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append(ServerEvent(kind or "message", data[:-1], last_id))
            data = kind = ""
        elif name == "data":
            data += value + "\n"
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            last_id = value
    return events


PARTS = [b"data", b"event", b"id", b"retry", b":", b": ", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"x", b"\xc3", b"\xa9"]
PARTS += [b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\0", b"data: ", b"\xff"]


@given(st.lists(st.sampled_from(PARTS), max_size=40).map(b"".join), st.lists(st.integers(0, 80), max_size=5))
def test_any_bytes_decode_as_the_standard_has_it(stream: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert _decoded(*(stream[start:end] for start, end in pairwise(bounds))) == _reference(stream)


def test_a_blank_line_that_ends_in_cr_gives_its_event_at_once() -> None:
    decoder = EventDecoder()
    assert list(decoder.feed(b"data: x\r\r")) == [_event("x")]
    assert list(decoder.feed(b"\ndata: y\r\n\r")) == [_event("y")]


def test_the_reconnection_time_is_kept_and_garbage_ignored() -> None:
    decoder = EventDecoder()
    assert decoder.retry_ms is None
    assert (
        list(decoder.feed(b"retry: 1500\nretry: 1.5\nretry: -1\nretry: \xd9\xa3\nretry:\nretry: " + b"9" * 99 + b"\n"))
        == []
    )
    assert decoder.retry_ms == 1500


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_line_without_end_is_cut_off(size: int) -> None:
    decoder = EventDecoder(max_line_bytes=100)
    with pytest.raises(ProviderProtocolBroken, match="line of more than 100 bytes"):
        _decoded(*[b"x" * size] * 200, decoder=decoder)
    assert len(decoder._rest) <= 100 + size


def test_a_long_line_is_refused_after_the_events_before_it() -> None:
    decoder = EventDecoder(max_line_bytes=100)
    events = decoder.feed(b"data: x\n\ndata: " + b"y" * 100 + b"\n\n")
    assert next(events) == _event("x")
    with pytest.raises(ProviderProtocolBroken):
        next(events)


def test_a_line_at_its_bound_is_taken() -> None:
    assert list(EventDecoder(max_line_bytes=100).feed(b"data: " + b"y" * 94 + b"\n\n")) == [_event("y" * 94)]


@pytest.mark.parametrize("line", [b"data: 123456789\n", b"data:\n", b"data\n"])
def test_an_event_without_end_is_cut_off(line: bytes) -> None:
    with pytest.raises(ProviderProtocolBroken, match="event of more than 100 bytes"):
        _decoded(*[line] * 200, decoder=EventDecoder(max_event_bytes=100))


def test_comments_without_end_hold_no_memory() -> None:
    decoder = EventDecoder(max_line_bytes=100, max_event_bytes=100)
    for _ in range(1000):
        assert list(decoder.feed(b": keep-alive\n")) == []
    assert not decoder._rest
    assert not decoder._data
