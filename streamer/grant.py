"""Grants: what stands behind the `#` of the address that `streamer up` prints; the page changes it for a visitor token."""

import time

import msgspec

from models.api_key import public_id_of
from models.errors import SettingInvalid
from models.secret import Secret
from models.settings import Settings
from streamer.seal import Seal

#: The visitor that a grant's holder is.
OWNER = "owner"


class Grant(msgspec.Struct, frozen=True, rename={"expires_at": "e", "key_id": "k"}):
    """Good for visitor tokens under the API key `key_id` until `expires_at`, in Unix seconds."""

    key_id: str
    expires_at: float


class GrantOffice:
    """Mints grants under the installation's first API key and reads them."""

    def __init__(self, settings: Settings, secret: Secret) -> None:
        self._settings = settings
        self._seal = Seal(secret.derive("grant"))

    def mint(self) -> str:
        """A grant for `settings.grant_seconds`. Raises SettingInvalid where `<data>/api_key` holds no API key."""
        path = self._settings.data_path / "api_key"
        try:
            key_id = public_id_of(path.read_text(encoding="ascii").strip())
        except (OSError, UnicodeDecodeError):
            key_id = None
        if key_id is None:
            raise SettingInvalid(f"{path} holds no API key: `streamer keys create` makes one")
        return self._seal.close(Grant(key_id, float(int(time.time()) + self._settings.grant_seconds)))

    def read(self, grant: str) -> Grant:
        """Raises Unauthorized where the grant is forged or expired. Whether its key is still good is not looked at."""
        return self._seal.open(grant, Grant)
