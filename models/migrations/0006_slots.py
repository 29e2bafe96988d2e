"""A worker tells how many generations at once it takes; an index has each tenant's line of those that wait."""

from typing import Any

from peewee import IntegerField


def up(migrator: Any, db: Any) -> None:
    migrator.migrate(migrator.add_column("worker", "slots", IntegerField(default=0)))
    db.execute_sql(
        'CREATE INDEX "generation_open_of_tenant" ON "generation" ("tenant_id", "enqueue_at", "created_at") '
        "WHERE status IN ('queued', 'running')"
    )
