"""Queries that are written once: what comes of them is what peewee's own would bring."""

from typing import Any

import pytest
from peewee import Database, IntegrityError

from models.admission import admit
from models.database import connect
from models.database import database as bound
from models.generation import Generation, find
from models.prepared import insert, prepared, row_of, rows_of
from models.settings import Settings
from tests.models.rows import changed, request

pytestmark = pytest.mark.usefixtures("database")


@prepared
def _of_visitor(visitor: Any) -> Any:
    return Generation.select().where(Generation.visitor == visitor).order_by(Generation.created_at)


@pytest.fixture
def row(settings: Settings) -> Generation:
    return admit(request(), settings).generation


def test_rows_are_as_peewee_reads_them(row: Generation) -> None:
    changed(row, cached=True, bypass_cache=None, cost_micros=7)

    (found,) = rows_of(Generation, _of_visitor(visitor="visitor"))

    assert found.__data__ == Generation.get_by_id(row.id).__data__
    assert (found.cached, found.terminal_published, found.bypass_cache) == (True, False, None)
    assert found.conversation is not None
    assert not found.is_dirty()


def test_where_there_is_no_row_there_is_none() -> None:
    assert rows_of(Generation, _of_visitor(visitor="nobody")) == []
    assert row_of(Generation, _of_visitor(visitor="nobody")) is None


def test_values_are_not_part_of_the_statement(row: Generation, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    execute = bound.obj.execute_sql

    def note(sql: str, values: Any) -> Any:
        seen.append(sql)
        return execute(sql, values)

    monkeypatch.setattr(bound.obj, "execute_sql", note)

    assert find(row.id) == row
    assert find("' OR 1 = 1 --") is None

    assert seen[0] is seen[1]
    assert row.id not in seen[0]


def test_another_database_has_its_statements_written_anew(
    row: Generation, settings: Settings, database: Database
) -> None:
    assert find(row.id) == row
    database.close()
    connect(settings)

    assert find(row.id) == row
    bound.close()


def test_a_new_row_has_its_defaults_and_must_be_new(row: Generation) -> None:
    again = Generation(**{**row.__data__, "id": "another", "conversation": None, "idempotency_key": None})
    insert(again)

    stored = Generation.get_by_id("another").__data__
    assert stored == {name: again.__data__.get(name) for name in stored}
    assert (stored["run"], stored["text"], stored["claimed_at"]) == (0, "", None)
    with pytest.raises(IntegrityError):
        insert(again)
