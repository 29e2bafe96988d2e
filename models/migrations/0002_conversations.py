"""Conversations: what was sent along, feedback, deletion, the cache; and a ledger that outlives what it paid for."""

from typing import Any

from peewee import (
    SQL,
    BooleanField,
    CompositeKey,
    DoubleField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)

_COPY_LEDGER = """
INSERT INTO provider_call (
    tenant_id, generation_id, number, run, provider, model, started_at, first_byte_at, ended_at, outcome, error_code,
    input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, usage_source, reserved_micros, cost_micros
)
SELECT
    paid.tenant_id, line.generation_id, line.number, line.run, line.provider, line.model, line.started_at, line.first_byte_at,
    line.ended_at, line.outcome, line.error_code, line.input_tokens, line.cached_tokens, line.cache_write_tokens,
    line.output_tokens, line.reasoning_tokens, line.usage_source, line.reserved_micros, line.cost_micros
FROM provider_call_before AS line JOIN generation AS paid ON paid.id = line.generation_id
"""


def up(migrator: Any, db: Any) -> None:
    class Table(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Tenant(Table):
        public_id = TextField(unique=True)

    class Conversation(Table):
        tenant = ForeignKeyField(Tenant)
        visitor = TextField()
        updated_at = DoubleField()
        deleted_at = DoubleField(null=True)

    class Generation(Table):
        id = TextField(primary_key=True)
        tenant = ForeignKeyField(Tenant)
        visitor = TextField()
        conversation = ForeignKeyField(Conversation, null=True)
        input_hash = TextField(null=True)
        created_at = DoubleField()
        finished_at = DoubleField(null=True)

    class Feedback(Table):
        generation = ForeignKeyField(Generation, primary_key=True, on_delete="CASCADE")
        rating = TextField()
        comment = TextField(default="")
        created_at = DoubleField()

    for name, field in {
        "history_turns": IntegerField(null=True),
        "history_dropped": IntegerField(null=True),
        "history_tokens": IntegerField(null=True),
        "bypass_cache": BooleanField(null=True),
    }.items():
        migrator.migrate(migrator.add_column("generation", name, field))
    migrator.migrate(migrator.add_column("conversation", "deleted_at", DoubleField(null=True)))
    _free_the_ledger(db, Tenant)
    columns = Generation
    columns.add_index(columns.index(columns.conversation, columns.created_at, name="generation_of_conversation"))
    columns.add_index(
        columns.index(
            columns.tenant,
            columns.visitor,
            name="generation_open_of_visitor",
            where=SQL("status IN ('queued', 'running')"),
        )
    )
    columns.add_index(
        columns.index(
            columns.tenant,
            columns.input_hash,
            columns.finished_at,
            name="generation_cache",
            where=SQL("status = 'done' AND input_hash IS NOT NULL"),
        )
    )
    Conversation.add_index(
        Conversation.index(
            Conversation.tenant, Conversation.visitor, Conversation.updated_at, name="conversation_of_visitor"
        )
    )
    Conversation.add_index(Conversation.index(Conversation.updated_at, name="conversation_age"))
    Conversation.add_index(
        Conversation.index(Conversation.deleted_at, name="conversation_deleted", where=SQL("deleted_at IS NOT NULL"))
    )
    db.create_tables([Feedback])
    for table in (Generation, Conversation):
        made: Any = table
        made._schema.create_indexes(safe=True)


def _free_the_ledger(db: Any, tenant_table: type[Model]) -> None:
    """The ledger names its tenant, and stays when the generation that it paid for is erased."""

    class ProviderCall(Model):
        tenant = ForeignKeyField(tenant_table, index=False)
        generation_id = TextField()
        number = IntegerField()
        run = IntegerField()
        provider = TextField()
        model = TextField()
        started_at = DoubleField()
        first_byte_at = DoubleField(null=True)
        ended_at = DoubleField(null=True)
        outcome = TextField(default="running")
        error_code = TextField(null=True)
        input_tokens = IntegerField(null=True)
        cached_tokens = IntegerField(null=True)
        cache_write_tokens = IntegerField(null=True)
        output_tokens = IntegerField(null=True)
        reasoning_tokens = IntegerField(null=True)
        usage_source = TextField(null=True)
        reserved_micros = IntegerField(null=True)
        cost_micros = IntegerField(null=True)

        class Meta:
            database = db
            legacy_table_names = False
            primary_key = CompositeKey("generation_id", "number")

    ProviderCall.add_index(
        ProviderCall.index(ProviderCall.tenant, ProviderCall.started_at, name="provider_call_of_tenant")
    )
    db.execute_sql("ALTER TABLE provider_call RENAME TO provider_call_before")
    db.create_tables([ProviderCall])
    db.execute_sql(_COPY_LEDGER)
    db.execute_sql("DROP TABLE provider_call_before")
