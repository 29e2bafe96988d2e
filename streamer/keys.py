"""`streamer keys`: makes, lists and revokes API keys."""

from datetime import UTC, datetime

from models.api_key import create_key, list_keys, revoke_key
from models.database import connect, database, read_now
from models.errors import SettingInvalid
from models.secret import load_secret
from models.settings import Settings
from streamer.first_key import first_tenant_id

DAY_SECONDS = 86400


def create(settings: Settings, name: str, scopes: str, expires_days: float | None) -> int:
    """Prints the new key, which is shown this once. Raises SettingInvalid, BadRequest."""
    if expires_days is not None and not 0 < expires_days < 36500:
        raise SettingInvalid("--expires-days must be above 0 and below 36500")
    if not name.strip() or not name.isprintable():
        raise SettingInvalid("--name must have a character at least, and no line breaks")
    if not scopes.split():
        raise SettingInvalid("--scopes must have a word at least, such as session")
    secret = load_secret(settings)
    connect(settings)
    with database.connection_context():
        expires_at = None if expires_days is None else read_now() + expires_days * DAY_SECONDS
        _, plain = create_key(first_tenant_id(), name.strip(), scopes.split(), expires_at, secret=secret)
    print(plain)
    return 0


def show(settings: Settings) -> int:
    """Prints a table of all keys. Times are UTC. Raises SettingInvalid."""
    connect(settings)
    with database.connection_context():
        rows: list[tuple[str, ...]] = [("ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "REVOKED")]
        for key in list_keys():
            times = (key.created_at, key.expires_at, key.revoked_at)
            rows.append((key.public_id, key.name, key.scopes, *map(_minute, times)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def revoke(settings: Settings, public_id: str) -> int:
    """Revokes a key, and with it all that it minted, within 15 s. Raises SettingInvalid."""
    connect(settings)
    with database.connection_context():
        if not revoke_key(public_id):
            raise SettingInvalid(f"there is no live key {public_id!r}: see `streamer keys list`")
    print(f"{public_id} is revoked")
    return 0


def _minute(seconds: float | None) -> str:
    return "-" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
