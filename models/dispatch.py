"""Which queued generations are in the broker's hands: of each tenant so many and no more, so that none holds up the others.

The others wait in the table, and go on as those end: the tenants take turns, each one's oldest first. The broker's own order is
the one in which it got them.
"""

from typing import Any

from peewee import Case, fn

from models.database import database, now, read_now, returned, shut_out
from models.generation import IS_OPEN, Generation, Status
from models.settings import Settings

#: `enqueue_at` of what waits for its tenant's turn: no sweeper enqueues it.
WAITS = 1e12

#: Rows that go on at once at most.
BATCH = 500


def share(settings: Settings) -> int:
    """How many generations of one tenant the broker and its workers may hold."""
    return settings.max_in_broker_per_tenant or max(1, settings.worker_threads // 2)


def may_go_on(tenant_id: int, settings: Settings) -> bool:
    """Whether one more of the tenant's may go to the broker now. Call it in the transaction that stores it."""
    waits = Generation.enqueue_at >= WAITS
    of_tenant = (Generation.tenant == tenant_id) & (Generation.visitor >= "") & IS_OPEN  # see models/open_limit.py
    counts: Any = (
        Generation.select(fn.COUNT(Generation.id), fn.COUNT(Case(None, [(waits, 1)]))).where(of_tenant).tuples()
    )
    total, waiting = counts.get()
    return bool(waiting == 0 and total < share(settings))


def position(row: Generation) -> int:
    """The place in line of a queued generation, from 1 on, as the tenants' turns are now."""
    queued = IS_OPEN & (Generation.status == Status.QUEUED)
    handed = Generation.select().where(queued & (Generation.enqueue_at < WAITS))
    if row.enqueue_at < WAITS:
        return 1 + int(handed.where(Generation.created_at < row.created_at).count())
    mine = row.__data__["tenant"]
    before = (Generation.tenant == mine) & (Generation.created_at < row.created_at)
    counts: Any = (
        Generation.select(Generation.tenant, fn.COUNT(Generation.id), fn.COUNT(Case(None, [(before, 1)])))
        .where(queued & (Generation.enqueue_at >= WAITS))
        .group_by(Generation.tenant)
        .tuples()
    )
    turn: int = 1 + sum(earlier for _, _, earlier in counts)
    others = sum(min(total, turn) for tenant, total, _ in counts if tenant != mine)
    return int(handed.count()) + int(turn + others)


def oldest_seconds() -> float | None:
    """For how long the oldest queued generation has waited; None where none waits."""
    since = Generation.select(fn.MIN(Generation.created_at)).where(IS_OPEN & (Generation.status == Status.QUEUED))
    found = since.scalar()
    return None if found is None else max(0.0, read_now() - float(found))


def take_next(settings: Settings) -> list[str]:
    """Marks as handed on whatever has a place now, and returns the ids in the order in which the broker is to get them.

    Who calls it enqueues them; a sweeper does so again for what nobody claims.
    """
    if not Generation.select().where(IS_OPEN & (Generation.enqueue_at >= WAITS)).exists():
        return []
    with database.atomic():
        shut_out("dispatch")
        chosen = _choose(share(settings))
        rows = returned(
            Generation.update(enqueue_at=now() + settings.reenqueue_seconds)
            .where(Generation.id.in_(chosen) & (Generation.status == Status.QUEUED) & (Generation.enqueue_at >= WAITS))
            .returning(Generation.id)
            .tuples()
        )
    taken = {row[0] for row in rows}
    return [each for each in chosen if each in taken]


def _choose(most: int) -> list[str]:
    """Round robin: every tenant's next, then every tenant's one after that, as far as each one's places go."""
    waits = Generation.enqueue_at >= WAITS
    turn = fn.ROW_NUMBER().over(partition_by=[Generation.tenant], order_by=[Generation.created_at]).alias("turn")
    waiting = Generation.select(Generation.id, Generation.tenant, Generation.created_at, turn).where(IS_OPEN & waits)
    ranked = waiting.alias("waiting")
    rows: Any = (
        Generation.select(ranked.c.id, ranked.c.tenant_id, ranked.c.turn)
        .from_(ranked)
        .where(ranked.c.turn <= most)
        .order_by(ranked.c.turn, ranked.c.created_at)
        .tuples()
    )
    chosen = list(rows)
    handed = _handed()  # read last: what was admitted meanwhile has taken its place
    return [row_id for row_id, tenant, turn_of_row in chosen if turn_of_row <= most - handed.get(tenant, 0)][:BATCH]


def _handed() -> dict[int, int]:
    """How many of each tenant with open generations the broker holds."""
    waits = Generation.enqueue_at >= WAITS
    counts: Any = (
        Generation.select(Generation.tenant, fn.COUNT(Generation.id), fn.COUNT(Case(None, [(waits, 1)])))
        .where(IS_OPEN)
        .group_by(Generation.tenant)
        .tuples()
    )
    return {tenant: total - waiting for tenant, total, waiting in counts}
