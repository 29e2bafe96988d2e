"""What results are signed with: a secret per tenant, derived when it is needed and stored nowhere.

A rotation begins the next version; the one before signs beside it for `overlap_seconds`, so that who verifies can change over.
"""

import base64
from typing import NamedTuple

from models.database import now, read_now, returned
from models.secret import Secret
from models.tenant import Tenant


class Signer(NamedTuple):
    """A tenant's live versions, the newest first."""

    tenant: str
    versions: tuple[int, ...]

    def secrets(self, secret: Secret) -> list[str]:
        """The signing secret of each live version."""
        return [signing_secret(secret, self.tenant, version) for version in self.versions]


def signing_secret(secret: Secret, tenant: str, version: int) -> str:
    """`sig-` and 43 characters, whose bytes as they stand are the HMAC's key. `tenant` is the public id."""
    key = secret.derive(f"signing/{tenant}/{version}")
    return "sig-" + base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def find_signer(tenant_id: int, overlap_seconds: float) -> Signer:
    """What signs the tenant's results now."""
    return _signer(Tenant.get_by_id(tenant_id), overlap_seconds)


def rotate(tenant_id: int, overlap_seconds: float) -> Signer:
    """Begins the next version."""
    changed = Tenant.update(signing_version=Tenant.signing_version + 1, signing_rotated_at=now())
    (row,) = returned(changed.where(Tenant.id == tenant_id).returning(Tenant))
    return _signer(row, overlap_seconds)


def _signer(row: Tenant, overlap_seconds: float) -> Signer:
    rotated = row.signing_rotated_at
    overlaps = rotated is not None and read_now() < rotated + overlap_seconds
    newest: int = row.signing_version
    return Signer(row.public_id, (newest, newest - 1) if overlaps else (newest,))
