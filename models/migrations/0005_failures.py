"""What failed of late is found by an index, which holds failures alone."""

from typing import Any

from peewee import SQL, DoubleField, Model, TextField


def up(migrator: Any, db: Any) -> None:
    class Generation(Model):
        status = TextField()
        error_code = TextField(null=True)
        finished_at = DoubleField(null=True)

        class Meta:
            database = db
            legacy_table_names = False

    columns = Generation
    # With all that the count asks for: SQLite then reads no row, whatever text stands in it.
    columns.add_index(
        columns.index(
            columns.finished_at,
            columns.error_code,
            columns.status,
            name="generation_failed",
            where=SQL("status = 'error'"),
        )
    )
    made: Any = Generation
    made._schema.create_indexes(safe=True)
