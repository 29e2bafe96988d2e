"""How many answers may be under way, of one visitor and of one tenant."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from peewee import Database

from models import open_limit
from models.admission import admit
from models.errors import Overloaded, RateLimited
from models.generation import Generation, Status
from models.open_limit import RETRY_SECONDS, Open, count_open
from models.settings import Settings
from tests.models.rows import changed, other_tenant, request, tenant_id

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(settings, max_open_per_visitor=2, max_open_per_tenant=3)


def refusal(settings: Settings, visitor: str = "visitor") -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        admit(request(visitor=visitor), settings)
    return caught.value


def test_a_visitor_may_have_so_many_answers_under_way_and_no_more(settings: Settings) -> None:
    rows = [admit(request(), settings).generation for _ in range(2)]
    stored = Generation.select().count()

    error = refusal(settings)

    assert error.extra == {"limit": "visitor_generations"}
    assert error.message.startswith("2 of your answers are still being written, and 2 may be at once; try again ")
    assert Generation.select().count() == stored
    changed(rows[0], status=Status.RUNNING)
    refusal(settings)
    changed(rows[0], status=Status.DONE)
    admit(request(), settings)


def test_a_tenant_may_have_so_many_whoever_asks(settings: Settings) -> None:
    for visitor in ("a", "b", "c"):
        admit(request(visitor=visitor), settings)

    assert refusal(settings, "d").extra == {"limit": "tenant_generations"}
    admit(request(visitor="d", tenant=other_tenant()), settings)


def test_who_is_refused_may_come_back_soon_and_no_later_than_an_answer_must_have_ended(settings: Settings) -> None:
    rows = [admit(request(), settings).generation for _ in range(2)]

    assert refusal(settings).retry_after_seconds == RETRY_SECONDS
    changed(rows[1], deadline_at=rows[1].created_at + 3)
    assert 1 <= refusal(settings).retry_after_seconds <= 3
    changed(rows[1], deadline_at=rows[1].created_at - 60)
    assert refusal(settings).retry_after_seconds == 1


def test_who_is_refused_by_answers_that_have_ended_since_may_come_back_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_limit, "count_open", lambda *_: Open(2, 2, 2))
    assert refusal(settings).retry_after_seconds == 1


def test_a_repeated_request_is_answered_whatever_is_under_way(settings: Settings) -> None:
    first = admit(request(key="k"), settings).generation
    admit(request(), settings)

    again = admit(request(key="k"), settings)

    assert (again.generation.id, again.fresh) == (first.id, False)


@pytest.mark.one_store
def test_counting_looks_at_the_open_ones_alone(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for visitor in ("visitor", "visitor", "another"):
        admit(request(visitor=visitor), settings)
    seen: list[tuple[Any, ...]] = []
    execute: Callable[..., Any] = database.execute_sql

    def note(*statement: Any) -> Any:
        seen.append(statement)
        return execute(*statement)

    monkeypatch.setattr(database, "execute_sql", note)

    assert count_open(tenant_id(), "visitor") == Open(of_visitor=2, of_tenant=3, of_all=3)
    sql, parameters, *_ = seen[-1]
    plan = [step[3] for step in execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()]
    of_tenant, _, of_all = plan
    assert of_tenant == "SEARCH t1 USING INDEX generation_open_of_visitor (tenant_id=? AND visitor>?)"
    assert of_all.startswith("SCAN t2 USING INDEX generation_open")


def test_the_service_takes_so_many_and_no_more_of_all_tenants(settings: Settings) -> None:
    busy = dataclasses.replace(settings, max_open=2)
    first = admit(request(), busy).generation
    admit(request(tenant=other_tenant()), busy)

    with pytest.raises(Overloaded, match="As many answers wait as the service takes; nothing was stored") as told:
        admit(request(visitor="another"), busy)

    assert told.value.retry_after_seconds == RETRY_SECONDS
    changed(first, status=Status.CANCELLED, finished_at=1.0, terminal_id="1-1", finish_reason="cancelled")
    assert admit(request(visitor="another"), busy).fresh
