"""A visitor's conversations, as a list shows them: newest turn first, a page at a time."""

from typing import Any, NamedTuple

from peewee import SQL, fn

from models.conversation import Conversation, is_theirs
from models.generation import IS_OPEN, Generation


class Place(NamedTuple):
    """Where a page ends in a list that is ordered by time, then by a name that no two share."""

    time: float
    name: str


class Entry(NamedTuple):
    """A conversation, how many turns it has on all its branches, and whether an answer is under way."""

    conversation: Conversation
    turns: int
    busy: bool


def list_conversations(tenant_id: int, visitor: str, limit: int, after: Place | None) -> list[Entry]:
    """Up to `limit` conversations behind the place `after`, in one statement."""
    query = _entries().where(is_theirs(tenant_id, visitor))
    if after is not None:
        query = query.where(
            (Conversation.updated_at < after.time)
            | ((Conversation.updated_at == after.time) & (Conversation.name < after.name))
        )
    newest_first = query.order_by(Conversation.updated_at.desc(), Conversation.name.desc())
    return [_entry(row) for row in newest_first.limit(limit)]


def find_entry(tenant_id: int, visitor: str, name: str) -> Entry | None:
    """The visitor's conversation of that name; a stranger's, a deleted and a missing one are alike."""
    row = _entries().where(is_theirs(tenant_id, visitor) & (Conversation.name == name)).first()
    return None if row is None else _entry(row)


def place_of(entry: Entry) -> Place:
    """Where the entry stands in the list."""
    return Place(entry.conversation.updated_at, entry.conversation.name)


def _entries() -> Any:
    theirs = Generation.conversation == Conversation.id
    turns = Generation.select(fn.COUNT(SQL("*"))).where(theirs)
    busy = Generation.select(fn.COUNT(SQL("*"))).where(theirs & IS_OPEN)
    return Conversation.select(Conversation, turns.alias("turns"), busy.alias("busy"))


def _entry(row: Any) -> Entry:
    return Entry(row, row.turns, bool(row.busy))
