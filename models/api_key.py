"""API keys: long-lived, server to server. Only a hash of each is stored.

A key reads `sk-<16 hex>-<43 url-safe characters>`: the hex is that of its public id `key_<16 hex>`, the rest 256 random bits.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable

from peewee import DoubleField, ForeignKeyField, TextField

from models.database import Table, now, read_now
from models.errors import BadRequest
from models.identifiers import random_name
from models.secret import Secret
from models.tenant import Tenant

_KEY = re.compile(r"sk-([0-9a-f]{16})-[A-Za-z0-9_-]{43}")
_PUBLIC_ID = re.compile(r"key_[0-9a-f]{16}")
_SCOPE = re.compile(r"[a-z][a-z0-9_.:-]{0,31}")

#: What a key is compared with where there is none of that id: no hash is equal to it.
_NO_HASH = "-" * 64


class ApiKey(Table):
    """`public_id` is the part of the key that may be shown, and the `kid` of the visitor tokens that it mints.

    `scopes`: words separated by spaces.
    """

    public_id = TextField(unique=True)
    tenant = ForeignKeyField(Tenant)
    tenant_id: int
    name = TextField()
    scopes = TextField()
    key_hash = TextField()
    created_at = DoubleField()
    expires_at = DoubleField(null=True)
    revoked_at = DoubleField(null=True)

    @property
    def live(self) -> bool:
        """Whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > read_now())

    @property
    def scope_set(self) -> frozenset[str]:
        return frozenset(self.scopes.split())


def create_key(
    tenant_id: int, name: str, scopes: Iterable[str], expires_at: float | None = None, *, secret: Secret
) -> tuple[ApiKey, str]:
    """A new key of the tenant, and the key itself, which can't be had again. `expires_at`: seconds of the database's clock.

    Raises BadRequest where a scope is not a word of lower-case letters.
    """
    words = sorted(set(scopes))
    if not all(_SCOPE.fullmatch(word) for word in words):
        raise BadRequest("A scope is a word of lower-case letters, such as `session`.")
    public_id = random_name("key")
    plain = f"sk-{public_id.removeprefix('key_')}-{secrets.token_urlsafe(32)}"
    row: ApiKey = ApiKey.create(
        public_id=public_id,
        tenant=tenant_id,
        name=name,
        scopes=" ".join(words),
        key_hash=_hash(plain, secret),
        created_at=read_now(),
        expires_at=expires_at,
    )
    return row, plain


def verify_key(plain: str, secret: Secret) -> ApiKey | None:
    """The live key that `plain` is; None for anything else: unknown, forged, malformed, revoked, expired."""
    public_id = public_id_of(plain)
    if public_id is None:
        return None
    row = find_key(public_id)
    # Compared on a miss too, in the same time.
    genuine = hmac.compare_digest(_hash(plain, secret), row.key_hash if row else _NO_HASH)
    return row if row and genuine and row.live else None


def find_key(public_id: str) -> ApiKey | None:
    """The key of that public id, live or not, with its tenant."""
    return ApiKey.select(ApiKey, Tenant).join(Tenant).where(ApiKey.public_id == public_id).first()  # type: ignore[no-any-return]


def list_keys(tenant_id: int | None = None) -> list[ApiKey]:
    """Every key, live or not, oldest first; of one tenant, if one is given."""
    query = ApiKey.select(ApiKey, Tenant).join(Tenant).order_by(ApiKey.created_at, ApiKey.public_id)
    return list(query if tenant_id is None else query.where(ApiKey.tenant == tenant_id))


def revoke_key(public_id: str) -> bool:
    """Revokes the key for good, and so all that it minted. False where there is none, or it was revoked before."""
    unrevoked = (ApiKey.public_id == public_id) & ApiKey.revoked_at.is_null()
    return bool(ApiKey.update(revoked_at=now()).where(unrevoked).execute())


def public_id_of(plain: str) -> str | None:
    """The public id that stands in a key; None where the text is no key. It proves nothing: see `verify_key`."""
    found = _KEY.fullmatch(plain)
    return f"key_{found[1]}" if found else None


def is_public_id(text: str) -> bool:
    """Whether the text has the shape of a key's public id."""
    return _PUBLIC_ID.fullmatch(text) is not None


def _hash(plain: str, secret: Secret) -> str:
    return hmac.new(secret.derive("api-key-pepper"), plain.encode(), hashlib.sha256).hexdigest()
