"""What a run's events add up to: the rules that a viewer follows, used wherever text is rebuilt from events."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from models.event import Frame, Kind, Snapshot, Text, ToolCall, decode, encode
from models.generation import Generation


@dataclass(slots=True)
class Transcript:
    """Text, reasoning and tool calls so far. Pieces are kept and joined on demand, so that a long answer costs what it holds."""

    _text: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        if len(self._text) > 1:
            self._text = ["".join(self._text)]
        return self._text[0] if self._text else ""

    @property
    def reasoning(self) -> str:
        if len(self._reasoning) > 1:
            self._reasoning = ["".join(self._reasoning)]
        return self._reasoning[0] if self._reasoning else ""

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """Each {index, id, name, arguments}, by index."""
        return [self.calls[index] for index in sorted(self.calls)]

    def __bool__(self) -> bool:
        return bool(self._text or self._reasoning or self.calls)

    def add_text(self, text: str) -> None:
        self._text.append(text)

    def add_reasoning(self, text: str) -> None:
        self._reasoning.append(text)

    def add_tool_call(self, piece: ToolCall) -> None:
        """Joins a piece to the call of its index."""
        call = self.calls.setdefault(piece.index, {"index": piece.index, "id": None, "name": None, "arguments": ""})
        call["id"] = piece.id or call["id"]
        call["name"] = piece.name or call["name"]
        call["arguments"] += piece.arguments

    def clear(self) -> None:
        self._text.clear()
        self._reasoning.clear()
        self.calls.clear()

    def apply(self, frame: Frame) -> None:
        """One event, as a viewer takes it. Kinds that carry no content change nothing."""
        match frame.kind:
            case Kind.DELTA:
                self.add_text(decode(frame.data, Text).text)
            case Kind.REASONING:
                self.add_reasoning(decode(frame.data, Text).text)
            case Kind.TOOL_CALL:
                self.add_tool_call(decode(frame.data, ToolCall))
            case Kind.STARTED:
                self.clear()
            case Kind.SNAPSHOT:
                self.clear()
                self._replace(decode(frame.data, Snapshot))

    def _replace(self, snapshot: Snapshot) -> None:
        self._text = [snapshot.text] if snapshot.text else []
        self._reasoning = [snapshot.reasoning] if snapshot.reasoning else []
        self.calls = {call["index"]: dict(call) for call in snapshot.tool_calls or []}

    def snapshot(self) -> bytes:
        """The payload of a `snapshot` event of all this."""
        return encode(snapshot_of(self.text, self.reasoning, self.tool_calls))

    def tool_calls_json(self) -> str | None:
        """The tool calls as they stand in a row; None where there are none."""
        return msgspec.json.encode(self.tool_calls).decode() if self.calls else None


def snapshot_of(text: str, reasoning: str, tool_calls: list[dict[str, Any]]) -> Snapshot:
    """A snapshot with what is empty left out."""
    return Snapshot(text=text, reasoning=reasoning or None, tool_calls=tool_calls or None)


def transcript_of_run(frames: Iterable[Frame], run: int) -> Transcript:
    """What the events of one run add up to, whatever other runs stand in the log."""
    found = Transcript()
    for frame in frames:
        if frame.id.run == run:
            found.apply(frame)
    return found


def transcript_of_row(row: Generation) -> Transcript:
    """What stands in the row: the last checkpoint, or the end."""
    found = Transcript()
    if row.text:
        found.add_text(row.text)
    if row.reasoning:
        found.add_reasoning(row.reasoning)
    found.calls = {call["index"]: call for call in row.tool_call_list}
    return found
