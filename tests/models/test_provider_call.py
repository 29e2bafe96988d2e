"""The ledger: a line for every call, within the cap, settled whoever holds the generation by then."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.database import database, read_now
from models.event import Usage
from models.generation import Generation, Status
from models.ownership import claim, give_back
from models.provider_call import ProviderCall, begin_call, end_call, end_lost_calls
from models.route import Route
from models.settings import Settings
from tests.models.rows import ROUTE, SENT, changed, queued, reread, running

pytestmark = pytest.mark.usefixtures("database")


def begun(row: Generation) -> int | None:
    return begin_call(row.id, row.run, "openai", "gpt-4o", SENT)


def line(row: Generation, number: int) -> ProviderCall:
    return ProviderCall.get(ProviderCall.generation_id == row.id, ProviderCall.number == number)


def test_a_call_is_written_down_before_it_starts(settings: Settings) -> None:
    row = running(settings)

    assert begun(row) == 1

    found = line(row, 1)
    assert (found.run, found.provider, found.model, found.outcome) == (1, "openai", "gpt-4o", "running")
    assert abs(found.started_at - read_now()) < 5
    assert (found.ended_at, found.usage_source) == (None, None)


def test_a_call_is_counted_and_the_generation_says_who_answers(settings: Settings) -> None:
    row = running(settings)
    begun(row)

    assert (reread(row).calls, reread(row).provider, reread(row).model) == (1, "openai", "gpt-4o")


def test_calls_are_numbered_over_all_runs(settings: Settings) -> None:
    row = running(settings)
    begun(row)
    give_back(row.id, row.run)
    newer = claim(row.id, "another", 9.0, judge_leases=True)
    assert newer is not None

    assert begun(newer) == 2
    assert [(each.number, each.run) for each in ProviderCall.select().order_by(ProviderCall.number)] == [(1, 1), (2, 2)]


def test_no_call_starts_beyond_the_cap(settings: Settings) -> None:
    row = running(settings, route=Route(model=ROUTE.model, max_calls=2))

    assert [begun(row) for _ in range(4)] == [1, 2, None, None]
    assert reread(row).calls == ProviderCall.select().count() == 2


def test_the_cap_holds_for_many_at_once(settings: Settings) -> None:
    row = running(settings, route=Route(model=ROUTE.model, max_calls=3))
    together = threading.Barrier(8)

    def one(_: int) -> int:
        together.wait(10)
        try:
            return begun(row) or 0
        finally:
            database.close()

    with ThreadPoolExecutor(8) as pool:
        numbers = sorted(pool.map(one, range(8)))

    assert numbers == [0, 0, 0, 0, 0, 1, 2, 3]


def test_no_call_starts_for_a_run_that_is_over(settings: Settings) -> None:
    row = running(settings)

    assert begin_call(row.id, row.run + 1, "openai", "gpt-4o", SENT) is None
    assert begun(changed(row, run=2)) == 1
    assert begin_call(row.id, 1, "openai", "gpt-4o", SENT) is None
    assert begun(changed(row, status=Status.DONE)) is None
    assert begun(queued(settings)) is None
    assert ProviderCall.select().count() == 1


def test_a_call_is_settled(settings: Settings) -> None:
    row = running(settings)
    begun(row)
    usage = Usage(input=5, cached=1, cache_write=2, output=7, reasoning=3, source="estimated")

    end_call(row.id, 1, "error", "provider_timeout", usage)

    found = line(row, 1)
    assert (found.outcome, found.error_code, found.usage_source) == ("error", "provider_timeout", "estimated")
    tokens = (found.input_tokens, found.cached_tokens, found.cache_write_tokens)
    assert (*tokens, found.output_tokens, found.reasoning_tokens) == (5, 1, 2, 7, 3)
    assert found.ended_at is not None


def test_a_call_whose_usage_is_unknown_says_so(settings: Settings) -> None:
    row = running(settings)
    begun(row)

    end_call(row.id, 1, "cancelled", None, None)

    assert (line(row, 1).outcome, line(row, 1).input_tokens, line(row, 1).usage_source) == ("cancelled", None, None)


def test_a_call_is_settled_although_its_generation_belongs_to_another_run(settings: Settings) -> None:
    row = running(settings)
    begun(row)
    changed(row, run=5, status=Status.CANCELLED)

    end_call(row.id, 1, "done", None, Usage(input=1, output=1))

    assert line(row, 1).outcome == "done"


def test_a_settled_call_leaves_the_others_alone(settings: Settings) -> None:
    rows = [running(settings), running(settings)]
    for row in rows:
        begun(row)
        begun(row)

    end_call(rows[0].id, 2, "done", None, None)

    assert [line(row, number).outcome for row in rows for number in (1, 2)] == ["running", "done", "running", "running"]


def test_calls_of_a_lost_worker_are_settled_and_those_that_are_over_left_alone(settings: Settings) -> None:
    row, other = running(settings), running(settings)
    for each in (row, row, other):
        begun(each)
    end_call(row.id, 1, "done", None, Usage(output=5))
    begun(changed(row, run=2))

    end_lost_calls(row.id, 1, Usage(input=1, output=2, source="estimated"))

    assert [line(row, number).outcome for number in (1, 2, 3)] == ["done", "lost", "running"]
    assert (line(row, 1).output_tokens, line(row, 2).output_tokens) == (5, 2)
    assert line(other, 1).outcome == "running"


def test_a_worker_that_was_given_up_and_lives_on_has_the_last_word(settings: Settings) -> None:
    row = running(settings)
    begun(row)
    end_lost_calls(row.id, 1, Usage(input=1, output=2, source="estimated"))

    end_call(row.id, 1, "done", None, Usage(input=3, output=4))

    assert (line(row, 1).outcome, line(row, 1).output_tokens, line(row, 1).usage_source) == ("done", 4, "provider")


def test_the_lines_stay_when_their_generation_is_erased(settings: Settings) -> None:
    row = running(settings)
    begun(row)

    Generation.delete().where(Generation.id == row.id).execute()

    (line,) = ProviderCall.select()
    assert (line.tenant, line.generation_id) == (row.tenant, row.id)
