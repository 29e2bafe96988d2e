"""The database's clock as a function, which SQLite gets with each connection; and which machine uses a SQLite file."""

from typing import Any

from peewee import DoubleField, Model, PostgresqlDatabase, TextField

# Its time goes on within a transaction. STABLE, though it is not quite: else no index serves a comparison with it.
_CLOCK = """
CREATE OR REPLACE FUNCTION database_now() RETURNS double precision LANGUAGE sql STABLE
AS 'SELECT extract(epoch FROM clock_timestamp())::double precision'
"""


def up(migrator: Any, db: Any) -> None:
    class HostClaim(Model):
        boot_id = TextField(primary_key=True)
        host = TextField()
        seen_at = DoubleField()

        class Meta:
            database = db
            legacy_table_names = False

    db.create_tables([HostClaim])
    if isinstance(db, PostgresqlDatabase):
        db.execute_sql(_CLOCK)  # type: ignore[no-untyped-call]
