"""What the whole service does now, in figures: a few statements, each served by an index or a small table."""

from typing import Any

import msgspec
from peewee import SQL, Case, fn

from models.database import now
from models.dispatch import WAITS
from models.generation import IS_FAILED, IS_OPEN, Generation, Status
from models.periodic import Worker
from models.settings import Settings

#: How far back failures are counted, and how many of them at most, the newest.
FAILURE_SECONDS = 3600
MAX_FAILURES = 10_000

#: Workers that are listed at most, those that beat last.
MAX_WORKERS = 100


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that have not ended. `waiting_for_turn`: those among `queued` that their tenant's share holds back."""

    queued: int
    waiting_for_turn: int
    oldest_queued_seconds: float | None
    running: int


class FailureCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often an error came up, and how long ago it did last."""

    code: str
    count: int
    newest_seconds: float


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that ended as `error` in the last `within_seconds`, the most frequent code first.

    `more`: there were more than are counted.
    """

    within_seconds: int
    total: int
    more: bool
    codes: list[FailureCount]


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """A worker process. `silent`: its last heartbeat is older than one may be."""

    id: str
    host: str
    pid: int
    running: int
    up_seconds: float
    heartbeat_seconds: float
    silent: bool


class Workers(msgspec.Struct, frozen=True, kw_only=True):
    """Every worker that has beaten in the last hour or so, and not stopped; `listed` are 100 of `total` at most."""

    total: int
    listed: list[WorkerState]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    answers: Answers
    failures: Failures
    workers: Workers


def read_figures(settings: Settings) -> Figures:
    """The figures as they are now."""
    return Figures(answers=_answers(), failures=_failures(), workers=_workers(settings.heartbeat_seconds))


def _answers() -> Answers:
    queued = Generation.status == Status.QUEUED
    counts: Any = (
        Generation.select(
            fn.COUNT(Case(None, [(queued, 1)])),
            fn.COUNT(Case(None, [(queued & (Generation.enqueue_at >= WAITS), 1)])),
            now() - fn.MIN(Case(None, [(queued, Generation.created_at)])),
            fn.COUNT(Case(None, [(Generation.status == Status.RUNNING, 1)])),
        )
        .where(IS_OPEN)
        .tuples()
    )
    waiting, held_back, oldest, running = counts.get()
    return Answers(
        queued=waiting,
        waiting_for_turn=held_back,
        oldest_queued_seconds=None if oldest is None else max(0.0, float(oldest)),
        running=running,
    )


def _failures() -> Failures:
    newest = (
        Generation.select(Generation.error_code, Generation.finished_at)
        .where(IS_FAILED & (Generation.finished_at > now() - FAILURE_SECONDS))
        .order_by(Generation.finished_at.desc())
        .limit(MAX_FAILURES)
        .alias("newest")
    )
    found: Any = (
        Generation.select(newest.c.error_code, fn.COUNT(SQL("*")), now() - fn.MAX(newest.c.finished_at))
        .from_(newest)
        .group_by(newest.c.error_code)
        .tuples()
    )
    codes = [FailureCount(code=code, count=count, newest_seconds=max(0.0, float(age))) for code, count, age in found]
    total = sum(each.count for each in codes)
    return Failures(
        within_seconds=FAILURE_SECONDS,
        total=total,
        more=total == MAX_FAILURES,
        codes=sorted(codes, key=lambda each: (-each.count, each.code)),
    )


def _workers(heartbeat_seconds: float) -> Workers:
    age, up = now() - Worker.heartbeat_at, now() - Worker.started_at
    found: Any = (
        Worker.select(Worker.id, Worker.host, Worker.pid, Worker.running, up, age)
        .order_by(Worker.heartbeat_at.desc())
        .limit(MAX_WORKERS)
        .tuples()
    )
    listed = [
        WorkerState(
            id=worker_id,
            host=host,
            pid=pid,
            running=running,
            up_seconds=max(0.0, float(up_for)),
            heartbeat_seconds=max(0.0, float(silent_for)),
            silent=silent_for > heartbeat_seconds,
        )
        for worker_id, host, pid, running, up_for, silent_for in found
    ]
    total = Worker.select().count() if len(listed) == MAX_WORKERS else len(listed)
    return Workers(total=total, listed=sorted(listed, key=lambda each: (each.host, each.pid, each.id)))
