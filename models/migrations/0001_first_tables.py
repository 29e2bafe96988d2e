"""The first tables: frozen copies, which stay as they are when the models go on."""

from typing import Any

from peewee import (
    SQL,
    BooleanField,
    Check,
    CompositeKey,
    Database,
    DoubleField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)


def up(migrator: Any, db: Database) -> None:
    class Table(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Clock(Table):
        boot_id = TextField(primary_key=True)
        offset_seconds = DoubleField()

    class Tenant(Table):
        public_id = TextField(unique=True)
        name = TextField()
        created_at = DoubleField()

    class ApiKey(Table):
        public_id = TextField(unique=True)
        tenant = ForeignKeyField(Tenant)
        name = TextField()
        scopes = TextField()
        key_hash = TextField()
        created_at = DoubleField()
        expires_at = DoubleField(null=True)
        revoked_at = DoubleField(null=True)

    class Conversation(Table):
        tenant = ForeignKeyField(Tenant)
        visitor = TextField()
        name = TextField()
        title = TextField(default="")
        created_at = DoubleField()
        updated_at = DoubleField()

        class Meta:
            indexes = ((("tenant", "visitor", "name"), True),)

    class Generation(Table):
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
        created_at = DoubleField()
        route = TextField()
        route_version = TextField()
        on_worker_lost = TextField()
        on_provider_broken = TextField()
        max_calls = IntegerField()
        max_crashes = IntegerField()
        deadline_at = DoubleField()
        retention_seconds = DoubleField()
        status = TextField(default="queued")
        run = IntegerField(default=0)
        crashes = IntegerField(default=0)
        calls = IntegerField(default=0)
        worker = TextField(null=True)
        lease_until = DoubleField(default=0)
        claimed_at = DoubleField(null=True)
        enqueue_at = DoubleField()
        enqueues = IntegerField(default=0)
        cancel_requested_at = DoubleField(null=True)
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
        input_tokens = IntegerField(null=True)
        cached_tokens = IntegerField(null=True)
        cache_write_tokens = IntegerField(null=True)
        output_tokens = IntegerField(null=True)
        reasoning_tokens = IntegerField(null=True)
        usage_source = TextField(null=True)
        cost_micros = IntegerField(null=True)

        class Meta:
            constraints = [Check("status IN ('queued', 'running', 'done', 'incomplete', 'error', 'cancelled')")]

    class ProviderCall(Table):
        generation = ForeignKeyField(Generation, on_delete="CASCADE")
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
            primary_key = CompositeKey("generation", "number")

    class Schedule(Table):
        name = TextField(primary_key=True)
        next_at = DoubleField()
        owner = TextField()

    class Worker(Table):
        id = TextField(primary_key=True)
        host = TextField()
        pid = IntegerField()
        started_at = DoubleField()
        heartbeat_at = DoubleField()
        running = IntegerField(default=0)

    is_open = SQL("status IN ('queued', 'running')")
    unpublished = SQL("terminal_id IS NOT NULL AND NOT terminal_published")
    columns = Generation
    columns.add_index(
        columns.index(columns.conversation, unique=True, name="generation_open_in_conversation", where=is_open)
    )
    columns.add_index(
        columns.index(
            columns.tenant,
            columns.visitor,
            columns.idempotency_key,
            unique=True,
            name="generation_idempotency",
            where=SQL("idempotency_key IS NOT NULL"),
        )
    )
    columns.add_index(columns.index(columns.enqueue_at, name="generation_open", where=is_open))
    columns.add_index(columns.index(columns.finished_at, name="generation_unpublished", where=unpublished))
    columns.add_index(columns.index(columns.tenant, columns.visitor, columns.created_at, name="generation_of_visitor"))
    db.create_tables([Clock, Tenant, ApiKey, Conversation, Generation, ProviderCall, Schedule, Worker])
