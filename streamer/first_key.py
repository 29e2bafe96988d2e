"""The API key that every installation begins with, in `<data>/api_key`."""

import enum

from models.api_key import create_key, find_key, public_id_of, verify_key
from models.database import database
from models.secret import Secret
from models.settings import Settings
from models.tenant import first_tenant
from streamer.data_folder import write_private

SCOPES = ("session", "chat", "admin")


class FirstKey(enum.Enum):
    """What stands in `<data>/api_key`."""

    GOOD = "good"
    REVOKED = "revoked or expired"
    FOREIGN = "made with another secret"


def ensure_first_key(settings: Settings, secret: Secret) -> FirstKey:
    """Makes the key where the file holds none that the database knows; one that was revoked stays so."""
    path = settings.data_path / "api_key"
    plain = path.read_text(errors="replace").strip() if path.exists() else ""
    row = find_key(public_id_of(plain) or "")
    if row is None:
        with database.atomic():  # the file is written before the commit: a key that nobody has is never stored
            _, plain = create_key(first_tenant_id(), "first", SCOPES, None, secret=secret)
            write_private(path, f"{plain}\n")
        return FirstKey.GOOD
    if not row.live:
        return FirstKey.REVOKED
    return FirstKey.GOOD if verify_key(plain, secret) else FirstKey.FOREIGN


def first_tenant_id() -> int:
    """Whose key it is where nothing else is said."""
    return int(first_tenant().get_id())  # type: ignore[no-untyped-call]
