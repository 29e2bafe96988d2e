"""A tenant's signing secret has a version, and the time at which that began."""

from typing import Any

from peewee import DoubleField


def up(migrator: Any, db: Any) -> None:
    db.execute_sql("ALTER TABLE tenant ADD COLUMN signing_version INTEGER NOT NULL DEFAULT 1")
    migrator.migrate(migrator.add_column("tenant", "signing_rotated_at", DoubleField(null=True)))
