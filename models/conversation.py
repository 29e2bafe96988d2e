"""A thread of turns of one visitor. Its `name` is the client's string, scoped to tenant and visitor.

`models/conversation_list.py` lists them, `models/turn.py` has their turns, `models/erasure.py` erases them.
"""

from typing import Any

from peewee import SQL, AutoField, DoesNotExist, DoubleField, ForeignKeyField, TextField

from models.database import Table, read_now
from models.prepared import prepared, rows_of
from models.tenant import Tenant


class Conversation(Table):
    """Made at first use. `title` is what a list shows. From `deleted_at` on nobody finds it, and its name is free again."""

    id = AutoField()
    tenant = ForeignKeyField(Tenant)
    visitor = TextField()
    name = TextField()
    title = TextField(default="")
    created_at = DoubleField()
    updated_at = DoubleField()
    deleted_at = DoubleField(null=True)

    class Meta:
        indexes = ((("tenant", "visitor", "name"), True),)


Conversation.add_index(
    Conversation.index(
        Conversation.tenant, Conversation.visitor, Conversation.updated_at, name="conversation_of_visitor"
    )
)
Conversation.add_index(Conversation.index(Conversation.updated_at, name="conversation_age"))
Conversation.add_index(
    Conversation.index(Conversation.deleted_at, name="conversation_deleted", where=SQL("deleted_at IS NOT NULL"))
)


#: Characters of a title that is made from a message, and of one that the visitor gives, at most.
TITLE_CHARACTERS, MAX_TITLE = 60, 200


def conversation_of(tenant_id: int, visitor: str, name: str, message: str) -> Conversation:
    """The visitor's conversation of that name, made for `message` where there is none yet, and updated now.

    Call it inside a transaction, so that nothing of it stays where the turn is refused.
    """
    cursor = _made_or_updated(tenant_id=tenant_id, visitor=visitor, name=name, title=title_of(message), time=read_now())
    (found,) = rows_of(Conversation, cursor)
    return found


@prepared
def _made_or_updated(tenant_id: Any, visitor: Any, name: Any, title: Any, time: Any) -> Any:
    return (
        Conversation.insert(tenant=tenant_id, visitor=visitor, name=name, title=title, created_at=time, updated_at=time)
        .on_conflict(
            conflict_target=[Conversation.tenant, Conversation.visitor, Conversation.name],
            preserve=[Conversation.updated_at],
        )
        .returning(Conversation)
    )


def touch(conversation: Conversation, time: float) -> None:
    """Moves it to the head of the list. Until the transaction ends nobody deletes it.

    Raises DoesNotExist where it was deleted since it was read.
    """
    there = (Conversation.id == conversation.id) & Conversation.deleted_at.is_null()
    if not Conversation.update(updated_at=time).where(there).execute():
        raise DoesNotExist
    conversation.updated_at = time


def find_conversation(tenant_id: int, visitor: str, name: str) -> Conversation | None:
    """The visitor's conversation of that name; a stranger's, a deleted and a missing one are alike."""
    found: Conversation | None = Conversation.get_or_none(is_theirs(tenant_id, visitor) & (Conversation.name == name))
    return found


def is_theirs(tenant_id: int, visitor: str) -> Any:
    """The condition that a conversation is this visitor's, and not deleted."""
    return (Conversation.tenant == tenant_id) & (Conversation.visitor == visitor) & Conversation.deleted_at.is_null()


def rename(tenant_id: int, visitor: str, name: str, title: str) -> bool:
    """Gives a conversation another title. Whether there is one of that name. It stays where it is in the list."""
    theirs = is_theirs(tenant_id, visitor) & (Conversation.name == name)
    changed: int = Conversation.update(title=title).where(theirs).execute()
    return changed > 0


def title_of(message: str) -> str:
    """The message's first words in one line, TITLE_CHARACTERS at most, cut at a word where there is one."""
    line = " ".join("".join(each if each.isprintable() else " " for each in message.lstrip()[:1000]).split())
    if len(line) <= TITLE_CHARACTERS:
        return line
    head = line[: TITLE_CHARACTERS - 1]
    words, blank, _ = head.rpartition(" ") if line[TITLE_CHARACTERS - 1] != " " else (head, " ", "")
    return (words if blank else head) + "…"
