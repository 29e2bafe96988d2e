"""The installation's one secret: everything that is signed or hashed here uses a key derived from it."""

import hashlib
import hmac
import logging
import os
import secrets
from pathlib import Path

from models.errors import SettingInvalid
from models.settings import Settings, env_name

logger = logging.getLogger(__name__)

#: Characters that a secret has at least.
SECRET_LENGTH = 32


class Secret:
    """Gives a key a purpose, and never shows itself: not in a `repr`, not in an error, not in a log."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value.encode()

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose: HMAC-SHA256 as the pseudo-random function of RFC 5869 §2.3, `purpose` as the info.

        From one key neither the secret nor the key of another purpose can be found.
        """
        return hmac.digest(self._value, b"streamer/1/" + purpose.encode(), hashlib.sha256)

    def __repr__(self) -> str:
        return "Secret(…)"


def load_secret(settings: Settings) -> Secret:
    """The secret of the settings, else that of `<data>/secret`, which is made on first use, with mode 0600.

    Any number of processes may do this at once: all get the same. Raises SettingInvalid where the secret is too short, or the
    file can't be made, read or kept from others' eyes.
    """
    if settings.secret:
        return _checked(settings.secret, env_name("secret"))
    path = settings.data_path / "secret"
    try:
        if not path.exists():
            _create(path)
        return _checked(_read_private(path), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingInvalid(f"{path} can't be used ({reason}): mend it or set {env_name('secret')}") from None


def _checked(value: str, where: str) -> Secret:
    value = value.strip()
    if len(value) < SECRET_LENGTH or not value.isprintable():
        raise SettingInvalid(f"{where} must hold one line of at least {SECRET_LENGTH} characters, chosen at random")
    return Secret(value)


def _create(path: Path) -> None:
    """Makes the file whole or not at all: written aside, then linked, which fails where another process was first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".secret.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(aside, path)
        except FileExistsError:
            return
    finally:
        aside.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Without this a power loss could take the file, and with it every API key's validity."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_private(path: Path) -> str:
    """The file's text. Takes it from others' eyes first where they could see it, and says so."""
    with path.open(encoding="utf-8") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            os.fchmod(file.fileno(), 0o600)
            logger.warning(
                "%s could be read by others and is private again; if they may have read it, replace it", path
            )
        return file.read(4096)
