"""Erasing conversations: marked first, so that nobody finds them any more, then row by row, once nothing is under way.

The ledger stays: it holds figures only. Every statement may be repeated, by any number of processes at once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from models.conversation import Conversation, find_conversation
from models.database import database, now
from models.ending import end_unbegun
from models.generation import ENDED, IS_OPEN, Generation
from models.identifiers import uuid7
from models.ownership import request_cancel

#: Rows in one statement at most, so that nobody waits for it.
ERASE_ROWS = 100

DAY_SECONDS = 86_400


class Marked(NamedTuple):
    """A conversation that is to be erased, and the answer that still has to be stopped before."""

    conversation_id: int
    running: str | None


def mark_deleted(tenant_id: int, visitor: str, name: str) -> Marked | None:
    """Hides the visitor's conversation, frees its name and asks its open answer to stop. None: there is none of that name."""
    with database.atomic():
        found = find_conversation(tenant_id, visitor, name)
        if found is None:
            return None
        _hide(Conversation.id == found.id)
        row = Generation.get_or_none((Generation.conversation == found.id) & IS_OPEN)
        flagged = None if row is None else request_cancel(row.id)
        running = None if flagged is None or end_unbegun(flagged).ended else flagged.id
    return Marked(found.id, running)


def mark_aged(days: float) -> int:
    """Hides conversations, ERASE_ROWS at most, whose last turn is older than so many days. How many there were."""
    with database.atomic():
        aged = (Conversation.updated_at < now() - days * DAY_SECONDS) & Conversation.deleted_at.is_null()
        ids = [row.id for row in Conversation.select(Conversation.id).where(aged).limit(ERASE_ROWS)]
        for conversation_id in ids:
            _hide((Conversation.id == conversation_id) & aged)  # somebody may have asked in it meanwhile
    return len(ids)


def _hide(which: Any) -> None:
    hidden = {Conversation.deleted_at: now(), Conversation.name: uuid7()}
    Conversation.update(hidden).where(which).execute()


def find_deleted(limit: int) -> list[int]:
    """Conversations that are marked and have nothing under way, the longest marked first."""
    under_way = Generation.select(Generation.conversation).where(IS_OPEN & Generation.conversation.is_null(False))
    marked = Conversation.select(Conversation.id).where(Conversation.deleted_at.is_null(False))
    ready = marked.where(Conversation.id.not_in(under_way)).order_by(Conversation.deleted_at).limit(limit)
    return [row.id for row in ready]


def find_unsaid(conversation_id: int) -> list[Generation]:
    """Its answers that have ended a moment ago, and of whose end a viewer may not have heard."""
    recent = Generation.finished_at > now() - Generation.retention_seconds
    unsaid = Generation.status.in_(ENDED) & ~Generation.terminal_published & recent
    return list(Generation.select().where((Generation.conversation == conversation_id) & unsaid))


def find_erasable(conversation_id: int) -> list[str]:
    """The ids of ended answers of a marked conversation of whose end everybody has heard, ERASE_ROWS at most."""
    heard = Generation.terminal_published | (Generation.finished_at <= now() - Generation.retention_seconds)
    ended = (Generation.conversation == conversation_id) & Generation.status.in_(ENDED) & heard
    return [row.id for row in Generation.select(Generation.id).where(ended).limit(ERASE_ROWS)]


def find_aged(days: float) -> list[str]:
    """The ids of ended answers without a conversation that are older than so many days, ERASE_ROWS at most."""
    aged = Generation.conversation.is_null() & (Generation.created_at < now() - days * DAY_SECONDS)
    ended = Generation.select(Generation.id).where(aged & Generation.status.in_(ENDED))
    return [row.id for row in ended.limit(ERASE_ROWS)]


def erase_generations(generation_ids: Sequence[str]) -> None:
    """Erases ended answers with their feedback. Their logs must be gone already."""
    Generation.delete().where(Generation.id.in_(generation_ids) & Generation.status.in_(ENDED)).execute()


def erase_conversation(conversation_id: int) -> bool:
    """Erases a marked conversation that has no answers left. Whether it is gone."""
    left = Generation.select().where(Generation.conversation == conversation_id)
    marked = (Conversation.id == conversation_id) & Conversation.deleted_at.is_null(False)
    with database.atomic():
        if left.exists():
            return False
        Conversation.delete().where(marked).execute()
    return True
