"""Queries whose SQL is written once: for a row of fifty columns peewee takes longer to write it than SQLite to carry it out.

@prepared
def _found(id: Any) -> Any:
    return Generation.select().where(Generation.id == id)

rows_of(Generation, _found(id="…"))
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar

from peewee import BooleanField, Model, Value

from models.database import database

M = TypeVar("M", bound=Model)


class _Slot(NamedTuple):
    """Stands among a statement's values where a call's own goes."""

    name: str


class Prepared:
    """A query, but for its values: called with them by name, as the database takes them, it returns a cursor.

    What is no parameter of `build`, such as a limit that never changes, stays in the statement.
    """

    def __init__(self, build: Callable[..., Any], names: list[str]) -> None:
        self._build = build
        self._names = names
        self._made: tuple[object, str, list[Any]] | None = None

    def __call__(self, **values: Any) -> Any:
        made = self._made
        if made is None or made[0] is not database.obj:
            made = self._made = self._make()
        _, sql, parameters = made
        return database.execute_sql(sql, [values[each.name] if type(each) is _Slot else each for each in parameters])

    def _make(self) -> tuple[object, str, list[Any]]:
        slots = {name: Value(_Slot(name), converter=False, unpack=False) for name in self._names}
        sql, parameters = self._build(**slots).sql()
        return database.obj, sql, list(parameters)


def prepared(build: Callable[..., Any]) -> Prepared:
    """The query that `build` makes of its parameters, which may be compared, stored and counted with, but not looked into."""
    return Prepared(build, list(inspect.signature(build).parameters))


def rows_of(model: type[M], cursor: Any) -> list[M]:
    """Rows of all the model's columns, read to the end: only then has SQLite committed what returned them, or failed to."""
    names, bools = _columns(model)
    found = []
    for values in cursor.fetchall():
        row = model(__no_default__=1)
        row.__data__ = dict(zip(names, values, strict=True))
        for name in bools:
            if row.__data__[name] is not None:
                row.__data__[name] = bool(row.__data__[name])
        found.append(row)
    return found


def row_of(model: type[M], cursor: Any) -> M | None:
    """The first of them."""
    found = rows_of(model, cursor)
    return found[0] if found else None


def insert(row: Model) -> None:
    """Stores a new row, defaults and all, whose key it has already."""
    fields = row._meta.sorted_fields
    _insertion(type(row))(**{field.name: field.db_value(row.__data__.get(field.name)) for field in fields})


@cache
def _insertion(model: type[Model]) -> Prepared:
    names = [field.name for field in model._meta.sorted_fields]
    return Prepared(model.insert, names)


@cache
def _columns(model: type[Model]) -> tuple[list[str], list[str]]:
    """The names of all columns, and of those that SQLite keeps as numbers and are true or false."""
    fields = model._meta.sorted_fields
    return [field.name for field in fields], [field.name for field in fields if isinstance(field, BooleanField)]
