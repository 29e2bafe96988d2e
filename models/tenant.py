"""Who pays. Everything else belongs to exactly one tenant."""

from peewee import DoubleField, TextField

from models.database import Table, read_now
from models.identifiers import random_name


class Tenant(Table):
    """`public_id` stands in tokens as `iss`; the numeric id never leaves the server."""

    public_id = TextField(unique=True)
    name = TextField()
    created_at = DoubleField()


def first_tenant() -> Tenant:
    """The tenant that every installation has, made on first use."""
    found = Tenant.select().order_by(Tenant.created_at).first()
    return found or Tenant.create(public_id=random_name("ten"), name="default", created_at=read_now())
