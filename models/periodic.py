"""Who does periodic work now, and which workers live: rows that expire by the database's clock."""

from typing import Any

from peewee import DoubleField, IntegerField, TextField, fn

from models.database import Table, now


class Schedule(Table):
    """One kind of periodic work. Whoever moves `next_at` on does it this time."""

    name = TextField(primary_key=True)
    next_at = DoubleField()
    owner = TextField()


class Worker(Table):
    """A live worker process, renewed with its leases."""

    id = TextField(primary_key=True)
    host = TextField()
    pid = IntegerField()
    started_at = DoubleField()
    heartbeat_at = DoubleField()
    running = IntegerField(default=0)
    slots = IntegerField(default=0)


def claim_turn(name: str, owner: str, period_seconds: float) -> bool:
    """Whether `owner` does the work `name` now. All processes may ask as often as they like: one gets it each period."""
    Schedule.insert(name=name, next_at=0, owner=owner).on_conflict_ignore().execute()
    won: int = (
        Schedule.update(next_at=now() + period_seconds, owner=owner)
        .where((Schedule.name == name) & (Schedule.next_at <= now()))
        .execute()
    )
    return won > 0


def hurry(name: str, within_seconds: float = 0.0) -> None:
    """Lets the work `name` be due within so many seconds, if it is later: there is something to do."""
    due = now() + within_seconds
    Schedule.update(next_at=due).where((Schedule.name == name) & (Schedule.next_at > due)).execute()


def beat(worker_id: str, host: str, pid: int, running: int, slots: int = 0) -> None:
    """Says that the worker lives, how many generations it holds, and how many at once it takes."""
    Worker.insert(
        id=worker_id, host=host, pid=pid, started_at=now(), heartbeat_at=now(), running=running, slots=slots
    ).on_conflict(
        conflict_target=[Worker.id],
        update={Worker.heartbeat_at: now(), Worker.running: running, Worker.slots: slots},
    ).execute()


def live_slots(heartbeat_seconds: Any) -> Any:
    """The generations at once that workers take together whose heartbeat is no older: a query of one number, or None."""
    return Worker.select(fn.SUM(Worker.slots)).where(Worker.heartbeat_at > now() - heartbeat_seconds)


def worker_age() -> float | None:
    """Seconds since the newest heartbeat of any worker; None where there never was one."""
    row = Worker.select(now() - Worker.heartbeat_at).order_by(Worker.heartbeat_at.desc()).limit(1).tuples().first()
    return float(row[0]) if row else None


def worker_ages(host: str) -> list[float]:
    """Seconds since the last heartbeat of each worker of one host, the newest first."""
    rows: Any = Worker.select(now() - Worker.heartbeat_at).where(Worker.host == host).tuples()
    return sorted(float(age) for (age,) in rows)


def forget_worker(worker_id: str) -> None:
    """Removes a worker that stops, and those that have been silent for an hour."""
    Worker.delete().where((Worker.id == worker_id) | (Worker.heartbeat_at < now() - 3600)).execute()
