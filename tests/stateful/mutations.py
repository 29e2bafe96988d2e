"""Rules of the protocol, each taken out by itself: the machine must notice.

`python -m pytest tests/stateful/test_mutations.py` tries them all; STATEFUL_MUTATION_EXAMPLES bounds each.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from models import ending, event_log, ownership
from models.ending import Ending, snapshot_event, terminal_event
from models.errors import Unavailable
from models.event import EventId, Frame, Kind, Snapshot, Text, Waiting, encode
from models.generation import Generation
from models.ownership import Held
from streamer import channel
from streamer.sse import encode_frame, encode_unnumbered
from tasks import generate, holdings, repair
from tasks.publisher import Publisher

Finish = Callable[..., Generation | None]
Mutate = Callable[[pytest.MonkeyPatch], None]

MUTATIONS: dict[str, Mutate] = {}


def mutation(change: Mutate) -> Mutate:
    MUTATIONS[change.__name__] = change
    return change


# A foreign end


@mutation
def snapshot_only_where_the_log_is_gone(patch: pytest.MonkeyPatch) -> None:
    """A foreign terminal event without `R-0`, where the log seems to hold the text."""

    def missing_frames(row: Generation, tail: EventId | None) -> list[Frame]:
        found = ending.missing_frames(row, tail)
        return found[-1:] if tail is not None and row.terminal == EventId(row.run, 1) else found

    patch.setattr(repair, "missing_frames", missing_frames)


# Finishing


def _finish_by_run_alone() -> Finish:
    def finish(
        generation_id: str,
        run: int,
        end: Ending,
        *,
        terminal: EventId,
        text: str,
        reasoning: str,
        tool_calls: str | None,
    ) -> Generation | None:
        mine = (Generation.id == generation_id) & (Generation.run == run)
        columns = {"terminal_id": str(terminal), "text": text, "reasoning": reasoning, "tool_calls": tool_calls}
        Generation.update(**end.columns, **columns).where(mine).execute()
        found: Generation | None = Generation.get_or_none(mine)
        return found

    return finish


def _numbering_goes_on(patch: pytest.MonkeyPatch, finish: Finish, *, published: bool) -> None:
    async def finish_on(
        self: Any, row: Generation, publisher: Publisher, end: Ending, terminal: EventId
    ) -> Generation | None:
        transcript = publisher.transcript
        while True:
            try:
                found: Generation | None = await self._threads.run(
                    finish,
                    row.id,
                    row.run,
                    end,
                    terminal=terminal,
                    text=transcript.text,
                    reasoning=transcript.reasoning,
                    tool_calls=transcript.tool_calls_json(),
                )
                return found
            except Unavailable:
                publisher.event(Kind.WAITING, Waiting(reason="database", retry_after=0.5))
                if published:
                    await publisher._publish()
                terminal = EventId(row.run, publisher.last.seq + 1)
                await asyncio.sleep(0.5)

    patch.setattr(generate.Generator, "_finish", finish_on)


@mutation
def finish_guarded_by_the_run_alone(patch: pytest.MonkeyPatch) -> None:
    """What was committed is stored again after a lost reply, with what is known by then."""
    patch.setattr(generate, "finish", _finish_by_run_alone())


@mutation
def finish_neither_guarded_nor_frozen(patch: pytest.MonkeyPatch) -> None:
    """Besides, numbering goes on after the first attempt."""
    _numbering_goes_on(patch, _finish_by_run_alone(), published=False)


@mutation
def appends_go_on_after_the_first_attempt_to_finish(patch: pytest.MonkeyPatch) -> None:
    """Something stands at the terminal id already."""
    _numbering_goes_on(patch, ending.finish, published=True)


@mutation
def terminal_event_from_memory(patch: pytest.MonkeyPatch) -> None:
    """What the holder last tried to store is told, whatever was committed."""
    real = ending.finish

    def finish(generation_id: str, run: int, end: Ending, **rest: Any) -> Generation | None:
        found = real(generation_id, run, end, **rest)
        if found is not None:
            found.status, found.finish_reason, found.text = end.status, end.finish_reason, rest["text"]
            found.error_code = end.failure.code if end.failure else None
        return found

    patch.setattr(generate, "finish", finish)


# What is made from the row


def _ended_from_row(patch: pytest.MonkeyPatch, frames: Callable[[Generation], bytes]) -> None:
    def end_from_row(self: channel.Channel, row: Generation) -> None:
        if row.terminal is None or (self._complete and self.tail == row.terminal):
            return
        self._row_end = frames(row) + encode_frame(terminal_event(row))
        self.wake()

    patch.setattr(channel.Channel, "end_from_row", end_from_row)


def _below(row: Generation, steps: int) -> EventId:
    assert row.terminal is not None
    return EventId(row.terminal.run, max(0, row.terminal.seq - steps))


@mutation
def row_made_snapshot_with_an_id_of_the_log(patch: pytest.MonkeyPatch) -> None:
    _ended_from_row(patch, lambda row: encode_frame(snapshot_event(row, _below(row, 1))))


@mutation
def row_made_snapshot_without_an_id(patch: pytest.MonkeyPatch) -> None:
    """The cursor stays where it was before."""
    _ended_from_row(patch, lambda row: encode_unnumbered(Kind.SNAPSHOT, snapshot_event(row, _below(row, 1)).data))


@mutation
def finished_row_waits_for_its_log(patch: pytest.MonkeyPatch) -> None:
    """Only where the log is gone the row serves; one that lacks the terminal event is left to a repair."""
    real = channel.Channel.end_from_row

    def end_from_row(self: channel.Channel, row: Generation) -> None:
        if self.tail is None:
            real(self, row)

    patch.setattr(channel.Channel, "end_from_row", end_from_row)


def _pieces(row: Generation) -> tuple[Frame, Frame]:
    half = len(row.text) // 2
    first, rest = Snapshot(text=row.text[:half]), Text(text=row.text[half:])
    return Frame(_below(row, 2), Kind.SNAPSHOT, encode(first)), Frame(_below(row, 1), Kind.DELTA, encode(rest))


@mutation
def row_made_snapshot_in_pieces(patch: pytest.MonkeyPatch) -> None:
    _ended_from_row(patch, lambda row: b"".join(encode_frame(each) for each in _pieces(row)))


# Appending and renewing


@mutation
def log_made_without_asking_the_row(patch: pytest.MonkeyPatch) -> None:
    async def confirm(self: Publisher) -> None:
        self._confirmed = True

    patch.setattr(Publisher, "_confirm_once", confirm)


@mutation
def append_without_comparing(patch: pytest.MonkeyPatch) -> None:
    """Blindly, where the ids rise."""
    compare = "if tail ~= ARGV[2] then\n  return tail\nend\n"
    assert compare in event_log._APPEND
    blind = "if tail ~= ARGV[2] and not rises(ARGV[5], tail) then\n  return tail\nend\n"
    rises = """
local function rises(id, tail)
  if tail == '' then return true end
  local run, seq = string.match(id, '(%d+)-(%d+)')
  local old_run, old_seq = string.match(tail, '(%d+)-(%d+)')
  run, seq, old_run, old_seq = tonumber(run), tonumber(seq), tonumber(old_run), tonumber(old_seq)
  return run > old_run or (run == old_run and seq > old_seq)
end
"""
    patch.setattr(event_log, "_APPEND", rises + event_log._APPEND.replace(compare, blind))


@mutation
def renewal_guarded_by_the_state_alone(patch: pytest.MonkeyPatch) -> None:
    def renew(held: list[Held], lease_seconds: float) -> dict[str, bool]:
        runs = {row.id: row.run for row in Generation.select(Generation.id, Generation.run)}
        return real([each._replace(run=runs[each.id]) for each in held], lease_seconds)

    real = ownership.renew
    patch.setattr(holdings, "renew", renew)
