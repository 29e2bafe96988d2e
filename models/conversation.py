"""A thread of turns of one visitor. Its `name` is the client's string, scoped to tenant and visitor."""

from peewee import SQL, DoubleField, ForeignKeyField, TextField

from models.database import Table, read_now
from models.tenant import Tenant


class Conversation(Table):
    """Made at first use. `title` is what a list shows."""

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


def conversation_of(tenant_id: int, visitor: str, name: str) -> Conversation:
    """The visitor's conversation of that name, made where there is none yet. Call it inside a transaction."""
    row = {"tenant": tenant_id, "visitor": visitor, "name": name}
    time = read_now()
    Conversation.insert(**row, created_at=time, updated_at=time).on_conflict_ignore().execute()
    found: Conversation = Conversation.get(**row)
    return found
