"""An independent reader of an event stream (WHATWG HTML §9.2.6): bytes in, events out; and what a viewer shows in the end."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """`id` is None where the frame has none."""

    id: str | None
    kind: str
    data: Any


def parse(data: bytes) -> list[Event]:
    """The events in `data`, which must hold whole frames alone. Comments and `retry:` are left out."""
    assert data == b"" or data.endswith(b"\n\n"), "a frame was cut"
    found = []
    for block in data.decode().split("\n\n"):
        fields = [line.partition(":")[::2] for line in block.split("\n") if line and not line.startswith(":")]
        values = {name: value.removeprefix(" ") for name, value in fields}
        assert len(values) == len(fields), "a field came twice in one frame"
        if "data" in values:
            found.append(Event(values.get("id"), values.get("event", "message"), json.loads(values["data"])))
    return found


def ids(events: list[Event]) -> list[str]:
    """The ids, in order, of those that have one."""
    return [event.id for event in events if event.id is not None]


def shown(events: list[Event]) -> str:
    """What a viewer shows in the end."""
    text = ""
    for event in events:
        if event.kind == "delta":
            text += event.data["text"]
        elif event.kind == "started":
            text = ""
        elif event.kind == "snapshot":
            text = event.data["text"]
    return text
