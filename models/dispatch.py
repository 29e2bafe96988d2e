"""Which queued generations are in the broker's hands: of each tenant so many that none holds up the others.

The broker's own order is the one in which it got them: what it holds beyond the workers' slots stands before whoever comes next.
So, unless the operator sets a number:

- A tenant that holds nothing there hands one on, whatever the others do.
- More go on only while a slot is free, so that what is lent to one tenant starts at once and never waits before others.
- The last eighth of the slots, one at least, is kept for tenants that hold no more than that.

One tenant alone has seven eighths of all slots; who comes then starts at once, or is the next to start. The rest waits in the
table and goes on as others end: whoever holds the fewest is next, each tenant's oldest first, so that those who want more than
there is come to hold the same. Slots are those that live workers tell; where none does, one worker's are assumed.

Two exceptions: what a worker that died held stands in the queue again, before others; and on Postgres, what several tenants post
at the same moment may be handed on by a few too many, as they don't see each other.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from typing import Any, NamedTuple

from peewee import Case, fn

from models.database import database, now, read_now, returned, shut_out
from models.generation import IS_OPEN, Generation, Status
from models.periodic import live_slots
from models.prepared import prepared
from models.settings import Settings

#: `enqueue_at` of what waits for its tenant's turn: no sweeper enqueues it.
WAITS = 1e12

#: Rows that go on at once at most.
BATCH = 500

#: One of so many slots is kept for tenants that hold little.
KEPT_PART = 8


@dataclass(frozen=True, slots=True)
class Rule:
    """`slots`: generations that can run at once. `most`: what the operator allows each tenant, 0 where that is left to us."""

    slots: int
    most: int

    @classmethod
    def of(cls, slots: int | None, settings: Settings) -> "Rule":
        """`slots`: what the live workers tell together, None or 0 where there is none."""
        return cls(slots or settings.worker_threads, settings.max_in_broker_per_tenant)

    def allows(self, place: int, handed: int) -> bool:
        """Whether what would be a tenant's `place`-th, from 1 on, may go on while `handed` of all tenants' have."""
        if self.most:
            return place <= self.most
        kept = max(1, self.slots // KEPT_PART)
        return place == 1 or handed < (self.slots if place <= kept else self.slots - kept)


def may_go_on(tenant_id: int, settings: Settings) -> bool:
    """Whether one more of the tenant's may go to the broker now. Call it in the transaction that stores it.

    One statement: POST waits for it.
    """
    found = _counts(tenant_id=tenant_id, heartbeat_seconds=settings.heartbeat_seconds).fetchall()
    ((total, waiting, handed, slots),) = found
    return waiting == 0 and Rule.of(slots, settings).allows(total + 1, handed)


@prepared
def _counts(tenant_id: Any, heartbeat_seconds: Any) -> Any:
    waits = Generation.enqueue_at == WAITS
    # The condition on the time, which all fulfil, leads SQLite to the index `generation_open_of_tenant`.
    of_tenant = (Generation.tenant == tenant_id) & (Generation.enqueue_at <= WAITS) & IS_OPEN
    everyone = Generation.alias()
    return Generation.select(
        fn.COUNT(Generation.enqueue_at),
        fn.COUNT(Case(None, [(waits, 1)])),
        everyone.select(fn.COUNT(everyone.enqueue_at)).where(IS_OPEN & (everyone.enqueue_at < WAITS)),
        live_slots(heartbeat_seconds),
    ).where(of_tenant)


def position(row: Generation) -> int:
    """The place in line of a queued generation, from 1 on, as the tenants' turns are now."""
    if row.enqueue_at < WAITS:
        return 1 + int(_handed_before(created_at=row.created_at).fetchall()[0][0])
    queued = IS_OPEN & (Generation.status == Status.QUEUED)
    handed = Generation.select().where(queued & (Generation.enqueue_at < WAITS))
    mine = row.__data__["tenant"]
    lines = _lines(row.created_at)
    own = lines.pop(mine, _Line(0, 0, 0, None))  # none where it has ended meanwhile
    turn = 1 + own.earlier
    place = own.held + turn
    others = sum(min(line.waiting, max(0, place - line.held)) for line in lines.values())
    return int(handed.count()) + turn + others


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
        shut_out("dispatch")
        chosen = _choose(settings)
        rows = returned(
            Generation.update(enqueue_at=now() + settings.reenqueue_seconds)
            .where(Generation.id.in_(chosen) & (Generation.status == Status.QUEUED) & (Generation.enqueue_at == WAITS))
            .returning(Generation.id)
            .tuples()
        )
    taken = {row[0] for row in rows}
    return [each for each in chosen if each in taken]


@prepared
def _waiting() -> Any:
    return Generation.select(Generation.id).where(IS_OPEN & (Generation.enqueue_at == WAITS)).limit(1)


def _choose(settings: Settings) -> list[str]:
    """Whoever holds the fewest is next, as far as the rule goes: first how many of each tenant, then which."""
    lines = _lines()
    taken = _shares(lines, Rule.of(live_slots(settings.heartbeat_seconds).scalar(), settings))
    chosen = (
        (lines[tenant].held + turn, since, row_id)
        for tenant, count in taken.items()
        for turn, (row_id, since) in enumerate(_oldest(tenant, count))
    )
    return [row_id for _, _, row_id in sorted(chosen)]


def _shares(lines: Mapping[int, "_Line"], rule: Rule) -> Counter[int]:
    """How many of each tenant's go on now. Of tenants that hold as many, the one whose oldest has waited longest is first."""
    taken: Counter[int] = Counter()
    handed = sum(line.held for line in lines.values())
    next_ones = [(line.held + 1, line.oldest, tenant) for tenant, line in lines.items() if line.waiting]
    heapify(next_ones)
    while next_ones and taken.total() < BATCH:
        place, oldest, tenant = next_ones[0]
        if not rule.allows(place, handed + taken.total()):
            break
        taken[tenant] += 1
        if taken[tenant] < lines[tenant].waiting:
            heapreplace(next_ones, (place + 1, oldest, tenant))
        else:
            heappop(next_ones)
    return taken


def _oldest(tenant: int, count: int) -> list[tuple[str, float]]:
    """Id and time of the tenant's oldest that wait."""
    waiting = IS_OPEN & (Generation.tenant == tenant) & (Generation.enqueue_at == WAITS)
    rows: Any = Generation.select(Generation.id, Generation.created_at).where(waiting)
    return list(rows.order_by(Generation.created_at).limit(count).tuples())


class _Line(NamedTuple):
    """A tenant's open generations: handed to the broker, waiting in the table, of these the earlier ones, and the oldest's time."""

    held: int
    waiting: int
    earlier: int
    oldest: float | None


def _lines(since: float = 0.0) -> dict[int, _Line]:
    """Every tenant's line. `since`: what waits from before then is counted as earlier."""
    waits = Generation.enqueue_at == WAITS
    counts: Any = (
        Generation.select(
            Generation.tenant,
            fn.COUNT(Case(None, [(Generation.enqueue_at < WAITS, 1)])),
            fn.COUNT(Case(None, [(waits, 1)])),
            fn.COUNT(Case(None, [(waits & (Generation.created_at < since), 1)])),
            fn.MIN(Case(None, [(waits, Generation.created_at)])),
        )
        .where(IS_OPEN)
        .group_by(Generation.tenant)
        .tuples()
    )
    return {tenant: _Line(*numbers) for tenant, *numbers in counts}
