"""Figures of timelines, and of the machine on which they came."""

import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from benchmarks.client import Timeline
from streamer.redis_server import find_redis_server

#: What of the service's own packages has to do with it.
PACKAGES = ("dramatiq", "redis", "hiredis", "uvicorn", "uvloop", "httptools", "starlette", "peewee", "msgspec")


class Quantiles(NamedTuple):
    """Of so many values, in ms."""

    p50: float
    p95: float
    p99: float
    most: float
    requests: int


def quantiles(values: Iterable[float]) -> Quantiles:
    """By the nearest rank; nothing but zeros where there is no value."""
    found = sorted(values)
    if not found:
        return Quantiles(0, 0, 0, 0, 0)

    def at(percent: int) -> float:
        return round(found[max(0, -(-percent * len(found) // 100) - 1)], 2)

    return Quantiles(at(50), at(95), at(99), round(found[-1], 2), len(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One scene with one subject in one run. `own_ms` is the time to the first text without the provider's own.

    `parts` are pieces of it, `cpu` shares of a core while the scene went on, `load` the load generator's own.
    """

    run: int
    subject: str
    scene: str
    failed: int
    errors: list[str]
    own_ms: Quantiles
    parts: dict[str, Quantiles]
    late_ms: Quantiles
    cpu: dict[str, float]


def figures(
    run: int,
    subject: str,
    scene: str,
    lines: Sequence[Timeline],
    cpu: Mapping[str, float],
    claims_ms: Sequence[float] = (),
) -> Figures:
    """`claims_ms`: from each row's birth to its claim, where the subject has rows."""
    good = [line for line in lines if not line.error]
    parts = {
        "POST to its answer": [(line.accepted - line.posted) / 1e6 for line in good if line.accepted],
        "row written to claimed": claims_ms,
        "POST to the provider's request": [(line.asked - line.posted) / 1e6 for line in good],
        "provider's first text to the viewer": [(line.seen - line.spoke) / 1e6 for line in good],
    }
    return Figures(
        run=run,
        subject=subject,
        scene=scene,
        failed=len(lines) - len(good),
        errors=sorted({line.error for line in lines if line.error})[:3],
        own_ms=quantiles(line.own_ms for line in good),
        parts={name: quantiles(values) for name, values in parts.items() if values},
        late_ms=quantiles(line.late_ns / 1e6 for line in lines),
        cpu={name: round(share, 3) for name, share in cpu.items()},
    )


def claims_ms(database: Path, lines: Sequence[Timeline]) -> list[float]:
    """From each row's birth, inside POST's transaction, to its claim; both times are the database's."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        found = dict(connection.execute("SELECT id, 1000 * (claimed_at - created_at) FROM generation"))
    return [found[line.id] for line in lines if found.get(line.id) is not None]


def machine() -> dict[str, str]:
    """What it is, and the versions of what runs on it."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = Path("/proc/meminfo").read_text().split()[1]
    redis = subprocess.run([find_redis_server(), "--version"], capture_output=True, text=True, check=False).stdout
    return {
        "processor": f"{os.cpu_count()} × {cpu[0].partition(':')[2].strip() if cpu else platform.machine()}",
        "memory": f"{int(memory) / 1024 / 1024:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "redis-server": next((word[2:] for word in redis.split() if word.startswith("v=")), "?"),
        **{name: version(name) for name in PACKAGES},
    }


def load_average() -> str:
    """Of 1, 5 and 15 minutes."""
    return " ".join(f"{each:.2f}" for each in os.getloadavg())
