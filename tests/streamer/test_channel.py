"""One generation's frames in a process, and the cursors of those who read them."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from models.event import Done, EventId, Frame, Kind, Started, Text, encode
from models.generation import Generation, digest
from streamer.channel import WRITE_BYTES, Channel, Viewer
from streamer.sse import encode_frame
from tests.streamer.frames import Event, ids, parse, shown

STARTED = Frame(EventId(1, 0), Kind.STARTED, encode(Started(run=1, provider="p", model="m")))


def delta(seq: int, text: str = "x", run: int = 1) -> Frame:
    return Frame(EventId(run, seq), Kind.DELTA, encode(Text(text=text)))


def done(seq: int, run: int = 1) -> Frame:
    payload = Done(
        status="done",
        finish_reason="stop",
        provider="p",
        model="m",
        usage=None,
        cost_micros=None,
        sha256=digest(""),
        length=0,
        cached=False,
    )
    return Frame(EventId(run, seq), Kind.DONE, encode(payload))


def ended_row(text: str = "whole", terminal_id: str | None = "1-9", **columns: Any) -> Generation:
    values: dict[str, Any] = {"status": "done", "finish_reason": "stop", "provider": "p", "model": "m"}
    row: Any = Generation
    found: Generation = row(id="g", text=text, terminal_id=terminal_id, **(values | columns))
    return found


@pytest.fixture
def channel() -> Channel:
    return Channel("g")


@pytest.fixture
def join(channel: Channel) -> Callable[..., Viewer]:
    """Adds a viewer after a cursor, as the hub does."""

    def join(cursor: EventId | None = None) -> Viewer:
        viewer = Viewer(channel, cursor)
        channel.viewers.add(viewer)
        viewer.place()
        return viewer

    return join


def read(viewer: Viewer) -> list[Event]:
    """All that is there for the viewer now, in as many writes as it takes."""
    found: list[Event] = []
    while True:
        data, last = viewer.take()
        found += parse(data)
        if last or not data:
            return found


def test_a_viewer_reads_everything_in_order_and_then_what_comes(channel: Channel, join: Callable[..., Viewer]) -> None:
    channel.extend([STARTED, delta(1, "a")])
    viewer = join()

    assert ids(read(viewer)) == ["1-0", "1-1"]
    assert viewer.take() == (b"", False)

    channel.extend([delta(2, "b"), done(3)])
    assert ids(read(viewer)) == ["1-2", "1-3"]


@pytest.mark.parametrize("seq", range(5))
def test_a_cursor_gets_exactly_the_rest(channel: Channel, join: Callable[..., Viewer], seq: int) -> None:
    channel.extend([STARTED, *(delta(each) for each in range(1, 4)), done(4)])

    assert ids(read(join(EventId(1, seq)))) == [f"1-{each}" for each in range(seq + 1, 5)]


def test_a_cursor_between_two_events_gets_those_after_it(channel: Channel, join: Callable[..., Viewer]) -> None:
    channel.extend([STARTED, delta(5), Frame(EventId(2, 0), Kind.STARTED, STARTED.data), delta(1, run=2)])

    assert ids(read(join(EventId(1, 3)))) == ["1-5", "2-0", "2-1"]
    assert ids(read(join(EventId(1, 999)))) == ["2-0", "2-1"]
    assert ids(read(join(EventId(0, 5)))) == ["1-0", "1-5", "2-0", "2-1"]


def test_a_cursor_beyond_the_tail_is_told_everything_again(channel: Channel, join: Callable[..., Viewer]) -> None:
    channel.extend([STARTED, delta(1)])

    assert ids(read(join(EventId(1, 2)))) == ["1-0", "1-1"]
    assert ids(read(join(EventId(9, 0)))) == ["1-0", "1-1"]


def test_a_viewer_of_nothing_waits(channel: Channel, join: Callable[..., Viewer]) -> None:
    assert channel.tail is None
    assert join().take() == join(EventId(1, 1)).take() == (b"", False)


def test_what_is_not_newer_than_the_tail_is_dropped(channel: Channel, join: Callable[..., Viewer]) -> None:
    channel.extend([STARTED, delta(1, "a"), delta(2, "b")])
    channel.extend([STARTED, delta(1, "other"), delta(2, "other"), delta(3, "c")])
    channel.extend([delta(3, "other")])
    channel.extend([])

    events = read(join())
    assert ids(events) == ["1-0", "1-1", "1-2", "1-3"]
    assert shown(events) == "abc"


def test_an_end_is_the_last_write_however_late_a_viewer_comes(channel: Channel, join: Callable[..., Viewer]) -> None:
    channel.extend([STARTED, delta(1), done(2)])

    assert channel.ended
    _, last = join().take()
    assert last
    assert join(EventId(1, 2)).take() == (b"", True)


def test_a_write_holds_whole_frames_of_at_most_64_kb(channel: Channel, join: Callable[..., Viewer]) -> None:
    channel.extend([STARTED, *(delta(seq, str(seq) * 5_000) for seq in range(1, 60)), done(60)])
    viewer, writes, last = join(), [], False

    while not last:
        data, last = viewer.take()
        writes.append(data)

    assert ids([event for data in writes for event in parse(data)]) == [f"1-{seq}" for seq in range(61)]
    assert max(map(len, writes)) <= WRITE_BYTES == 64 * 1024
    assert len(writes) == len(b"".join(writes)) // WRITE_BYTES + 1


def test_an_event_larger_than_a_write_goes_alone_and_whole(channel: Channel, join: Callable[..., Viewer]) -> None:
    large = delta(2, "y" * 200_000)
    channel.extend([STARTED, delta(1), large, delta(3)])
    viewer = join()

    assert [viewer.take()[0] for _ in range(4)] == [
        encode_frame(STARTED) + encode_frame(delta(1)),
        encode_frame(large),
        encode_frame(delta(3)),
        b"",
    ]


def test_a_frame_is_encoded_once_for_all_viewers(channel: Channel, join: Callable[..., Viewer]) -> None:
    frame = delta(1, "z" * WRITE_BYTES)
    channel.extend([frame])

    one, other = join().take()[0], join().take()[0]

    assert one is other


def test_a_row_that_ended_tells_everything_at_once_with_the_cursor_of_nothing(
    channel: Channel, join: Callable[..., Viewer]
) -> None:
    channel.extend([STARTED, delta(1, "who")])
    early = join()
    read(early)
    channel.end_from_row(ended_row("whole", "1-9"))

    for viewer in (early, join(), join(EventId(1, 1)), join(EventId(1, 9)), join(EventId(7, 7))):
        data, last = viewer.take()
        snapshot, end = parse(data)
        assert last
        assert (snapshot.id, snapshot.kind, snapshot.data) == ("0-0", "snapshot", {"text": "whole"})
        assert (end.id, end.kind, end.data["sha256"]) == ("1-9", "done", digest("whole"))


def test_a_log_that_ends_as_the_row_says_is_left_as_it_is(channel: Channel, join: Callable[..., Viewer]) -> None:
    channel.extend([STARTED, delta(1, "a"), done(2)])
    channel.end_from_row(ended_row("a", "1-2"))

    assert ids(read(join())) == ["1-0", "1-1", "1-2"]


def test_a_log_that_ends_otherwise_gives_way_to_the_row(channel: Channel, join: Callable[..., Viewer]) -> None:
    channel.extend([STARTED, delta(1, "a"), done(2)])
    channel.end_from_row(ended_row("b", "2-1"))

    events = read(join())
    assert ids(events) == ["0-0", "2-1"]
    assert shown(events) == "b"


def test_a_row_without_an_end_ends_nothing(channel: Channel, join: Callable[..., Viewer]) -> None:
    channel.end_from_row(ended_row("", None, status="running"))

    assert not channel.ended
    assert join().take() == (b"", False)


def test_a_failed_row_ends_with_its_failure_and_the_text_kept(channel: Channel, join: Callable[..., Viewer]) -> None:
    row = ended_row("par", "2-1", status="error", error_code="crashed", error_message="m")
    channel.end_from_row(row)

    snapshot, failed = read(join())
    assert snapshot.data["text"] == "par"
    assert (failed.kind, failed.data["code"], failed.data["length"]) == ("failed", "crashed", 3)


async def test_whatever_comes_wakes_every_viewer(channel: Channel, join: Callable[..., Viewer]) -> None:
    viewers = [join() for _ in range(3)]

    async def all_awake() -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(*(viewer.wait() for viewer in viewers))

    channel.extend([STARTED])
    await all_awake()
    channel.end_from_row(ended_row())
    await all_awake()
    channel.wake()
    await all_awake()


async def test_a_viewer_sleeps_until_it_is_woken(channel: Channel, join: Callable[..., Viewer]) -> None:
    viewer = join()
    waiting = asyncio.create_task(viewer.wait())
    await asyncio.sleep(0)
    assert not waiting.done()

    viewer.wake()
    await waiting
    again = asyncio.create_task(viewer.wait())
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()


def test_the_first_reason_to_close_counts(join: Callable[..., Viewer]) -> None:
    viewer = join()
    viewer.close("auth_expired", reconnect=False)
    viewer.close("draining", reconnect=True)

    assert viewer.closing == ("auth_expired", False)
