"""Who pays. Everything else belongs to exactly one tenant."""

from peewee import SQL, DoubleField, IntegerField, TextField

from models.database import Table, database, read_now, shut_out
from models.identifiers import random_name


class Tenant(Table):
    """`public_id` stands in tokens as `iss`; the numeric id never leaves the server. For the rest see `models/signing.py`."""

    id: int
    public_id = TextField(unique=True)
    name = TextField()
    created_at = DoubleField()
    signing_version = IntegerField(default=1, constraints=[SQL("DEFAULT 1")])
    signing_rotated_at = DoubleField(null=True)


def first_tenant() -> Tenant:
    """The tenant that every installation has, made on first use."""
    found = _oldest()
    if found is None:
        with database.atomic():
            shut_out("first tenant")
            found = _oldest() or Tenant.create(public_id=random_name("ten"), name="default", created_at=read_now())
    return found


def _oldest() -> Tenant | None:
    found: Tenant | None = Tenant.select().order_by(Tenant.created_at).first()
    return found
