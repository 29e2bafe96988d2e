"""A worker tells how many generations at once it takes."""

from typing import Any

from peewee import IntegerField


def up(migrator: Any, db: Any) -> None:
    migrator.migrate(migrator.add_column("worker", "slots", IntegerField(default=0)))
