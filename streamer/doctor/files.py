"""What lies in the data folder, apart from the database. Nothing is made or mended here."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from models.api_key import ApiKey, find_key, public_id_of, verify_key
from models.database import connect, database, is_there
from models.errors import SettingInvalid
from models.secret import SECRET_LENGTH, Secret
from models.settings import Settings, env_name
from streamer.doctor.check import Finding, failed, ok, warning

MB = 1024 * 1024

#: Free space below which nothing can be promised, and below which it is time to look.
LEAST_MB, LITTLE_MB = 100, 1024

_GIVE_BACK = "put the file back from a backup, or accept that every API key, token and link ends"


def data_folder(settings: Settings) -> Iterator[Finding]:
    """Whether the folder is there, may be written, and is its owner's alone."""
    path = settings.data_path
    if not path.exists():
        parent = _nearest(path)
        if os.access(parent, os.W_OK | os.X_OK):
            yield ok(f"{path} is not there yet: `streamer up` and `streamer migrate` make it")
        else:
            yield failed(f"{path} is not there, and {parent} can't be written", "choose another with --data")
        return
    if not path.is_dir():
        yield failed(f"{path} is no folder", "choose another with --data")
        return
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield failed(
            f"{path} can't be written by this user", f"give it to this user (chown {os.geteuid()}), or see --data"
        )
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        yield warning(f"{path} has mode {mode:04o}: others can look in", f"`chmod 700 {path}`")
    else:
        yield ok(f"{path}, mode {mode:04o}")


def disk_space(settings: Settings) -> Iterator[Finding]:
    """Whether the disk has room: a full one turns POSTs away."""
    free = shutil.disk_usage(_nearest(settings.data_path)).free // MB
    change = "free some space, move the folder with --data, or lower STREAMER_CONVERSATION_DAYS"
    if free < LEAST_MB:
        yield failed(f"{free} MB are free", change)
    elif free < LITTLE_MB:
        yield warning(f"{free} MB are free", change)
    else:
        yield ok(f"{free / 1024:.1f} GB are free")


def secret(settings: Settings) -> Iterator[Finding]:
    """Where the secret comes from, and whether it will do."""
    path = settings.data_path / "secret"
    if settings.secret:
        yield from _length(settings.secret, env_name("secret"))
        return
    if not path.exists():
        if _has_keys(settings):
            yield failed(f"{path} is gone, and the database's API keys were made with it", _GIVE_BACK)
        else:
            yield ok(f"none yet: the first start makes {path}")
        return
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        yield warning(
            f"{path} has mode {mode:04o}: others can read it", f"`chmod 600 {path}`; replace it if they may have"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        yield failed(
            f"{path} can't be read", f"let this user read it (chown {os.geteuid()}), or set {env_name('secret')}"
        )
        return
    yield from _length(text, f"{path}, mode {mode:04o}")


def api_key(settings: Settings) -> Iterator[Finding]:
    """Whether `<data>/api_key` opens the service."""
    path = settings.data_path / "api_key"
    if not path.exists():
        yield ok("none in the data folder: `streamer up` makes one, `streamer keys create` others")
        return
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        yield warning(
            f"{path} has mode {mode:04o}: others can read it", f"`chmod 600 {path}`; revoke it if they may have"
        )
    plain, held = path.read_text(errors="replace").strip(), settings.secret
    if not held and (settings.data_path / "secret").exists():
        held = (settings.data_path / "secret").read_text(errors="replace").strip()
    if not held or not is_there(settings):
        yield warning(f"{path} can't be tried: there is no secret or no database", "see the lines of these two")
        return
    connect(settings)
    with database.connection_context():
        row, genuine = find_key(public_id_of(plain) or ""), verify_key(plain, Secret(held)) is not None
    if row is None:
        yield warning(f"{path} holds no key of this database", "`streamer up` makes a new one")
    elif not row.live:
        yield warning(f"{path} holds a key that is revoked or expired", "`streamer keys create` makes another")
    elif not genuine:
        yield failed(
            f"{path} holds a key that was made with another secret",
            f"set {env_name('secret')} as it was; or {_GIVE_BACK}",
        )
    else:
        yield ok(f"{path}, mode {mode:04o}, scopes {row.scopes}")


def _has_keys(settings: Settings) -> bool:
    if not is_there(settings):
        return False
    try:
        connect(settings)
    except SettingInvalid:  # the line `database` or `migrations` says so
        return False
    with database.connection_context():
        return bool(ApiKey.select().exists())


def _length(value: str, where: str) -> Iterator[Finding]:
    value = value.strip()
    if len(value) < SECRET_LENGTH or not value.isprintable():
        change = f"one line of {SECRET_LENGTH} characters or more: `python3 -c 'import secrets; print(secrets.token_urlsafe(32))'`"
        yield failed(f"{where}: {len(value)} characters will not do", change)
    else:
        yield ok(f"{where}, {len(value)} characters")


def _nearest(path: Path) -> Path:
    """The folder itself, or the first above it that is there."""
    return next(each for each in (path, *path.parents) if each.exists())
