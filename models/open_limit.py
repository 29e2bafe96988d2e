"""How many generations of one visitor, and of one tenant, may wait or run."""

from typing import Any

from peewee import fn

from models.database import read_now
from models.errors import RateLimited
from models.generation import IS_OPEN, Generation
from models.settings import Settings

#: Seconds after which a refused visitor may ask again: an answer takes some, and one that takes longer has a deadline.
RETRY_SECONDS = 5.0


def check_open(tenant_id: int, visitor: str, settings: Settings) -> None:
    """Raises RateLimited where one more would be too many. Call it in the transaction that stores it."""
    of_tenant = Generation.tenant == tenant_id
    of_visitor = of_tenant & (Generation.visitor == visitor)
    if count_open(of_visitor) >= settings.max_open_per_visitor:
        raise _refusal(
            of_visitor,
            "visitor_generations",
            f"{settings.max_open_per_visitor} of your answers are still being written, as many as may be at once",
        )
    if count_open(of_tenant) >= settings.max_open_per_tenant:
        raise _refusal(of_tenant, "tenant_generations", "This site is writing as many answers as it may at once")


def count_open(whose: Any) -> int:
    """The open generations among those; the index `generation_open_of_visitor` alone serves it."""
    return int(Generation.select().where(whose & IS_OPEN).count())


def _refusal(whose: Any, limit: str, message: str) -> RateLimited:
    """The first deadline is the time at which a place is free at the latest."""
    first = Generation.select(fn.MIN(Generation.deadline_at)).where(whose & IS_OPEN).scalar()
    seconds = max(1.0, min(RETRY_SECONDS, first - read_now()))
    return RateLimited(
        f"{message}; try again when one has ended, in {seconds:.0f} s or so.", retry_after_seconds=seconds, limit=limit
    )
