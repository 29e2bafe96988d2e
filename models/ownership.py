"""Who works on a generation: claimed under a run number, held by a lease, given up or taken over. The run is the fence."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from peewee import Case

from models.database import execute, now, returned
from models.generation import OPEN, Generation, Status
from models.prepared import prepared, row_of

#: Rows in one renewal statement at most: SQLite allows 32,766 parameters, Postgres 65,535.
RENEWAL_ROWS = 1000


class Held(NamedTuple):
    """What a worker holds, with the text so far where it has changed since the last renewal."""

    id: str
    run: int
    text: str | None = None
    reasoning: str | None = None
    tool_calls: str | None = None
    checkpoint_id: str | None = None


def claim(generation_id: str, worker: str, lease_seconds: float, *, judge_leases: bool) -> Generation | None:
    """Takes a generation for `worker` under the next run number, and returns its row; None where it is not to be had.

    To be had is what is queued, or runs with an expired lease and may run again; not what is cancelled or past its deadline.
    `judge_leases`: whether the caller has seen a healthy database for one lease; else no lease counts as expired.
    """
    claiming = _claim_any if judge_leases else _claim_queued
    return row_of(Generation, claiming(generation_id=generation_id, worker=worker, lease_seconds=lease_seconds))


def _claiming(generation_id: Any, worker: Any, lease_seconds: Any, free: Any) -> Any:
    return (
        Generation.update(
            status=Status.RUNNING,
            run=Generation.run + 1,
            crashes=Generation.crashes + Case(None, [(Generation.status == Status.RUNNING, 1)], 0),
            worker=worker,
            lease_until=now() + lease_seconds,
            claimed_at=now(),
            enqueue_at=now(),
            enqueues=0,
            text="",
            reasoning="",
            tool_calls=None,
            checkpoint_id=None,
        )
        .where(
            (Generation.id == generation_id)
            & free
            & Generation.cancel_requested_at.is_null()
            & (Generation.deadline_at > now())
        )
        .returning(Generation)
    )


@prepared
def _claim_queued(generation_id: Any, worker: Any, lease_seconds: Any) -> Any:
    return _claiming(generation_id, worker, lease_seconds, Generation.status == Status.QUEUED)


@prepared
def _claim_any(generation_id: Any, worker: Any, lease_seconds: Any) -> Any:
    lost = (Generation.status == Status.RUNNING) & (Generation.lease_until < now()) & may_restart()
    return _claiming(generation_id, worker, lease_seconds, (Generation.status == Status.QUEUED) | lost)


def may_restart() -> Any:
    """Whether a generation whose worker is lost may run anew, without anyone looking at its text."""
    return (Generation.on_worker_lost == "restart") & (Generation.crashes + 1 < Generation.max_crashes)


def renew(held: Sequence[Held], lease_seconds: float) -> dict[str, bool]:
    """Renews the leases of all `held` and stores their texts, in one statement.

    Returns what is still held, by id, and whether its cancel was asked for. What is missing belongs to somebody else now.
    A renewal is guarded by the run, never by the lease's expiry: as long as nobody else claimed it, it is ours.
    """
    kept: dict[str, bool] = {}
    for start in range(0, len(held), RENEWAL_ROWS):
        rows = held[start : start + RENEWAL_ROWS]
        values = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(rows))
        cursor = execute(
            f"WITH held(id, run, text, reasoning, tool_calls, checkpoint_id) AS (VALUES {values}) "  # noqa: S608 (marks only)
            "UPDATE generation SET lease_until = database_now() + ?, "
            "text = coalesce(held.text, generation.text), "
            "reasoning = coalesce(held.reasoning, generation.reasoning), "
            "tool_calls = coalesce(held.tool_calls, generation.tool_calls), "
            "checkpoint_id = coalesce(held.checkpoint_id, generation.checkpoint_id) "
            "FROM held WHERE generation.id = held.id AND generation.run = held.run AND generation.status = 'running' "
            "RETURNING generation.id, generation.cancel_requested_at",
            *(value for row in rows for value in row),
            lease_seconds,
        )
        # The column itself: SQLite 3.40 answers `… IS NOT NULL` wrongly in the RETURNING of an UPDATE … FROM.
        kept |= {row[0]: row[1] is not None for row in cursor.fetchall()}
    return kept


def still_holds(generation_id: str, run: int) -> bool:
    """Whether the run is still the generation's: asked before a log is made, or made again."""
    ours = (Generation.id == generation_id) & (Generation.run == run) & (Generation.status == Status.RUNNING)
    return bool(Generation.select().where(ours).exists())


def give_back(generation_id: str, run: int) -> bool:
    """Queues a held generation again, because its worker stops. It counts as no crash. Whether it was ours to give."""
    changed: int = (
        Generation.update(status=Status.QUEUED, lease_until=0, enqueue_at=now(), enqueues=0)
        .where((Generation.id == generation_id) & (Generation.run == run) & (Generation.status == Status.RUNNING))
        .execute()
    )
    return changed > 0


def put_back(generation_id: str, run: int, reenqueue_seconds: float) -> bool:
    """Queues a generation again whose worker is lost. It counts as a crash. Whether it was still so.

    The caller enqueues it; a sweeper does so again after `reenqueue_seconds`.
    """
    changed: int = (
        Generation.update(
            status=Status.QUEUED,
            lease_until=0,
            enqueue_at=now() + reenqueue_seconds,
            enqueues=1,
            crashes=Generation.crashes + 1,
        )
        .where(
            (Generation.id == generation_id)
            & (Generation.run == run)
            & (Generation.status == Status.RUNNING)
            & (Generation.lease_until < now())
        )
        .execute()
    )
    return changed > 0


def request_cancel(generation_id: str) -> Generation | None:
    """Sets the cancel flag of an open generation and returns the row as it is then, ended or not."""
    Generation.update(cancel_requested_at=now()).where(
        (Generation.id == generation_id) & Generation.status.in_(OPEN) & Generation.cancel_requested_at.is_null()
    ).execute()
    found: Generation | None = Generation.get_or_none(Generation.id == generation_id)
    return found


def restart_run(generation_id: str, run: int, lease_seconds: float) -> Generation | None:
    """The holder's own next run, because its provider broke off. Guarded like a claim; it counts as a call, not as a crash."""
    rows = returned(
        Generation.update(
            run=Generation.run + 1,
            lease_until=now() + lease_seconds,
            text="",
            reasoning="",
            tool_calls=None,
            checkpoint_id=None,
        )
        .where(
            (Generation.id == generation_id)
            & (Generation.run == run)
            & (Generation.status == Status.RUNNING)
            & (Generation.calls < Generation.max_calls)
            & Generation.cancel_requested_at.is_null()
            & (Generation.deadline_at > now())
        )
        .returning(Generation)
    )
    return rows[0] if rows else None
