"""API keys: long-lived, server to server. Only a hash of each is stored."""

from peewee import DoubleField, ForeignKeyField, TextField

from models.database import Table
from models.tenant import Tenant


class ApiKey(Table):
    """`public_id` is the part of the key that may be shown, and the `kid` of the visitor tokens that it mints.

    `scopes`: words separated by spaces.
    """

    public_id = TextField(unique=True)
    tenant = ForeignKeyField(Tenant)
    name = TextField()
    scopes = TextField()
    key_hash = TextField()
    created_at = DoubleField()
    expires_at = DoubleField(null=True)
    revoked_at = DoubleField(null=True)
