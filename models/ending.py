"""How a generation ends: one terminal state, in the row first; the events that say so are made from the row alone."""

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from models.database import now, returned
from models.errors import GenerationFailure, is_retryable
from models.event import Done, EventId, Failed, Frame, Kind, Usage, encode
from models.generation import Generation, Status, digest, find, usage_columns
from models.prepared import Prepared, prepared, row_of
from models.transcript import snapshot_of


class Reused(NamedTuple):
    """Who gave the answer that served again."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What a terminal state stores, beside the text."""

    status: Status
    finish_reason: str | None = None
    failure: GenerationFailure | None = None
    usage: Usage | None = None
    reused: Reused | None = None

    @property
    def columns(self) -> dict[str, object]:
        failure = self.failure
        reused = {"cached": True, **self.reused._asdict()} if self.reused else {}
        return {
            "status": self.status,
            "finish_reason": self.finish_reason,
            "error_code": failure.code if failure else None,
            "error_message": failure.message if failure else None,
            "finished_at": now(),
            "lease_until": 0,
            **usage_columns(self.usage),
            **reused,
        }


def finish(
    generation_id: str,
    run: int,
    ending: Ending,
    *,
    terminal: EventId,
    text: str,
    reasoning: str,
    tool_calls: str | None,
) -> Generation | None:
    """The holder's end. Returns the committed row; None where the generation was not ours any more.

    Safe to repeat after a lost reply: where the row says that this run has finished, that was our own commit.
    """
    content = {"terminal_id": str(terminal), "text": text, "reasoning": reasoning, "tool_calls": tool_calls}
    columns = {name: value for name, value in ending.columns.items() if name != "finished_at"} | content
    row = row_of(Generation, _finishing(tuple(columns))(generation_id=generation_id, held_run=run, **columns))
    if row is None:
        found = find(generation_id)
        row = found if found is not None and found.run == run and found.ended else None
    return row


@cache
def _finishing(columns: tuple[str, ...]) -> Prepared:
    """There are few sets of columns: with a usage and without, of an answer of one's own and of another's."""

    def build(generation_id: Any, held_run: Any, **values: Any) -> Any:
        held = (Generation.run == held_run) & (Generation.status == Status.RUNNING)
        update = Generation.update(**values, finished_at=now())
        return update.where((Generation.id == generation_id) & held).returning(Generation)

    return Prepared(build, ["generation_id", "held_run", *columns])


def end_unheld(
    seen: Generation, ending: Ending, *, text: str, reasoning: str, tool_calls: str | None
) -> Generation | None:
    """An end that nobody's run makes: of what is queued, or whose worker is lost. The committed row; None if it was too late.

    It takes the next run R for itself, so that whatever the lost worker still sends is refused: `R-0` is a snapshot, `R-1` the
    terminal event, whatever the log seems to hold.
    """
    run = seen.run + 1
    unheld = (Generation.status == Status.QUEUED) | (
        (Generation.status == Status.RUNNING) & (Generation.lease_until < now())
    )
    rows = returned(
        Generation.update(
            **ending.columns,
            run=run,
            terminal_id=str(EventId(run, 1)),
            text=text,
            reasoning=reasoning,
            tool_calls=tool_calls,
        )
        .where((Generation.id == seen.id) & (Generation.run == seen.run) & unheld)
        .returning(Generation)
    )
    return rows[0] if rows else None


def end_unbegun(row: Generation) -> Generation:
    """Ends a cancelled generation that no run has begun, so that nobody has seen anything of it; others as they are.

    One that is queued again after a run has text that viewers saw: a sweeper ends it, by what its log holds.
    """
    if row.status != Status.QUEUED or row.run != 0:
        return row
    ending = Ending(status=Status.CANCELLED, finish_reason="cancelled")
    return end_unheld(row, ending, text="", reasoning="", tool_calls=None) or row


def is_unsaid(generation_id: str) -> bool:
    """Whether an ended generation is there whose terminal event may be missing: asked before its log is made again."""
    unsaid = Generation.terminal_id.is_null(False) & ~Generation.terminal_published
    return bool(Generation.select().where((Generation.id == generation_id) & unsaid).exists())


def mark_published(generation_id: str) -> None:
    """Notes that the log holds the terminal event, so that nobody looks for it again."""
    _mark_published(generation_id=generation_id)


@prepared
def _mark_published(generation_id: Any) -> Any:
    return Generation.update(terminal_published=True).where(Generation.id == generation_id)


def terminal_event(row: Generation) -> Frame:
    """The one event that ends the generation, from its committed row."""
    terminal = row.terminal
    assert terminal is not None
    if row.status == Status.ERROR:
        failed = Failed(
            code=row.error_code or "internal",
            message=row.error_message or "",
            retryable=is_retryable(row.error_code),
            sha256=digest(row.text),
            length=len(row.text),
        )
        return Frame(terminal, Kind.FAILED, encode(failed))
    done = Done(
        status=row.status,
        finish_reason=row.finish_reason,
        provider=row.provider,
        model=row.model,
        usage=row.usage,
        cost_micros=None,
        sha256=digest(row.text),
        length=len(row.text),
        cached=row.cached,
    )
    return Frame(terminal, Kind.DONE, encode(done))


def snapshot_event(row: Generation, event_id: EventId) -> Frame:
    """Everything that the row holds, as one event."""
    return Frame(event_id, Kind.SNAPSHOT, encode(snapshot_of(row.text, row.reasoning, row.tool_call_list)))


def missing_frames(row: Generation, tail: EventId | None) -> list[Frame]:
    """What completes the log of an ended generation whose log ends at `tail`; nothing where it is complete.

    A log that lacks only the terminal event gets that; any other gets a snapshot right before it, for one append.
    """
    terminal = row.terminal
    assert terminal is not None
    if tail is not None and tail >= terminal:
        return []
    before = EventId(terminal.run, terminal.seq - 1)
    return [terminal_event(row)] if tail == before else [snapshot_event(row, before), terminal_event(row)]
