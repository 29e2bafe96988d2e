"""One answer to one request: the row that is the truth.

`models/ownership.py` says who works on it, `models/ending.py` how it ends.
"""

import hashlib
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from peewee import JOIN, SQL, BooleanField, Check, DoubleField, ForeignKeyField, IntegerField, TextField

from models.conversation import Conversation
from models.database import Table
from models.event import EventId, Usage
from models.tenant import Tenant


class Status(StrEnum):
    """A generation is queued, runs, and ends in one of four ways, for good."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    INCOMPLETE = "incomplete"
    ERROR = "error"
    CANCELLED = "cancelled"


OPEN = (Status.QUEUED, Status.RUNNING)
IS_OPEN = SQL("status IN ('queued', 'running')")
"""The condition of the partial indexes: a query that says it in these words, without parameters, is served by them."""

IS_FAILED = SQL("status = 'error'")
"""The condition of `generation_failed`, likewise."""

ENDED = (Status.DONE, Status.INCOMPLETE, Status.ERROR, Status.CANCELLED)


class Sent(NamedTuple):
    """What a model was told beside the new message: turns before, turns that no longer fitted, and the tokens of all."""

    turns: int
    dropped: int
    tokens: int


class Generation(Table):
    """Times are seconds of the database's clock, sizes are tokens, money is millionths of a dollar."""

    # What was asked
    id = TextField(primary_key=True)
    tenant = ForeignKeyField(Tenant)
    visitor = TextField()
    conversation = ForeignKeyField(Conversation, null=True)
    parent = TextField(null=True)
    message = TextField()
    request = TextField(null=True)
    idempotency_key = TextField(null=True)
    body_hash = TextField()
    input_hash = TextField(null=True)
    bypass_cache = BooleanField(null=True)
    created_at = DoubleField()

    # What went along: turns before, turns that no longer fitted, and the tokens of all that was sent
    history_turns = IntegerField(null=True)
    history_dropped = IntegerField(null=True)
    history_tokens = IntegerField(null=True)

    # By which rules: what held at POST holds to the end
    route = TextField()
    route_version = TextField()
    on_worker_lost = TextField()
    on_provider_broken = TextField()
    max_calls = IntegerField()
    max_crashes = IntegerField()
    deadline_at = DoubleField()
    retention_seconds = DoubleField()

    # Who works on it
    status = TextField(default=Status.QUEUED)
    run = IntegerField(default=0)
    crashes = IntegerField(default=0)
    calls = IntegerField(default=0)
    worker = TextField(null=True)
    lease_until = DoubleField(default=0)
    claimed_at = DoubleField(null=True)
    enqueue_at = DoubleField()
    enqueues = IntegerField(default=0)
    cancel_requested_at = DoubleField(null=True)

    # What came of it: the text so far and the event that it reaches, then all of it
    provider = TextField()
    model = TextField()
    text = TextField(default="")
    reasoning = TextField(default="")
    tool_calls = TextField(null=True)
    checkpoint_id = TextField(null=True)
    finish_reason = TextField(null=True)
    error_code = TextField(null=True)
    error_message = TextField(null=True)
    finished_at = DoubleField(null=True)
    terminal_id = TextField(null=True)
    terminal_published = BooleanField(default=False)
    cached = BooleanField(default=False)

    # What it cost
    input_tokens = IntegerField(null=True)
    cached_tokens = IntegerField(null=True)
    cache_write_tokens = IntegerField(null=True)
    output_tokens = IntegerField(null=True)
    reasoning_tokens = IntegerField(null=True)
    usage_source = TextField(null=True)
    cost_micros = IntegerField(null=True)

    class Meta:
        constraints = [Check("status IN ('queued', 'running', 'done', 'incomplete', 'error', 'cancelled')")]

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def terminal(self) -> EventId | None:
        """The id of the terminal event, once the generation has ended."""
        return EventId.parse(self.terminal_id) if self.terminal_id else None

    @property
    def usage(self) -> Usage | None:
        """What was used; None until it is known."""
        if self.usage_source is None:
            return None
        return Usage(
            input=self.input_tokens or 0,
            cached=self.cached_tokens or 0,
            cache_write=self.cache_write_tokens or 0,
            output=self.output_tokens or 0,
            reasoning=self.reasoning_tokens or 0,
            source=self.usage_source,
        )

    @property
    def sent(self) -> Sent | None:
        """What the model was told; None until a provider is called."""
        if self.history_tokens is None:
            return None
        return Sent(self.history_turns or 0, self.history_dropped or 0, self.history_tokens)

    @property
    def tool_call_list(self) -> list[dict[str, Any]]:
        """The tool calls so far, each {index, id, name, arguments}."""
        return msgspec.json.decode(self.tool_calls, type=list[dict[str, Any]]) if self.tool_calls else []


Generation.add_index(
    Generation.index(
        Generation.conversation,
        unique=True,
        name="generation_open_in_conversation",
        where=IS_OPEN,
    )
)
Generation.add_index(
    Generation.index(
        Generation.tenant,
        Generation.visitor,
        Generation.idempotency_key,
        unique=True,
        name="generation_idempotency",
        where=SQL("idempotency_key IS NOT NULL"),
    )
)
Generation.add_index(Generation.index(Generation.enqueue_at, name="generation_open", where=IS_OPEN))
Generation.add_index(
    Generation.index(
        Generation.finished_at,
        name="generation_unpublished",
        where=SQL("terminal_id IS NOT NULL AND NOT terminal_published"),
    )
)
Generation.add_index(
    Generation.index(Generation.tenant, Generation.visitor, Generation.created_at, name="generation_of_visitor")
)
Generation.add_index(
    Generation.index(Generation.conversation, Generation.created_at, name="generation_of_conversation")
)
Generation.add_index(
    Generation.index(Generation.tenant, Generation.visitor, name="generation_open_of_visitor", where=IS_OPEN)
)
Generation.add_index(
    Generation.index(
        Generation.tenant,
        Generation.enqueue_at,
        Generation.created_at,
        name="generation_open_of_tenant",
        where=IS_OPEN,
    )
)
Generation.add_index(
    Generation.index(
        Generation.tenant,
        Generation.input_hash,
        Generation.finished_at,
        name="generation_cache",
        where=SQL("status = 'done' AND input_hash IS NOT NULL"),
    )
)
Generation.add_index(
    Generation.index(
        Generation.finished_at, Generation.error_code, Generation.status, name="generation_failed", where=IS_FAILED
    )
)


def usage_columns(usage: Usage | None) -> dict[str, int | str | None]:
    """The usage columns of a generation or a provider call."""
    if usage is None:
        return {}
    return {
        "input_tokens": usage.input,
        "cached_tokens": usage.cached,
        "cache_write_tokens": usage.cache_write,
        "output_tokens": usage.output,
        "reasoning_tokens": usage.reasoning,
        "usage_source": usage.source,
    }


def digest(text: str) -> str:
    """SHA-256 over the text's UTF-8 bytes, in hex: what `done` and `failed` say of the stored text."""
    return hashlib.sha256(text.encode()).hexdigest()


def find(generation_id: str) -> Generation | None:
    """The row of that id, whoever owns it: for the inside only, see `find_owned`."""
    found: Generation | None = Generation.get_or_none(Generation.id == generation_id)
    return found


def find_owned(generation_id: str, tenant_id: int, visitor: str) -> Generation | None:
    """The visitor's row of that id; a stranger's, one of a deleted conversation and a missing one are alike."""
    theirs = (Generation.id == generation_id) & (Generation.tenant == tenant_id) & (Generation.visitor == visitor)
    found: Generation | None = (
        Generation.select()
        .join(Conversation, JOIN.LEFT_OUTER)
        .where(theirs & Conversation.deleted_at.is_null())
        .first()
    )
    return found
