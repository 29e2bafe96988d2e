"""`streamer keys signing-secret`: what results for a tenant's servers are signed with."""

import sys
from datetime import UTC, datetime, timedelta

from models import signing
from models.database import connect, database
from models.errors import SettingInvalid
from models.secret import load_secret
from models.settings import Settings
from models.tenant import Tenant
from streamer.first_key import first_tenant_id


def show(settings: Settings, tenant: str | None) -> int:
    """Prints the secret that is valid now, alone. Raises SettingInvalid."""
    secret = load_secret(settings)
    connect(settings)
    with database.connection_context():
        signer = signing.find_signer(_tenant_id(tenant), settings.signing_overlap_seconds)
    print(signer.secrets(secret)[0])
    return 0


def rotate(settings: Settings, tenant: str | None) -> int:
    """Begins a new secret and prints it, alone; until when the one before signs too stands on stderr. Raises SettingInvalid."""
    secret = load_secret(settings)
    connect(settings)
    with database.connection_context():
        signer = signing.rotate(_tenant_id(tenant), settings.signing_overlap_seconds)
    print(signer.secrets(secret)[0])
    until = datetime.now(UTC) + timedelta(seconds=settings.signing_overlap_seconds)
    print(f"the secret before signs too until {until:%Y-%m-%d %H:%M} UTC", file=sys.stderr)
    return 0


def _tenant_id(public_id: str | None) -> int:
    if public_id is None:
        return first_tenant_id()
    found: Tenant | None = Tenant.get_or_none(Tenant.public_id == public_id)
    if found is None:
        raise SettingInvalid(f"there is no tenant {public_id!r}: leave --tenant out for the first")
    return found.id
