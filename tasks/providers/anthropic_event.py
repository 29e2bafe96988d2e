"""One event of Anthropic's Messages API as pieces.

https://docs.anthropic.com/en/api/messages-streaming: `message_start`, then for each block of content a
`content_block_start`, deltas and a `content_block_stop`, then `message_delta` with the reason and the usage, and
`message_stop`; `ping` and `error` may come anywhere, and events that are not known are to be ignored. Citations are read and
dropped: only documents and searches bring them, which no request of ours holds, and the event log has no kind for them.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from models.errors import ProviderProtocolBroken
from models.event import Usage, storable
from tasks.providers.base import FinishPiece, Piece, ReasoningPiece, TextPiece, ToolCallPiece, UsagePiece
from tasks.providers.event_json import EventJson, token_count
from tasks.providers.failures import failure, from_error_event
from tasks.providers.text_joiner import TextJoiner

#: Tool calls in one answer; each costs memory here.
MAX_TOOL_CALLS = 128


class _Block(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Delta(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Message(msgspec.Struct):
    usage: Any = None


class _Event(msgspec.Struct):
    type: str | None = None
    index: int | None = None
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: Any = None
    error: Any = None


_events = EventJson(_Event)

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # a tool of the provider's own took its time: what is there is not all
    "tool_use": "tool_calls",
    "refusal": "refusal",
}
"""What is said in our words; any other reason is a stop."""

_USAGE = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")

#: What is known to say nothing that is passed on: signatures of thinking, citations, where a block ends and pings.
_SILENT = frozenset(("ping", "content_block_stop", "signature_delta", "citations_delta"))


class _ToolCall:
    """A `tool_use` block: which of the answer's calls it is, and whether any argument came."""

    __slots__ = ("has_arguments", "joiner", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.joiner = TextJoiner()
        self.has_arguments = False

    def piece(self, arguments: str, id: str | None = None, name: str | None = None) -> ToolCallPiece:
        self.has_arguments = self.has_arguments or bool(arguments)
        return ToolCallPiece(self.number, id, name, self.joiner.push(arguments))


class EventReader:
    """Reads the events of one answer; keeps what spans them: half emoji, calls of tools, usage, the reason of the end."""

    def __init__(self) -> None:
        self.finished = False
        """Whether the reason of the end was seen: the content is complete then."""
        self.stopped = False
        """Whether `message_stop` was seen: nothing comes after it."""
        self.skipped = 0
        """Events and deltas that had none of what is known here."""
        self._reason = "stop"
        self._counts: dict[str, int] = {}
        self._text = TextJoiner()
        self._thinking = TextJoiner()
        self._calls: dict[int, _ToolCall] = {}

    def read(self, data: str) -> Iterator[Piece]:
        """The pieces in one event's data. Raises ProviderProtocolBroken, and what an error in it means."""
        event = _events.read(data)
        match event.type:
            case "message_start":
                self._count(event.message.usage if event.message else None)
            case "content_block_start":
                yield from self._block(event.index or 0, event.content_block or _Block())
            case "content_block_delta":
                yield from self._delta(event.index or 0, event.delta or _Delta())
            case "content_block_stop":
                yield from self._block_end(event.index or 0)
            case "message_delta":
                yield from self._message_delta(event)
            case "message_stop":
                self.stopped = True
            case "error":
                raise from_error_event(event.error)
            case _:
                self.skipped += event.type not in _SILENT

    def end(self) -> Iterator[Piece]:
        """The last pieces, once the stream has ended as it should."""
        if thinking := self._thinking.end():
            yield ReasoningPiece(thinking)
        if text := self._text.end():
            yield TextPiece(text)
        for call in self._calls.values():
            if arguments := call.joiner.end():
                yield ToolCallPiece(call.number, None, None, arguments)
        yield FinishPiece(self._reason)

    def _block(self, index: int, block: _Block) -> Iterator[Piece]:
        match block.type:
            case "text":
                yield from self._say(block.text)
            case "thinking":
                yield from self._think(block.thinking)
            case "tool_use":
                yield self._tool_call(index, block)
            case "redacted_thinking":  # for the provider alone
                pass
            case _:
                self.skipped += 1

    def _delta(self, index: int, delta: _Delta) -> Iterator[Piece]:
        match delta.type:
            case "text_delta":
                yield from self._say(delta.text)
            case "thinking_delta":
                yield from self._think(delta.thinking)
            case "input_json_delta" if index in self._calls:
                if delta.partial_json:
                    yield self._calls[index].piece(delta.partial_json)
            case _:
                self.skipped += delta.type not in _SILENT

    def _say(self, raw: str | None) -> Iterator[Piece]:
        if raw and (text := self._text.push(raw)):
            yield TextPiece(text)

    def _think(self, raw: str | None) -> Iterator[Piece]:
        if raw and (thinking := self._thinking.push(raw)):
            yield ReasoningPiece(thinking)

    def _tool_call(self, index: int, block: _Block) -> ToolCallPiece:
        if len(self._calls) >= MAX_TOOL_CALLS:
            raise failure(ProviderProtocolBroken, f"The provider sent more than {MAX_TOOL_CALLS} tool calls")
        call = self._calls.setdefault(index, _ToolCall(len(self._calls)))
        whole = json.dumps(block.input, separators=(",", ":")) if block.input else ""  # as some servers send it, in one
        return call.piece(whole, storable(block.id or ""), storable(block.name or ""))

    def _block_end(self, index: int) -> Iterator[Piece]:
        """A call without arguments has an empty object for them, which no delta says."""
        call = self._calls.get(index)
        if call and not call.has_arguments:
            yield call.piece("{}")

    def _message_delta(self, event: _Event) -> Iterator[Piece]:
        self._count(event.usage)
        if isinstance(event.usage, dict):
            yield UsagePiece(self._usage())
        if event.delta and event.delta.stop_reason:
            self.finished = True
            self._reason = _FINISH_REASONS.get(event.delta.stop_reason, "stop")

    def _count(self, usage: object) -> None:
        """Takes counts over those before: they are cumulative. What an event leaves out, or says null to, stays."""
        for name in _USAGE:
            if isinstance(usage, dict) and isinstance(usage.get(name), int):
                self._counts[name] = token_count(usage, name)

    def _usage(self) -> Usage:
        """The figures so far. The first event's output is a placeholder: there are none before `message_delta`."""
        fresh, written, cached, output = (self._counts.get(name, 0) for name in _USAGE)
        whole = min(fresh + written + cached, 2**31 - 1)
        return Usage(input=whole, cached=cached, cache_write=written, output=output)
