"""Which finished answer serves again: the newest whole one of the same tenant and request, as long as it is fresh."""

from typing import Any

import pytest
from peewee import Database

from models.answer_cache import find_answer
from models.conversation import Conversation
from models.database import now, read_now
from models.generation import Generation, Status
from models.settings import Settings
from tests.models.rows import changed, other_tenant, pass_seconds, queued

pytestmark = pytest.mark.usefixtures("database")

HASH = "a" * 64


def answer(settings: Settings, **columns: Any) -> Generation:
    """A whole answer that ended just now."""
    whole = {"status": Status.DONE, "text": "yes", "finish_reason": "stop", "input_hash": HASH, "finished_at": now()}
    return changed(queued(settings), **whole | columns)


def found(settings: Settings, seconds: float = 600.0) -> str | None:
    row = find_answer(queued(settings), HASH, seconds)
    return None if row is None else row.id


def test_a_whole_answer_serves(settings: Settings) -> None:
    assert found(settings) is None
    assert answer(settings).id == found(settings)


def test_the_newest_one_serves(settings: Settings) -> None:
    old = answer(settings, finished_at=read_now() - 60)
    new = answer(settings)

    assert found(settings) == new.id
    new.delete_instance()
    assert found(settings) == old.id


@pytest.mark.parametrize(
    "columns",
    [
        {"status": Status.INCOMPLETE, "finish_reason": "interrupted"},
        {"status": Status.CANCELLED, "finish_reason": "cancelled"},
        {"status": Status.ERROR},
        {"status": Status.RUNNING},
        {"finish_reason": "length"},
        {"finish_reason": "content_filter"},
        {"finish_reason": "tool_calls", "tool_calls": "[]"},
        {"tool_calls": "[]"},
        {"text": ""},
        {"cached": True},
        {"input_hash": "b" * 64},
        {"input_hash": None},
    ],
    ids=str,
)
def test_anything_less_does_not(settings: Settings, columns: dict[str, Any]) -> None:
    answer(settings, **columns)

    assert found(settings) is None


def test_an_answer_serves_for_its_time_and_no_longer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    row = answer(settings)

    pass_seconds(monkeypatch, 599)
    assert found(settings) == row.id
    pass_seconds(monkeypatch, 2)
    assert found(settings) is None


def test_another_tenants_answer_never_serves(settings: Settings) -> None:
    answer(settings, tenant=other_tenant())

    assert found(settings) is None


def test_a_deleted_conversations_answer_serves_nobody_even_before_it_is_erased(settings: Settings) -> None:
    row = answer(settings)
    conversation: Any = row.conversation
    Conversation.update(deleted_at=now()).where(Conversation.id == conversation.id).execute()

    assert found(settings) is None


@pytest.mark.one_store
def test_looking_reads_the_answers_of_that_hash_alone(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = queued(settings)
    seen: list[tuple[Any, ...]] = []
    execute: Any = database.execute_sql

    def note(*statement: Any) -> Any:
        seen.append(statement)
        return execute(*statement)

    monkeypatch.setattr(database, "execute_sql", note)

    find_answer(row, HASH, 600.0)

    ((sql, parameters, *_),) = seen
    plan = [step[3] for step in execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()]
    assert plan[0] == ("SEARCH t1 USING INDEX generation_cache (tenant_id=? AND input_hash=? AND finished_at>?)")
    assert not any("SCAN" in step or "TEMP B-TREE" in step for step in plan), plan
