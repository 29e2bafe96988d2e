"""Rows that tests start from, in any state, and the database's clock in a test's hand."""

import dataclasses
from typing import Any

import pytest

from models.admission import Request, admit
from models.clock import boot_clock
from models.database import database, read_now
from models.generation import Generation, Sent
from models.ownership import claim
from models.postgres import Postgres
from models.route import Route
from models.settings import Settings
from models.tenant import Tenant, first_tenant
from tests.store import shift_clock

ROUTE = Route(model="openai:gpt-4o-mini")

#: What goes along with a call that nobody counts.
SENT = Sent(turns=0, dropped=0, tokens=1)


def tenant_id(tenant: Any = None) -> int:
    """The numeric id of `tenant`, or of the one that every installation has."""
    found: Any = first_tenant() if tenant is None else tenant
    return int(found.id)


def other_tenant(public_id: str = "ten_other") -> Tenant:
    """One more tenant, younger than the one that every installation has."""
    first_tenant()
    return Tenant.create(public_id=public_id, name="other", created_at=read_now() + 1)


def request(
    message: str = "hello",
    *,
    tenant: Any = None,
    visitor: str = "visitor",
    conversation: str | None = None,
    key: str | None = None,
    body_hash: str = "hash",
    route: Route = ROUTE,
    **more: Any,
) -> Request:
    """What a visitor asks; a new conversation unless one is named. `more`: the turn that it follows or stands beside."""
    return Request(
        tenant_id=tenant_id(tenant),
        visitor=visitor,
        conversation=conversation,
        message=message,
        route_name="chat",
        route=route,
        idempotency_key=key,
        body_hash=body_hash,
        **more,
    )


def changed(row: Generation, **columns: Any) -> Generation:
    """The row after its `columns` were set, whatever the rules say."""
    if columns:
        Generation.update(**columns).where(Generation.id == row.id).execute()
    return reread(row)


def reread(row: Generation) -> Generation:
    """The row as it stands in the database now."""
    return Generation.get_by_id(row.id)


def queued(settings: Settings, *, message: str = "hello", route: Route = ROUTE, **columns: Any) -> Generation:
    """A generation that waits, in a conversation of its own, however many do."""
    settings = dataclasses.replace(settings, max_open_per_visitor=1_000_000, max_open_per_tenant=1_000_000)
    return changed(admit(request(message, route=route), settings).generation, **columns)


def running(settings: Settings, *, message: str = "hello", route: Route = ROUTE, **columns: Any) -> Generation:
    """A generation that `worker` claimed a moment ago, in its first run."""
    row = claim(queued(settings, message=message, route=route).id, "worker", settings.lease_seconds, judge_leases=True)
    assert row is not None
    return changed(row, **columns)


def pass_seconds(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Moves the database's clock on: that of this process, and Postgres's own in the test's database."""
    assert boot_clock.offset_seconds is not None
    monkeypatch.setattr(boot_clock, "offset_seconds", boot_clock.offset_seconds + seconds)
    if isinstance(database.obj, Postgres):
        shift_clock(seconds)
