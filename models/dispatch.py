"""Which queued generations are in the broker's hands: of each tenant so many and no more, so that none holds up the others.

The others wait in the table, and go on as those end: the tenants take turns, each one's oldest first. The broker's own order is
the one in which it got them.
"""

from typing import Any

from peewee import Case, fn

from models.database import database, now, read_now, returned
from models.generation import IS_OPEN, WAITS, Generation, Status
from models.open_limit import Open
from models.prepared import prepared
from models.settings import Settings

#: Rows that go on at once at most.
BATCH = 500


def share(settings: Settings) -> int:
    """How many generations of one tenant the broker and its workers may hold."""
    return settings.max_in_broker_per_tenant or max(1, settings.worker_threads // 2)


def may_go_on(under_way: Open, settings: Settings) -> bool:
    """Whether one more of the tenant's may go to the broker now, by the counts in the transaction that stores it."""
    return under_way.waiting == 0 and under_way.of_tenant < share(settings)


def position(row: Generation) -> int:
    """The place in line of a queued generation, from 1 on, as the tenants' turns are now."""
    if row.enqueue_at < WAITS:
        return 1 + int(_handed_before(created_at=row.created_at).fetchone()[0])
    queued = IS_OPEN & (Generation.status == Status.QUEUED)
    handed = Generation.select().where(queued & (Generation.enqueue_at < WAITS))
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


@prepared
def _handed_before(created_at: Any) -> Any:
    handed = (Generation.status == Status.QUEUED) & (Generation.enqueue_at < WAITS)
    return Generation.select(fn.COUNT(Generation.id)).where(IS_OPEN & handed & (Generation.created_at < created_at))


def oldest_seconds() -> float | None:
    """For how long the oldest queued generation has waited; None where none waits."""
    since = Generation.select(fn.MIN(Generation.created_at)).where(IS_OPEN & (Generation.status == Status.QUEUED))
    found = since.scalar()
    return None if found is None else max(0.0, read_now() - float(found))


def take_next(settings: Settings) -> list[str]:
    """Marks as handed on whatever has a place now, and returns the ids in the order in which the broker is to get them.

    Who calls it enqueues them; a sweeper does so again for what nobody claims.
    """
    if not _waiting().fetchall():
        return []
    with database.atomic():
        chosen = _choose(share(settings))
        rows = returned(
            Generation.update(enqueue_at=now() + settings.reenqueue_seconds)
            .where(Generation.id.in_(chosen) & (Generation.status == Status.QUEUED) & (Generation.enqueue_at >= WAITS))
            .returning(Generation.id)
            .tuples()
        )
    taken = {row[0] for row in rows}
    return [each for each in chosen if each in taken]


@prepared
def _waiting() -> Any:
    return Generation.select(Generation.id).where(IS_OPEN & (Generation.enqueue_at >= WAITS)).limit(1)


def _choose(most: int) -> list[str]:
    """Round robin: every tenant's next, then every tenant's one after that, as far as each one's places go."""
    waits = Generation.enqueue_at >= WAITS
    counts: Any = (
        Generation.select(Generation.tenant, fn.COUNT(Generation.id), fn.COUNT(Case(None, [(waits, 1)])))
        .where(IS_OPEN)
        .group_by(Generation.tenant)
        .tuples()
    )
    handed = {tenant: total - waiting for tenant, total, waiting in counts}
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
    return [row_id for row_id, tenant, turn_of_row in rows if turn_of_row <= most - handed[tenant]][:BATCH]
