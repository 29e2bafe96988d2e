"""Which Redis the settings mean: for the event log and for the queue. And where the private one listens."""

import contextlib
import os
import re
import socket
import tempfile
from pathlib import Path
from urllib.parse import quote

from redis.asyncio.connection import ConnectionPool as AsyncConnectionPool
from redis.asyncio.connection import SSLConnection
from redis.connection import ConnectionPool, parse_url
from redis.exceptions import RedisError

from models.errors import SettingInvalid
from models.settings import Settings, env_name

#: Bytes that a Unix socket's address may have (sockaddr_un on Linux, its closing zero aside).
SOCKET_PATH_BYTES = 107

SCHEMES = ("redis://", "rediss://", "unix://")

#: Options of an address that name files: who vouches for the server, and what shows who we are.
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")

#: Options that are ours to choose, or that no text can stand for.
_OURS = frozenset(("decode_responses", "encoding", "event_dispatcher", "max_connections", "retry", "retry_on_error"))

_DATABASE_IN_QUERY = re.compile(r"(?<![^&])db=(\d+)(?![^&])")


def redis_url(settings: Settings) -> str:
    """REDIS_URL, else the address of the private Redis that runs beside the data.

    Raises SettingInvalid where there is neither.
    """
    if settings.redis_url:
        return _checked(settings.redis_url, env_name("redis_url"))
    path = private_socket(settings)
    if path is None or not path.is_socket():
        raise SettingInvalid("no Redis: set REDIS_URL or start `streamer up`")
    return socket_url(path)


def broker_url(settings: Settings) -> str:
    """The queue's own server, else the logical database after the event log's: dramatiq's scripts walk all keys of theirs.

    Raises SettingInvalid as `redis_url` does.
    """
    if settings.broker_url:
        return _checked(settings.broker_url, env_name("broker_url"))
    return _next_database(redis_url(settings))


def socket_url(path: Path) -> str:
    """The address of database 0 behind a Unix socket."""
    return f"unix://{quote(str(path))}?db=0"


def private_socket(settings: Settings) -> Path | None:
    """Where the private Redis of the data folder listens; None where the place has still to be made."""
    record = _record(settings)
    if record.exists():
        return Path(record.read_text().strip())
    beside = _beside(settings)
    return beside if _fits(beside) else None


def make_private_socket(settings: Settings) -> Path:
    """The same, made if need be: where the data folder's path is too long for a socket, or its file system takes none, it
    gets a folder of its own, 0700, in the temporary folder.

    Raises SettingInvalid where no folder is short enough.
    """
    known = private_socket(settings)
    if known is not None and (_takes_sockets(known) if known == _beside(settings) else _is_private(known.parent)):
        return known
    for folder in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - only what mkdtemp makes in it is used
        if _fits(Path(folder, "streamer-12345678", "redis.sock")):
            path = Path(tempfile.mkdtemp(prefix="streamer-", dir=folder), "redis.sock")
            _record(settings).write_text(f"{path}\n")
            return path
    raise SettingInvalid("no folder is short enough for Redis' socket: set TMPDIR, or --data to a shorter path")


def remove_private_socket(settings: Settings) -> None:
    """Takes away the socket that a killed server left behind, and the folder that was made for it."""
    path = private_socket(settings)
    if path is None:
        return
    path.unlink(missing_ok=True)
    if path.parent != settings.data_path:
        with contextlib.suppress(OSError):
            path.parent.rmdir()
        _record(settings).unlink(missing_ok=True)


def _beside(settings: Settings) -> Path:
    return settings.data_path / "redis.sock"


def _record(settings: Settings) -> Path:
    return settings.data_path / "redis.socket"


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES


def _takes_sockets(path: Path) -> bool:
    """Whether a socket can be made there: not in every folder that a container shares with its host."""
    trial = path.with_name("redis.test")  # no longer than the name that is meant
    try:
        trial.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(trial))
        trial.unlink()
    except OSError:
        return False
    return True


def _is_private(folder: Path) -> bool:
    """Whether nobody else can reach what is in it: it lies in a temporary folder that all share."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return found.st_uid == os.geteuid() and found.st_mode & 0o170777 == 0o040700


def _checked(url: str, variable: str) -> str:
    if not url.startswith(SCHEMES):
        raise SettingInvalid(f"{variable} must start with {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}")
    refused = SettingInvalid(f"{variable} is no address of a Redis: see its port and what stands behind a ?")
    try:
        parts: dict[str, object] = parse_url(url)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):  # its words may quote a password
        raise refused from None
    for name in _FILES:
        if name in parts and not os.access(str(parts[name]), os.R_OK):
            raise SettingInvalid(f"{variable} names a file that can't be read: see its {name}")
    if not _OURS.isdisjoint(parts):
        raise refused
    try:
        # They connect only later, and refuse what they do not know: the two kinds of clients know different things.
        ConnectionPool.from_url(url).make_connection()
        connection = AsyncConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
        if isinstance(connection, SSLConnection):
            connection.ssl_context.get()
    except (ValueError, TypeError, OSError, RedisError):
        raise refused from None
    return url


def _next_database(url: str) -> str:
    """The database stands in the query (`?db=2`, which wins) or, but for unix://, in the path (`/2`); else it is 0."""
    head, _, query = url.partition("?")
    if found := _DATABASE_IN_QUERY.search(query):
        start, end = found.span(1)
        return f"{head}?{query[:start]}{int(found[1]) + 1}{query[end:]}"
    if url.startswith("unix://"):
        return f"{head}?{query}&db=1" if query else f"{head}?db=1"
    scheme, _, rest = head.partition("://")
    server, _, path = rest.partition("/")
    number = int(path) + 1 if path.isdecimal() else 1
    return f"{scheme}://{server}/{number}" + (f"?{query}" if query else "")
