"""Who works on a generation: one claim among many, a lease kept by its run, given back, put back, restarted."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from models.database import database, read_now
from models.generation import Generation, Status
from models.ownership import (
    RENEWAL_ROWS,
    Held,
    claim,
    give_back,
    put_back,
    renew,
    request_cancel,
    restart_run,
    still_holds,
)
from models.route import Route
from models.settings import Settings
from tests.models.rows import ROUTE, changed, pass_seconds, queued, reread, running

LEASE_SECONDS = 9.0

pytestmark = pytest.mark.usefixtures("database")

Move = Callable[[float], None]


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch) -> Move:
    """Moves the database's clock on."""
    return lambda seconds: pass_seconds(monkeypatch, seconds)


def claimed(row: Generation, worker: str = "worker", *, judge_leases: bool = True) -> Generation | None:
    return claim(row.id, worker, LEASE_SECONDS, judge_leases=judge_leases)


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What `work(0)` to `work(count - 1)` give, all let go at one moment in threads of their own."""
    together = threading.Barrier(count)

    def one(number: int) -> Any:
        try:
            together.wait(10)
            return work(number)
        finally:
            database.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


# Claiming


def test_a_claim_takes_a_queued_generation_under_its_first_run(settings: Settings) -> None:
    row = queued(settings)

    found = claimed(row, "worker_a")

    assert found is not None
    assert (found.status, found.run, found.worker, found.crashes) == (Status.RUNNING, 1, "worker_a", 0)
    assert (found.id, found.message, found.text) == (row.id, "hello", "")
    assert LEASE_SECONDS - 1 < found.lease_until - read_now() <= LEASE_SECONDS
    assert found.claimed_at is not None
    assert reread(row).run == 1


def test_a_claim_among_many_is_won_once(settings: Settings) -> None:
    row = queued(settings)

    found = at_once(12, lambda number: claimed(row, f"worker_{number}"))

    winners = [each for each in found if each is not None]
    assert len(winners) == 1
    assert reread(row).worker == winners[0].worker
    assert reread(row).run == 1


def test_an_expired_lease_among_many_is_won_once_and_is_one_crash(settings: Settings, move: Move) -> None:
    row = running(settings)
    move(LEASE_SECONDS + 1)

    found = at_once(12, lambda number: claimed(row, f"worker_{number}"))

    assert sum(each is not None for each in found) == 1
    assert (reread(row).run, reread(row).crashes) == (2, 1)


def test_nothing_is_claimed_where_there_is_no_such_row() -> None:
    assert claim("none", "worker", LEASE_SECONDS, judge_leases=True) is None


def test_what_runs_under_a_lease_is_not_to_be_had(settings: Settings, move: Move) -> None:
    row = running(settings)
    move(LEASE_SECONDS - 1)

    assert claimed(row, "another") is None
    assert reread(row).worker == "worker"


def test_a_new_claim_begins_with_nothing_of_the_run_before(settings: Settings, move: Move) -> None:
    row = running(settings, text="half", reasoning="hm", tool_calls="[]", checkpoint_id="1-7", enqueues=3)
    move(LEASE_SECONDS + 1)

    found = claimed(row)

    assert found is not None
    assert (found.text, found.reasoning, found.tool_calls, found.checkpoint_id) == ("", "", None, None)
    assert found.enqueues == 0


def test_a_lease_is_not_judged_by_who_may_not(settings: Settings, move: Move) -> None:
    row = running(settings)
    move(LEASE_SECONDS + 1)

    assert claimed(row, judge_leases=False) is None
    assert claimed(queued(settings), judge_leases=False) is not None


def test_an_expired_lease_is_left_to_the_sweeper_where_text_is_to_be_kept(settings: Settings, move: Move) -> None:
    row = running(settings, route=Route(model="demo:echo", on_worker_lost="keep_partial"))
    move(LEASE_SECONDS + 1)

    assert claimed(row) is None


def test_the_crashes_allowed_are_the_runs_that_may_die(settings: Settings, move: Move) -> None:
    row = queued(settings, route=Route(model="demo:echo", max_crashes=3))

    runs = []
    while (found := claimed(row)) is not None:
        runs.append((found.run, found.crashes))
        move(LEASE_SECONDS + 1)

    assert runs == [(1, 0), (2, 1), (3, 2)]


def test_one_crash_allowed_is_one_run(settings: Settings, move: Move) -> None:
    row = running(settings, route=Route(model="demo:echo", max_crashes=1))
    move(LEASE_SECONDS + 1)

    assert claimed(row) is None


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_what_is_cancelled_is_not_claimed(settings: Settings, move: Move, status: Status) -> None:
    row = queued(settings) if status is Status.QUEUED else running(settings)
    move(LEASE_SECONDS + 1)
    request_cancel(row.id)

    assert claimed(row) is None


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_what_is_past_its_deadline_is_not_claimed(settings: Settings, move: Move, status: Status) -> None:
    row = queued(settings) if status is Status.QUEUED else running(settings)
    move(settings.deadline_seconds + 1)

    assert claimed(row) is None


@pytest.mark.parametrize("status", [Status.DONE, Status.INCOMPLETE, Status.ERROR, Status.CANCELLED])
def test_what_has_ended_is_not_claimed(settings: Settings, move: Move, status: Status) -> None:
    row = running(settings, status=status)
    move(LEASE_SECONDS + 1)

    assert claimed(row) is None
    assert reread(row).status == status


# Renewing


def held(row: Generation, text: str | None = None, checkpoint: str | None = None) -> Held:
    return Held(row.id, row.run, text, None if text is None else "hm", None if text is None else "[]", checkpoint)


def test_a_renewal_moves_the_lease_on(settings: Settings, move: Move) -> None:
    row = running(settings)
    move(LEASE_SECONDS - 1)

    assert renew([held(row)], LEASE_SECONDS) == {row.id: False}
    move(LEASE_SECONDS - 1)
    assert claimed(row, "another") is None


def test_a_renewal_is_guarded_by_the_run_and_not_by_the_lease(settings: Settings, move: Move) -> None:
    row = running(settings)
    move(100 * LEASE_SECONDS)

    assert renew([held(row)], LEASE_SECONDS) == {row.id: False}
    assert reread(row).lease_until > read_now()


def test_who_was_overtaken_does_not_renew_and_writes_nothing(settings: Settings, move: Move) -> None:
    row = running(settings)
    move(LEASE_SECONDS + 1)
    newer = claimed(row, "another")
    assert newer is not None

    assert renew([held(row, "old", "1-9")], LEASE_SECONDS) == {}
    assert (reread(row).text, reread(row).checkpoint_id) == ("", None)
    assert reread(row).lease_until == newer.lease_until


@pytest.mark.parametrize("status", [Status.QUEUED, Status.DONE, Status.CANCELLED])
def test_what_does_not_run_any_more_is_not_renewed(settings: Settings, status: Status) -> None:
    row = running(settings, status=status, text="kept", lease_until=0)

    assert renew([held(row, "old", "1-9")], LEASE_SECONDS) == {}
    assert (reread(row).text, reread(row).lease_until) == ("kept", 0)


def test_a_renewal_stores_the_text_that_it_brings(settings: Settings) -> None:
    row = running(settings)

    renew([held(row, "so far ü 🙂", "1-7")], LEASE_SECONDS)
    stored = reread(row)
    assert (stored.text, stored.reasoning, stored.tool_calls, stored.checkpoint_id) == (
        "so far ü 🙂",
        "hm",
        "[]",
        "1-7",
    )

    renew([held(row)], LEASE_SECONDS)
    assert (reread(row).text, reread(row).checkpoint_id) == ("so far ü 🙂", "1-7")


def test_a_renewal_brings_back_who_was_cancelled(settings: Settings) -> None:
    rows = [running(settings) for _ in range(3)]
    request_cancel(rows[1].id)

    found = renew([held(row, "x", "1-1") for row in rows], LEASE_SECONDS)

    assert found == {rows[0].id: False, rows[1].id: True, rows[2].id: False}


def test_a_renewal_without_anything_held_is_none() -> None:
    assert renew([], LEASE_SECONDS) == {}


def test_more_rows_than_one_statement_takes_are_all_renewed(settings: Settings, move: Move) -> None:
    row = running(settings)
    columns = {name: value for name, value in row.__data__.items() if name not in ("id", "conversation")}
    copies = [{**columns, "id": f"copy-{number}", "conversation": None} for number in range(RENEWAL_ROWS + 7)]
    with database.atomic():
        for start in range(0, len(copies), 200):
            Generation.insert_many(copies[start : start + 200]).execute()
    move(LEASE_SECONDS + 1)

    found = renew([Held(copy["id"], 1, f"text of {copy['id']}", "", None, "1-1") for copy in copies], LEASE_SECONDS)

    assert len(found) == len(copies)
    assert Generation.get_by_id(copies[-1]["id"]).text == f"text of {copies[-1]['id']}"


def test_who_holds_is_told_so(settings: Settings, move: Move) -> None:
    row = running(settings)
    move(LEASE_SECONDS + 1)
    assert still_holds(row.id, 1)

    claimed(row, "another")
    assert not still_holds(row.id, 1)
    assert still_holds(row.id, 2)
    changed(row, status=Status.DONE)
    assert not still_holds(row.id, 2)


# Giving up


def test_what_is_given_back_waits_again_without_a_crash(settings: Settings) -> None:
    row = running(settings, text="half")

    assert give_back(row.id, row.run)

    found = reread(row)
    assert (found.status, found.run, found.crashes, found.enqueues) == (Status.QUEUED, 1, 0, 0)
    assert found.enqueue_at <= read_now()
    assert found.text == "half"  # what a cancel before the next claim keeps
    again = claimed(row, judge_leases=False)
    assert again is not None
    assert (again.run, again.crashes) == (2, 0)


def test_only_the_holder_gives_back(settings: Settings) -> None:
    row = running(settings)

    assert not give_back(row.id, row.run + 1)
    assert not give_back(row.id, row.run - 1)
    assert give_back(row.id, row.run)
    assert not give_back(row.id, row.run)


def test_what_lost_its_worker_is_put_back_with_a_crash(settings: Settings, move: Move) -> None:
    row = running(settings)
    move(LEASE_SECONDS + 1)

    assert put_back(row.id, row.run, 4.0)

    found = reread(row)
    assert (found.status, found.run, found.crashes, found.enqueues) == (Status.QUEUED, 1, 1, 1)
    assert 3 < found.enqueue_at - read_now() <= 4


def test_a_lost_worker_is_one_crash_however_many_see_it(settings: Settings, move: Move) -> None:
    row = running(settings)
    move(LEASE_SECONDS + 1)

    assert sorted(at_once(8, lambda _: put_back(row.id, row.run, 4.0))) == [False] * 7 + [True]
    assert reread(row).crashes == 1


def test_what_still_lives_is_not_put_back(settings: Settings, move: Move) -> None:
    row = running(settings)
    assert not put_back(row.id, row.run, 4.0)

    move(LEASE_SECONDS + 1)
    assert not put_back(row.id, row.run + 1, 4.0)
    assert reread(row).status == Status.RUNNING


# Cancelling


@pytest.mark.parametrize("make", [queued, running])
def test_a_cancel_is_noted_in_what_is_open(settings: Settings, make: Callable[[Settings], Generation]) -> None:
    row = make(settings)

    found = request_cancel(row.id)

    assert found is not None
    assert found.cancel_requested_at is not None
    assert found.status == row.status


def test_a_second_cancel_changes_nothing(settings: Settings, move: Move) -> None:
    row = running(settings)
    first = request_cancel(row.id)
    move(5)
    second = request_cancel(row.id)

    assert first is not None
    assert second is not None
    assert first.cancel_requested_at == second.cancel_requested_at


def test_a_cancel_of_what_has_ended_is_too_late(settings: Settings) -> None:
    row = running(settings, status=Status.DONE)

    found = request_cancel(row.id)

    assert found is not None
    assert (found.status, found.cancel_requested_at) == (Status.DONE, None)


def test_a_cancel_of_nothing_is_none() -> None:
    assert request_cancel("none") is None


# The holder's own next run


def restarted(row: Generation) -> Generation | None:
    return restart_run(row.id, row.run, LEASE_SECONDS)


def test_a_restart_is_the_next_run_with_nothing_of_the_one_before(settings: Settings) -> None:
    row = running(settings, text="half", reasoning="hm", tool_calls="[]", checkpoint_id="1-3", calls=1)

    found = restarted(row)

    assert found is not None
    assert (found.run, found.status, found.worker, found.crashes, found.calls) == (2, Status.RUNNING, "worker", 0, 1)
    assert (found.text, found.reasoning, found.tool_calls, found.checkpoint_id) == ("", "", None, None)
    assert found.lease_until > read_now()


def test_a_restart_is_the_holders_alone(settings: Settings, move: Move) -> None:
    row = running(settings)
    move(LEASE_SECONDS + 1)
    claimed(row, "another")

    assert restarted(row) is None
    assert reread(row).run == 2


@pytest.mark.parametrize("status", [Status.QUEUED, Status.DONE])
def test_what_does_not_run_is_not_restarted(settings: Settings, status: Status) -> None:
    assert restarted(running(settings, status=status)) is None


def test_a_restart_needs_a_call_that_is_left(settings: Settings) -> None:
    row = running(settings, route=Route(model=ROUTE.model, max_calls=2), calls=2)

    assert restarted(row) is None
    assert restarted(changed(row, calls=1)) is not None


def test_what_is_cancelled_or_past_its_deadline_is_not_restarted(settings: Settings, move: Move) -> None:
    cancelled, late = running(settings), running(settings)
    request_cancel(cancelled.id)
    assert restarted(cancelled) is None

    move(settings.deadline_seconds + 1)
    assert restarted(late) is None
