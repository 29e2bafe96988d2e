"""How many generations of one visitor, of one tenant, and of all may wait or run."""

from typing import Any, NamedTuple

from peewee import Case, fn

from models.database import read_now
from models.errors import Overloaded, RateLimited
from models.generation import IS_OPEN, Generation
from models.prepared import prepared
from models.settings import Settings

#: Seconds after which who is refused may ask again: an answer takes some, and one that takes longer has a deadline.
RETRY_SECONDS = 5.0


class Open(NamedTuple):
    """Open generations: of a visitor, of the whole tenant, and of everybody."""

    of_visitor: int
    of_tenant: int
    of_all: int


def check_open(tenant_id: int, visitor: str, settings: Settings) -> None:
    """Raises RateLimited where one more would be too many for its visitor or tenant, Overloaded where for the service.

    Call it in the transaction that stores it.

    Without a visitor it is a server's: what the whole tenant may have is its only limit.
    """
    under_way = count_open(tenant_id, visitor)
    of_visitor = under_way.of_visitor
    if visitor and of_visitor >= settings.max_open_per_visitor:
        raise _refusal(
            _of_tenant(tenant_id) & (Generation.visitor == visitor),
            "visitor_generations",
            f"{of_visitor} of your answers are still being written, and {settings.max_open_per_visitor} may be at once",
        )
    if under_way.of_tenant >= settings.max_open_per_tenant:
        message = "This site is writing as many answers as it may at once"
        raise _refusal(_of_tenant(tenant_id), "tenant_generations", message)
    if under_way.of_all >= settings.max_open:
        raise Overloaded(
            "As many answers wait as the service takes; nothing was stored. Try again.",
            retry_after_seconds=RETRY_SECONDS,
        )


def count_open(tenant_id: int, visitor: str) -> Open:
    """All counts that decide whether one more may come, in one statement."""
    (counts,) = _counts(tenant_id=tenant_id, visitor=visitor).fetchall()
    return Open(*counts)


@prepared
def _counts(tenant_id: Any, visitor: Any) -> Any:
    mine = Case(None, [(Generation.visitor == visitor, 1)])
    everybody = Generation.alias()
    of_all = everybody.select(fn.COUNT(everybody.enqueue_at)).where(IS_OPEN)
    counts = (fn.COUNT(mine), fn.COUNT(Generation.visitor), of_all)
    return Generation.select(*counts).where(_of_tenant(tenant_id))


def _of_tenant(tenant_id: Any) -> Any:
    """The condition on the visitor, which all fulfil, leads SQLite to the partial index `generation_open_of_visitor`.

    Without it the index of the tenant alone would do, and with it every answer that there ever was is looked at.
    """
    return (Generation.tenant == tenant_id) & (Generation.visitor >= "") & IS_OPEN


def _refusal(whose: Any, limit: str, message: str) -> RateLimited:
    """The first deadline is the time at which a place is free at the latest."""
    first = Generation.select(fn.MIN(Generation.deadline_at)).where(whose).scalar()
    # None: with Postgres all may have ended since they were counted.
    seconds = 1.0 if first is None else max(1.0, min(RETRY_SECONDS, first - read_now()))
    return RateLimited(
        f"{message}; try again when one has ended, in {seconds:.0f} s or so.", retry_after_seconds=seconds, limit=limit
    )
