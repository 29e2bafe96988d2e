"""How a generation ends: in the row once and for good, and in the events that are made from the row alone."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from models import errors
from models.database import read_now
from models.ending import Ending, end_unheld, finish, mark_published, missing_frames, snapshot_event, terminal_event
from models.event import Done, EventId, Failed, Frame, Kind, Snapshot, Usage, decode
from models.generation import Generation, Status
from models.ownership import claim, request_cancel
from models.settings import Settings
from models.transcript import Transcript
from tests.models.rows import pass_seconds, queued, reread, running

DONE = Ending(status=Status.DONE, finish_reason="stop", usage=Usage(input=11, output=3, cached=2))
FAILED = Ending(status=Status.ERROR, failure=errors.ProviderTimeout("It took too long."))
TERMINAL = EventId(1, 7)

pytestmark = pytest.mark.usefixtures("database")

Lapse = Callable[[Generation], None]


@pytest.fixture
def lapse(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Lapse:
    """Lets the lease of a row run out."""
    return lambda _: pass_seconds(monkeypatch, settings.lease_seconds + 1)


def finished(
    row: Generation, ending: Ending = DONE, terminal: EventId = TERMINAL, text: str = "answer", **more: Any
) -> Generation | None:
    contents = {"reasoning": "", "tool_calls": None} | more
    return finish(row.id, row.run, ending, terminal=terminal, text=text, **contents)


def ended_unheld(row: Generation, ending: Ending = FAILED, text: str = "") -> Generation | None:
    return end_unheld(row, ending, text=text, reasoning="hm", tool_calls="[]")


# The holder's end


def test_the_holders_end_is_stored_whole(settings: Settings) -> None:
    row = running(settings, text="half")

    found = finished(row, reasoning="hm", tool_calls='[{"index":0}]')

    assert found is not None
    assert found == reread(row)
    assert (found.status, found.finish_reason, found.error_code) == (Status.DONE, "stop", None)
    assert (found.text, found.reasoning, found.tool_calls) == ("answer", "hm", '[{"index":0}]')
    assert (found.terminal, found.terminal_published, found.run) == (TERMINAL, False, 1)
    assert found.usage == Usage(input=11, output=3, cached=2)
    assert found.tool_call_list == [{"index": 0}]
    assert found.finished_at is not None
    assert abs(found.finished_at - read_now()) < 5
    assert found.ended


def test_a_failure_is_stored_with_its_code_and_its_words(settings: Settings) -> None:
    found = finished(running(settings), FAILED, text="")

    assert found is not None
    assert (found.status, found.error_code, found.error_message) == (
        Status.ERROR,
        "provider_timeout",
        "It took too long.",
    )
    assert found.usage is None


def test_an_end_repeated_after_a_lost_reply_gives_what_was_committed(settings: Settings) -> None:
    row = running(settings)
    first = finished(row)

    again = finished(row, FAILED, EventId(1, 9), text="something else")

    assert first is not None
    assert again is not None
    assert again.__data__ == first.__data__ == reread(row).__data__


def test_who_was_overtaken_ends_nothing(settings: Settings, lapse: Lapse) -> None:
    row = running(settings)
    lapse(row)
    claim(row.id, "another", settings.lease_seconds, judge_leases=True)

    assert finished(row) is None
    assert (reread(row).status, reread(row).text) == (Status.RUNNING, "")


def test_who_was_overtaken_does_not_take_anothers_end_for_its_own(settings: Settings, lapse: Lapse) -> None:
    row = running(settings)
    lapse(row)
    newer = claim(row.id, "another", settings.lease_seconds, judge_leases=True)
    assert newer is not None
    assert finished(newer, terminal=EventId(2, 3), text="the newer's") is not None

    assert finished(row) is None
    assert reread(row).text == "the newer's"


def test_what_was_given_back_is_not_ended_by_who_held_it(settings: Settings) -> None:
    assert finished(running(settings, status=Status.QUEUED)) is None


def test_an_expired_lease_alone_does_not_take_the_end_from_its_holder(settings: Settings, lapse: Lapse) -> None:
    row = running(settings)
    lapse(row)

    assert finished(row) is not None


def test_a_cancel_that_comes_before_the_commit_is_too_late(settings: Settings) -> None:
    row = running(settings)
    request_cancel(row.id)

    found = finished(row)

    assert found is not None
    assert found.status == Status.DONE


# An end that nobody's run makes


def test_what_waits_is_ended_under_the_next_run(settings: Settings) -> None:
    row = queued(settings)

    found = ended_unheld(row)

    assert found is not None
    assert (found.run, found.terminal, found.status) == (1, EventId(1, 1), Status.ERROR)
    assert (found.text, found.reasoning, found.tool_calls) == ("", "hm", "[]")
    assert found == reread(row)


def test_what_lost_its_worker_is_ended_under_the_next_run_so_that_the_worker_is_fenced_out(
    settings: Settings, lapse: Lapse
) -> None:
    row = running(settings)
    lapse(row)

    found = ended_unheld(row, text="half")

    assert found is not None
    assert (found.run, found.terminal, found.text) == (2, EventId(2, 1), "half")
    assert finished(row) is None
    assert reread(row).text == "half"


def test_what_is_held_is_not_ended_by_others(settings: Settings) -> None:
    row = running(settings)

    assert ended_unheld(row) is None
    assert reread(row).status == Status.RUNNING


def test_what_was_claimed_since_it_was_seen_is_not_ended(settings: Settings, lapse: Lapse) -> None:
    seen = queued(settings)
    claim(seen.id, "worker", settings.lease_seconds, judge_leases=True)
    lapse(seen)

    assert ended_unheld(seen) is None
    assert reread(seen).status == Status.RUNNING


def test_what_ended_since_it_was_seen_is_not_ended_again(settings: Settings, lapse: Lapse) -> None:
    row = running(settings)
    finished(row)
    lapse(row)

    assert ended_unheld(row) is None
    assert reread(row).text == "answer"


def test_two_who_end_the_same_get_one_end(settings: Settings) -> None:
    row = queued(settings)

    assert ended_unheld(row) is not None
    assert ended_unheld(row, DONE) is None
    assert reread(row).status == Status.ERROR


def test_what_is_said_is_noted(settings: Settings) -> None:
    row = running(settings)
    finished(row)

    mark_published(row.id)

    assert reread(row).terminal_published


# The events


def ended(settings: Settings, ending: Ending = DONE, text: str = "answer", **more: Any) -> Generation:
    found = finished(running(settings), ending, text=text, **more)
    assert found is not None
    return found


def test_the_terminal_event_is_made_from_the_row(settings: Settings) -> None:
    row = ended(settings)

    frame = terminal_event(row)

    assert (frame.id, frame.kind) == (TERMINAL, Kind.DONE)
    assert decode(frame.data, Done) == Done(
        status="done",
        finish_reason="stop",
        provider="openai",
        model="gpt-4o-mini",
        usage=Usage(input=11, output=3, cached=2),
        cost_micros=None,
        sha256=hashlib.sha256(b"answer").hexdigest(),
        length=6,
        cached=False,
    )


@pytest.mark.parametrize("status", [Status.INCOMPLETE, Status.CANCELLED])
def test_what_broke_off_is_done_with_another_status(settings: Settings, status: Status) -> None:
    frame = terminal_event(ended(settings, Ending(status=status, finish_reason="interrupted")))

    done = decode(frame.data, Done)
    assert (frame.kind, done.status, done.finish_reason, done.usage) == (Kind.DONE, status, "interrupted", None)


def test_what_failed_says_why_and_what_was_kept(settings: Settings) -> None:
    frame = terminal_event(ended(settings, FAILED, text="half ü"))

    assert frame.kind == Kind.FAILED
    assert decode(frame.data, Failed) == Failed(
        code="provider_timeout",
        message="It took too long.",
        retryable=True,
        sha256=hashlib.sha256("half ü".encode()).hexdigest(),
        length=6,
    )


@pytest.mark.parametrize(
    ("failure", "retryable"),
    [(errors.WorkerCrashed(), False), (errors.InternalFailure(), True), (errors.ProviderAuthFailed(), False)],
)
def test_whether_to_try_again_comes_from_the_code_that_is_stored(
    settings: Settings, failure: errors.GenerationFailure, retryable: bool
) -> None:
    frame = terminal_event(ended(settings, Ending(status=Status.ERROR, failure=failure)))

    assert decode(frame.data, Failed).retryable is retryable


def test_a_code_of_another_version_is_told_as_it_is(settings: Settings) -> None:
    row = ended(settings, FAILED)
    row.error_code = "of_tomorrow"

    failed = decode(terminal_event(row).data, Failed)

    assert (failed.code, failed.retryable) == ("of_tomorrow", False)


@pytest.mark.parametrize(
    ("text", "length"), [("", 0), ("abc", 3), ("äöü", 3), ("🙂🙂", 2), ("e\u0301", 2), ("\ufffd\u2028", 2)]
)
def test_length_counts_code_points_and_the_digest_is_over_utf_8(settings: Settings, text: str, length: int) -> None:
    done = decode(terminal_event(ended(settings, text=text)).data, Done)

    assert (done.length, done.sha256) == (length, hashlib.sha256(text.encode()).hexdigest())


def test_the_same_row_gives_the_same_bytes(settings: Settings) -> None:
    row = ended(settings, reasoning="hm", tool_calls='[{"index":0,"id":"a","name":"b","arguments":"{}"}]')

    assert missing_frames(row, None) == missing_frames(reread(row), None)


def test_a_snapshot_holds_everything_of_the_row(settings: Settings) -> None:
    row = ended(settings, reasoning="hm", tool_calls='[{"index":0,"id":"a","name":"b","arguments":"{}"}]')

    frame = snapshot_event(row, EventId(1, 6))

    assert (frame.id, frame.kind) == (EventId(1, 6), Kind.SNAPSHOT)
    assert decode(frame.data, Snapshot) == Snapshot(
        text="answer", reasoning="hm", tool_calls=[{"index": 0, "id": "a", "name": "b", "arguments": "{}"}]
    )


def ids(frames: list[Frame]) -> list[tuple[EventId, str]]:
    return [(frame.id, frame.kind) for frame in frames]


@pytest.mark.parametrize("tail", [EventId(1, 7), EventId(1, 8), EventId(2, 0)])
def test_a_log_that_ends_with_the_terminal_event_or_later_lacks_nothing(settings: Settings, tail: EventId) -> None:
    assert missing_frames(ended(settings), tail) == []


def test_a_log_that_ends_right_before_lacks_the_terminal_event_alone(settings: Settings) -> None:
    assert ids(missing_frames(ended(settings), EventId(1, 6))) == [(TERMINAL, Kind.DONE)]


@pytest.mark.parametrize("tail", [None, EventId(0, 5), EventId(1, 0), EventId(1, 5)])
def test_any_other_log_lacks_a_snapshot_and_the_terminal_event(settings: Settings, tail: EventId | None) -> None:
    found = missing_frames(ended(settings), tail)

    assert ids(found) == [(EventId(1, 6), Kind.SNAPSHOT), (TERMINAL, Kind.DONE)]
    viewer = Transcript()
    viewer.add_text("whatever was shown")
    viewer.apply(found[0])
    assert viewer.text == "answer"


@pytest.mark.parametrize("tail", [None, EventId(1, 0), EventId(1, 99)])
def test_an_end_that_nobody_held_always_begins_with_a_snapshot(
    settings: Settings, lapse: Lapse, tail: EventId | None
) -> None:
    row = running(settings)
    lapse(row)
    found = ended_unheld(row, text="half")
    assert found is not None

    assert ids(missing_frames(found, tail)) == [(EventId(2, 0), Kind.SNAPSHOT), (EventId(2, 1), Kind.FAILED)]


# The failures that can stand in a row


def test_every_failure_has_a_code_of_its_own_and_words_for_people() -> None:
    kinds = errors.generation_failures()

    assert {kind.code: kind for kind in kinds.values()} == kinds
    assert all(kind().message for kind in kinds.values())
    assert errors.GenerationFailure not in kinds.values()


def test_no_code_is_not_retryable() -> None:
    assert not errors.is_retryable(None)
    assert not errors.is_retryable("unheard_of")
