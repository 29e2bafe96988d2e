"""The ledger: one line for every call to a provider, whatever became of it.

It holds figures only, and stays when the conversation that it paid for is erased.
"""

from typing import Any

from peewee import CompositeKey, DoubleField, ForeignKeyField, IntegerField, TextField

from models.database import Table, database, now
from models.event import Usage
from models.generation import USAGE_COLUMNS, Generation, Sent, Status, usage_columns
from models.prepared import Prepared, prepared
from models.tenant import Tenant


class ProviderCall(Table):
    """`number` counts a generation's calls over all its runs. `outcome`: running, done, error, cancelled or lost."""

    tenant = ForeignKeyField(Tenant, index=False)
    generation_id = TextField()
    number = IntegerField()
    run = IntegerField()
    provider = TextField()
    model = TextField()
    started_at = DoubleField()
    first_byte_at = DoubleField(null=True)
    ended_at = DoubleField(null=True)
    outcome = TextField(default="running")
    error_code = TextField(null=True)
    input_tokens = IntegerField(null=True)
    cached_tokens = IntegerField(null=True)
    cache_write_tokens = IntegerField(null=True)
    output_tokens = IntegerField(null=True)
    reasoning_tokens = IntegerField(null=True)
    usage_source = TextField(null=True)
    reserved_micros = IntegerField(null=True)
    cost_micros = IntegerField(null=True)

    class Meta:
        primary_key = CompositeKey("generation_id", "number")


def begin_call(
    generation_id: str, run: int, provider: str, model: str, sent: Sent, input_hash: str | None = None
) -> int | None:
    """Writes the line of a call that is about to start, and into the row what it sends; returns the call's number.

    None: the run is not the caller's any more, or the generation has used up its calls; no call may start then.
    """
    call = {"generation_id": generation_id, "run": run, "provider": provider, "model": model}
    with database.atomic():
        counted = _count(
            **call, turns=sent.turns, dropped=sent.dropped, tokens=sent.tokens, input_hash=input_hash
        ).fetchall()
        if not counted:
            return None
        tenant_id, number = counted[0]
        _write(**call, tenant_id=tenant_id, number=number)
    return int(number)


@prepared
def _count(
    generation_id: Any,
    run: Any,
    provider: Any,
    model: Any,
    turns: Any,
    dropped: Any,
    tokens: Any,
    input_hash: Any,
) -> Any:
    return (
        Generation.update(
            calls=Generation.calls + 1,
            provider=provider,
            model=model,
            history_turns=turns,
            history_dropped=dropped,
            history_tokens=tokens,
            input_hash=input_hash,
        )
        .where(
            (Generation.id == generation_id)
            & (Generation.run == run)
            & (Generation.status == Status.RUNNING)
            & (Generation.calls < Generation.max_calls)
        )
        .returning(Generation.tenant, Generation.calls)
    )


@prepared
def _write(generation_id: Any, run: Any, provider: Any, model: Any, tenant_id: Any, number: Any) -> Any:
    return ProviderCall.insert(
        tenant=tenant_id,
        generation_id=generation_id,
        number=number,
        run=run,
        provider=provider,
        model=model,
        started_at=now(),
    )


def end_call(generation_id: str, number: int, outcome: str, error_code: str | None, usage: Usage | None) -> None:
    """Settles a call. It is not fenced by the run: a call that lost its generation cost money all the same."""
    call = {"generation_id": generation_id, "number": number, "outcome": outcome, "error_code": error_code}
    if usage is None:
        _end(**call)
    else:
        _end_with_usage(**call, **usage_columns(usage))


def _ending(generation_id: Any, number: Any, **columns: Any) -> Any:
    this = (ProviderCall.generation_id == generation_id) & (ProviderCall.number == number)
    return ProviderCall.update(**columns, ended_at=now()).where(this)


_END = ["generation_id", "number", "outcome", "error_code"]
_end = Prepared(_ending, _END)
_end_with_usage = Prepared(_ending, [*_END, *USAGE_COLUMNS])


def end_lost_calls(generation_id: str, run: int, usage: Usage | None) -> None:
    """Settles what the worker of `run`, or one before, left open, by what reached the log.

    Should it live on, its own figures replace these.
    """
    ProviderCall.update(outcome="lost", ended_at=now(), **usage_columns(usage)).where(
        (ProviderCall.generation_id == generation_id) & (ProviderCall.run <= run) & (ProviderCall.outcome == "running")
    ).execute()


ProviderCall.add_index(ProviderCall.index(ProviderCall.tenant, ProviderCall.started_at, name="provider_call_of_tenant"))
