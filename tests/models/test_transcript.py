"""What a run's events add up to, by the rules that a viewer follows."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.event import Done, EventId, Frame, Kind, Queued, Snapshot, Started, Text, ToolCall, Waiting, encode
from models.generation import Generation
from models.transcript import Transcript, snapshot_of, transcript_of_row, transcript_of_run

DONE = Done(
    status="done",
    finish_reason="stop",
    provider="demo",
    model="echo",
    usage=None,
    cost_micros=None,
    sha256="",
    length=0,
    cached=False,
)


def frames(*payloads: msgspec.Struct, run: int = 1, first: int = 0) -> list[Frame]:
    """Events of one run: a text is a delta, all else is named as its kind."""
    kinds: dict[type[msgspec.Struct], Kind] = {
        Started: Kind.STARTED,
        Text: Kind.DELTA,
        ToolCall: Kind.TOOL_CALL,
        Snapshot: Kind.SNAPSHOT,
        Waiting: Kind.WAITING,
        Queued: Kind.QUEUED,
        Done: Kind.DONE,
    }
    return [
        Frame(EventId(run, number), kinds[type(payload)], encode(payload))
        for number, payload in enumerate(payloads, first)
    ]


def added(*payloads: msgspec.Struct) -> Transcript:
    found = Transcript()
    for frame in frames(*payloads):
        found.apply(frame)
    return found


def started(run: int = 1) -> Started:
    return Started(run=run, provider="demo", model="echo")


def test_a_new_transcript_is_empty() -> None:
    found = Transcript()

    assert not found
    assert (found.text, found.reasoning, found.tool_calls, found.tool_calls_json()) == ("", "", [], None)


def test_deltas_are_joined_in_their_order() -> None:
    found = added(started(), Text(text="Hel"), Text(text="lo"), Text(text=" 🙂"))

    assert found.text == "Hello 🙂"
    assert found


def test_the_text_can_be_asked_for_again_and_again_between_pieces() -> None:
    found = Transcript()
    for number in range(5):
        found.add_text(str(number))
        assert found.text == found.text == "01234"[: number + 1]


def test_reasoning_stands_apart_from_the_text() -> None:
    found = Transcript()
    found.apply(Frame(EventId(1, 1), Kind.REASONING, encode(Text(text="hm"))))
    found.apply(Frame(EventId(1, 2), Kind.DELTA, encode(Text(text="yes"))))
    found.apply(Frame(EventId(1, 3), Kind.REASONING, encode(Text(text=", hm"))))

    assert (found.text, found.reasoning) == ("yes", "hm, hm")


def test_reasoning_alone_is_something() -> None:
    found = Transcript()
    found.add_reasoning("hm")

    assert found


def test_pieces_of_a_tool_call_are_joined_by_their_index() -> None:
    found = added(
        ToolCall(index=1, id="call_b", name="second"),
        ToolCall(index=0, id="call_a", name="first", arguments="{"),
        ToolCall(index=1, arguments="[]"),
        ToolCall(index=0, arguments="}"),
    )

    assert found
    assert found.tool_calls == [
        {"index": 0, "id": "call_a", "name": "first", "arguments": "{}"},
        {"index": 1, "id": "call_b", "name": "second", "arguments": "[]"},
    ]
    assert json.loads(found.tool_calls_json() or "") == found.tool_calls


def test_an_id_that_comes_late_is_taken_and_one_that_is_left_out_kept() -> None:
    found = added(ToolCall(index=0, name="find"), ToolCall(index=0, id="call_1"), ToolCall(index=0))

    assert found.tool_calls == [{"index": 0, "id": "call_1", "name": "find", "arguments": ""}]


def test_started_clears_everything() -> None:
    found = added(Text(text="old"), ToolCall(index=0, arguments="{"), started(2))
    found.add_text("new")

    assert (found.text, found.tool_calls) == ("new", [])


def test_a_snapshot_replaces_everything_and_deltas_go_on_from_it() -> None:
    calls = [{"index": 2, "id": "call_2", "name": "find", "arguments": "{"}]
    found = added(
        Text(text="old"),
        ToolCall(index=0, arguments="old"),
        Snapshot(text="new", reasoning="hm", tool_calls=calls),
        Text(text=" text"),
        ToolCall(index=2, arguments="}"),
    )

    assert (found.text, found.reasoning) == ("new text", "hm")
    assert found.tool_calls == [{"index": 2, "id": "call_2", "name": "find", "arguments": "{}"}]


def test_an_empty_snapshot_leaves_nothing() -> None:
    assert not added(Text(text="old"), ToolCall(index=0), Snapshot(text=""))


@pytest.mark.parametrize("payload", [Waiting(reason="overloaded", retry_after=1.0), Queued(position=1), DONE])
def test_events_without_content_change_nothing(payload: msgspec.Struct) -> None:
    assert added(Text(text="a"), payload, Text(text="b")).text == "ab"


def test_a_kind_of_a_later_version_changes_nothing() -> None:
    found = added(Text(text="a"))
    found.apply(Frame(EventId(1, 9), "later", b'{"text":"b"}'))

    assert found.text == "a"


def test_what_is_empty_is_left_out_of_a_snapshot() -> None:
    assert snapshot_of("a", "", []) == Snapshot(text="a")
    assert Transcript().snapshot() == b'{"text":""}'


def test_a_snapshot_of_a_transcript_gives_it_back() -> None:
    found = added(Text(text="a\u2028"), ToolCall(index=3, id="call", name="find", arguments="{}"))
    found.add_reasoning("hm")
    again = Transcript()
    again.apply(Frame(EventId(1, 1), Kind.SNAPSHOT, found.snapshot()))

    assert (again.text, again.reasoning, again.tool_calls) == (found.text, found.reasoning, found.tool_calls)


def test_the_text_of_one_run_is_never_mixed_with_anothers() -> None:
    log = (
        frames(started(1), Text(text="one"))
        + frames(started(2), Text(text="two"), run=2)
        + frames(Text(text="!"), first=9)
    )

    assert transcript_of_run(log, 1).text == "one!"
    assert transcript_of_run(log, 2).text == "two"
    assert not transcript_of_run(log, 3)


def test_what_stands_in_a_row_is_taken_as_it_is() -> None:
    calls = '[{"index":2,"id":"call","name":"find","arguments":"{}"}]'
    found = transcript_of_row(Generation(text="so far", reasoning="hm", tool_calls=calls))

    assert (found.text, found.reasoning, found.tool_calls_json()) == ("so far", "hm", calls)
    assert not transcript_of_row(Generation())


PIECES = st.lists(
    st.one_of(
        st.text(max_size=5).map(lambda text: Text(text=text)),
        st.builds(ToolCall, index=st.integers(0, 3), arguments=st.text(max_size=3)),
        st.text(max_size=5).map(lambda text: Snapshot(text=text)),
    ),
    max_size=12,
)


@given(PIECES, st.integers(0, 12))
def test_a_snapshot_at_any_place_changes_nothing(pieces: list[msgspec.Struct], cut: int) -> None:
    whole = added(*pieces)
    healed = Transcript()
    healed.add_text("what a viewer showed before")
    healed.apply(Frame(EventId(1, 0), Kind.SNAPSHOT, added(*pieces[:cut]).snapshot()))
    for frame in frames(*pieces[cut:]):
        healed.apply(frame)

    assert (healed.text, healed.tool_calls) == (whole.text, whole.tool_calls)
