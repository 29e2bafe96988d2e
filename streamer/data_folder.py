"""The data folder of `streamer up`: one supervisor at a time, and what it tells about itself to other commands."""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from models.errors import SettingInvalid
from models.settings import Settings

#: How long another command may hold the lock to see whether somebody has it.
GLANCE_SECONDS = 0.3


class DataFolder:
    """`with DataFolder(settings):` holds the folder alone. The kernel frees it when the process ends, however it ends.

    Raises SettingInvalid where the folder can't be made or written, or another `streamer up` has it.
    """

    def __init__(self, settings: Settings) -> None:
        self.path = settings.data_path
        self._told = self.path / "up.json"
        self._lock = -1

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            if not _take_within(self._lock, GLANCE_SECONDS):
                pid = os.read(self._lock, 32).decode(errors="replace").strip() or "unknown"
                raise SettingInvalid(
                    f"`streamer up` runs on {self.path} already (process {pid}): stop it, or see --data"
                )
            os.ftruncate(self._lock, 0)
            os.write(self._lock, f"{os.getpid()}\n".encode())
        except FileExistsError:
            raise SettingInvalid(f"{self.path} is no folder: see --data") from None
        except OSError as error:
            raise SettingInvalid(
                f"the data folder {self.path} can't be written ({error.strerror}): see --data"
            ) from None
        self._told.unlink(missing_ok=True)  # of one that was killed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._told.unlink(missing_ok=True)
        os.close(self._lock)

    def tell(self, url: str) -> None:
        """Says where the service answers, once it does."""
        aside = self._told.with_suffix(".new")
        aside.write_text(json.dumps({"pid": os.getpid(), "url": url}) + "\n")
        aside.replace(self._told)


def running_url(settings: Settings) -> str | None:
    """Where the service of the data folder answers; None where no `streamer up` runs on it or it is not ready."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        with (settings.data_path / "lock").open() as lock:
            if _take(lock.fileno()):
                return None
        return str(json.loads((settings.data_path / "up.json").read_text())["url"])
    return None


def write_private(path: Path, text: str) -> None:
    """Writes a file whole or not at all, for its owner's eyes only (0600)."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _take_within(descriptor: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not _take(descriptor):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
