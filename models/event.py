"""The one schema of what is streamed. Writer, server and widget agree here; `docs/protocol.md` says it in words."""

import re
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

import msgspec


class Kind(StrEnum):
    """The kinds of events. None is named `error`: a browser's EventSource would fire `onerror` with it."""

    QUEUED = "queued"
    WAITING = "waiting"
    STARTED = "started"
    SWITCHED = "switched"
    DELTA = "delta"
    REASONING = "reasoning"
    TOOL_CALL = "tool_call"
    SNAPSHOT = "snapshot"
    DONE = "done"
    FAILED = "failed"
    CLOSE = "close"


TERMINAL = frozenset({Kind.DONE, Kind.FAILED})
"""The kinds that end a generation; exactly one of them is every generation's last event."""


class EventId(NamedTuple):
    """`<run>-<seq>`: the Redis stream id and the SSE id of an event. Ids strictly increase, since `run` is the fence."""

    run: int
    seq: int

    def __str__(self) -> str:
        return f"{self.run}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> "EventId | None":
        """The id that `text` spells, or None where it spells none (a cursor from a client may hold anything)."""
        found = _ID.fullmatch(text)
        return cls(int(found[1]), int(found[2])) if found else None


_ID = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")

NOWHERE = EventId(0, 0)
"""The cursor of nothing: what is made from the row has this id, and who resumes from it is told everything again."""


class Frame(NamedTuple):
    """One event as it stands in the log: its id, its kind, and one line of JSON."""

    id: EventId
    kind: str
    data: bytes


class Queued(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The request waits; `position` is its place in line, from 1 on."""

    position: int | None = None


class Waiting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A provider call failed before its first text and is tried again after `retry_after` seconds."""

    reason: str
    retry_after: float


class Started(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run begins: whatever was shown is cleared. `reason` says why, from the second run on."""

    run: int
    provider: str
    model: str
    reason: str | None = None


class Switched(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fallback model answers instead of the route's first choice."""

    provider: str
    model: str
    reason: str


class Text(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of text (`delta`) or of reasoning (`reasoning`)."""

    text: str


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of a tool call; pieces of one `index` are joined, `arguments` is partial JSON."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything so far: it replaces what was shown."""

    text: str
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens: `input` includes `cached` and `cache_write`, `output` includes `reasoning`.

    `source`: provider, estimated or partial; cached where an earlier answer served and nothing was used.
    """

    input: int = 0
    cached: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    source: str = "provider"


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The generation ended as `status`: done, incomplete or cancelled. `sha256` and `length` are of the whole text."""

    status: str
    finish_reason: str | None
    provider: str
    model: str
    usage: Usage | None
    cost_micros: int | None
    sha256: str
    length: int
    cached: bool


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """The generation ended as `error`. `sha256` and `length` are of the partial text kept."""

    code: str
    message: str
    retryable: bool
    sha256: str
    length: int


class Close(msgspec.Struct, frozen=True, kw_only=True):
    """A notice about this connection only, never about the generation."""

    code: str
    reconnect: bool
    retry_ms: int


#: What an event of each kind says.
PAYLOADS: dict[Kind, type[msgspec.Struct]] = {
    Kind.QUEUED: Queued,
    Kind.WAITING: Waiting,
    Kind.STARTED: Started,
    Kind.SWITCHED: Switched,
    Kind.DELTA: Text,
    Kind.REASONING: Text,
    Kind.TOOL_CALL: ToolCall,
    Kind.SNAPSHOT: Snapshot,
    Kind.DONE: Done,
    Kind.FAILED: Failed,
    Kind.CLOSE: Close,
}

P = TypeVar("P", bound=msgspec.Struct)
_encoder = msgspec.json.Encoder()


def encode(payload: msgspec.Struct) -> bytes:
    """One line of JSON. U+2028, U+2029 and U+0085 are escaped: sloppy clients split lines at them."""
    data = _encoder.encode(payload)
    for raw, escaped in _LINE_BREAKS:
        if raw in data:
            data = data.replace(raw, escaped)
    return data


def decode(data: bytes, kind: type[P]) -> P:
    """The payload in `data`. Raises msgspec.DecodeError or msgspec.ValidationError."""
    return msgspec.json.decode(data, type=kind)


_LINE_BREAKS = (
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
    ("\u0085".encode(), b"\\u0085"),
)


def storable(text: str) -> str:
    """`text` with what a store or an encoder refuses replaced by U+FFFD: lone surrogates and U+0000.

    It acts before the append, so that log, row and viewer are equal.
    """
    return text if text.isascii() and "\0" not in text else _UNSTORABLE.sub("\ufffd", text)


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
