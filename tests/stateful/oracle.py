"""What must hold after every step, whatever happened."""

from collections import defaultdict
from typing import Any

import redis

from models.database import database
from models.event import NOWHERE, TERMINAL, Done, EventId, Failed, Kind, Snapshot, Text, decode
from models.event_log import log_key
from models.generation import Generation, Status, digest
from tests.stateful.actors import Actor, Call
from tests.stateful.viewer import Viewer
from tests.streamer.frames import Event

#: What an ended row may still change.
_MUTABLE = frozenset({"terminal_published"})


class Oracle:
    """Knows what every run's provider said; finds what contradicts the promises."""

    def __init__(self, client: redis.Redis) -> None:
        self.violations: list[str] = []
        self.disturbed = False
        """Whether a log was lost or out of reach at some time: then a cursor may be beyond what there is."""
        self.said: defaultdict[tuple[str, int], str] = defaultdict(str)
        self._client = client
        self._names: dict[str, str] = {}
        self._ends: dict[str, dict[str, Any]] = {}
        self._runs: dict[str, int] = {}
        self._confirmed: set[tuple[str, str, int]] = set()
        """(actor, generation, run): the row has said that the run is the actor's, and no log was made on that yet."""

    def fail(self, what: str) -> None:
        for generation_id, name in self._names.items():
            what = what.replace(generation_id, name)
        self.violations.append(what)

    def know(self, generation_id: str, name: str) -> None:
        self._names[generation_id] = name

    def say(self, generation_id: str, run: int, text: str) -> None:
        self.said[generation_id, run] += text

    # Rows

    def check_rows(self) -> None:
        for row in _rows():
            self._check_row(row)

    def has_ended(self, generation_id: str) -> bool:
        return generation_id in self._ends

    def _check_row(self, row: Generation) -> None:
        if row.run < self._runs.get(row.id, 0):
            self.fail(f"{row.id}: its run went back to {row.run}")
        self._runs[row.id] = row.run
        if row.id in self._ends or row.ended:
            self._check_end(row)
        elif row.terminal_id is not None:
            self.fail(f"{row.id}: {row.status} with a terminal id")
        elif not self.said[row.id, row.run].startswith(row.text):
            self.fail(f"{row.id}: the checkpoint {row.text!r} is not of run {row.run}")

    def _check_end(self, row: Generation) -> None:
        found = {name: value for name, value in row.__data__.items() if name not in _MUTABLE}
        before = self._ends.setdefault(row.id, found)
        if before is not found:
            if before != found:
                changed = {name: (before[name], found[name]) for name in found if before[name] != found[name]}
                self.fail(f"{row.id}: a terminal state changed: {changed}")
            return
        terminal = row.terminal
        if terminal is None or terminal.run != row.run:
            self.fail(f"{row.id}: ended in run {row.run} with the terminal id {row.terminal_id}")
            return
        said = self.said[row.id, row.run]
        unheld = terminal.seq == 1 and self.said[row.id, row.run - 1].startswith(row.text)
        if not said.startswith(row.text) and not unheld:
            self.fail(f"{row.id}: ended with {row.text!r}, which is not of its run")
        if row.status == Status.DONE and row.text != said:
            self.fail(f"{row.id}: done with {row.text!r}, but {said!r} was said")

    # Logs

    def check_log(self, generation_id: str) -> None:
        entries: Any = self._client.xrange(log_key(generation_id))
        (row,) = _rows(generation_id)
        text, last, ended = "", NOWHERE, False
        for raw, fields in entries:
            event_id, kind, data = EventId.parse(raw.decode()), fields[b"k"].decode(), fields[b"d"]
            assert event_id is not None
            if event_id <= last:
                self.fail(f"{generation_id}: {event_id} stands after {last} in the log")
            if ended:
                self.fail(f"{generation_id}: {event_id} stands after the terminal event in the log")
            last = event_id
            if kind == Kind.DELTA:
                text += decode(data, Text).text
            elif kind == Kind.STARTED:
                text = ""
            elif kind == Kind.SNAPSHOT:
                text = decode(data, Snapshot).text
            elif kind in TERMINAL:
                ended = True
                self._check_terminal(row, event_id, kind, data, text)
            if kind not in TERMINAL and row.terminal is not None and event_id >= row.terminal:
                self.fail(f"{generation_id}: {event_id} {kind} stands where the terminal event belongs")
            if not self._is_prefix(generation_id, text):
                self.fail(f"{generation_id}: the log adds up to {text!r} at {event_id}")

    def _check_terminal(self, row: Generation, event_id: EventId, kind: str, data: bytes, text: str) -> None:
        generation_id = row.id
        if not row.ended:
            self.fail(f"{generation_id}: a terminal event stands in the log before the commit")
        elif not _says(row, str(event_id), kind, decode(data, Done if kind == Kind.DONE else Failed)):
            self.fail(f"{generation_id}: {event_id} {kind} {data!r} is not what the row says")
        elif text != row.text:
            self.fail(f"{generation_id}: the log adds up to {text!r} at its end, the row says {row.text!r}")

    def _is_prefix(self, generation_id: str, text: str) -> bool:
        return any(said.startswith(text) for (each, _), said in list(self.said.items()) if each == generation_id) or (
            not text
        )

    # What is asked

    def after(self, actor: Actor, call: Call) -> None:
        """A call has been executed."""
        if call.kind == "append":
            self._after_append(actor, call)
        elif call.error is None and call.kind in ("_claim", "restart_run") and call.result is not None:
            row = call.result[0] if call.kind == "_claim" else call.result
            self._confirmed.add((actor.name, row.id, row.run))
        elif call.error is None and call.kind == "still_holds" and call.result:
            self._confirmed.add((actor.name, *call.commands[0]))
        self.check_rows()

    def _after_append(self, actor: Actor, call: Call) -> None:
        replies = call.result if call.error is None else []
        for command, reply in zip(call.commands, replies, strict=False):
            key, expected, last, kinds = command[2], command[4], command[-3], command[8::3]
            generation_id = key.removeprefix("events:{").removesuffix("}")
            if isinstance(reply, bytes) and reply.decode() == last and not TERMINAL.intersection(kinds):
                run = int(last.partition("-")[0])
                if expected == "" and (actor.name, generation_id, run) not in self._confirmed:
                    self.fail(f"{generation_id}: run {run} made a log without asking the row")
                self._confirmed.discard((actor.name, generation_id, run))
            self.check_log(generation_id)

    # Viewers

    def taken(self, viewer: Viewer, event: Event) -> None:
        """A viewer got an event and shows what it shows now."""
        who, connection = f"{viewer.name} of {viewer.id}", viewer.connection
        if event.kind == "no content":
            if not (viewer.ended or viewer.forged):
                self.fail(f"{who}: 204, but it has not ended")
            viewer.ended = True
            return
        found = EventId.parse(event.id) if event.id is not None else None
        if found is not None and found != NOWHERE and connection is not None:
            if connection.last is not None and found <= connection.last:
                self.fail(f"{who}: {found} after {connection.last} in one connection")
            if connection.resumed is not None and found <= connection.resumed and not self.disturbed:
                self.fail(f"{who}: {found} after the cursor {connection.resumed}, though the log lives")
            connection.last = found
        if not viewer.forged and not self._is_prefix(viewer.id, viewer.shown):
            self.fail(f"{who}: shows {viewer.shown!r} after {event.id} {event.kind}")
        if event.kind in TERMINAL:
            self._check_ended(viewer, event, who)

    def _check_ended(self, viewer: Viewer, event: Event, who: str) -> None:
        (row,) = _rows(viewer.id)
        if not row.ended:
            self.fail(f"{who}: ended before the commit")
        elif not _says(row, event.id, event.kind, _Fields(event.data)):
            self.fail(f"{who}: ended with {event}, the row says {row.status} {row.terminal_id}")
        elif viewer.shown != row.text and not viewer.forged:
            self.fail(f"{who}: ended with {viewer.shown!r}, the row says {row.text!r}")


def _rows(generation_id: str = "%") -> list[Generation]:
    """As the database has them; by hand, since a model's query takes longer than all else here."""
    found = database.execute_sql("SELECT * FROM generation WHERE id LIKE ?", (generation_id,))
    names = [each[0] for each in found.description]
    return [Generation(**dict(zip(names, values, strict=True))) for values in found.fetchall()]


class _Fields:
    def __init__(self, data: dict[str, Any]) -> None:
        self.__dict__.update(data)


def _says(row: Generation, event_id: str | None, kind: str, event: Any) -> bool:
    """Whether a terminal event is the one of the row."""
    if event_id != row.terminal_id or (event.sha256, event.length) != (digest(row.text), len(row.text)):
        return False
    if row.status == Status.ERROR:
        return kind == Kind.FAILED and event.code == row.error_code
    return kind == Kind.DONE and event.status == row.status and event.finish_reason == row.finish_reason
