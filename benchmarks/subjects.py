"""What is measured: this service as a visitor and as a server uses it, a proxy, and the provider with nothing between."""

import itertools
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

from benchmarks.client import Connections, Timeline, request, watch, whole


@dataclass(slots=True)
class Visitors:
    """`POST /ai/v1/chat`, then its event stream on the same connection, each time as the next of the visitors."""

    connections: Connections
    tokens: list[str]
    _number: "itertools.count[int]" = field(default_factory=itertools.count)

    async def ask(self, number: int, line: Timeline) -> None:
        mark = next(self._number)
        token = self.tokens[mark % len(self.tokens)]
        post = request("POST", "/ai/v1/chat", token, {"message": f"What is a hash table? {mark}"})
        connection = await self.connections.take()
        try:
            line.posted = time.monotonic_ns()
            found = await whole(connection, post, 202)
            line.accepted = time.monotonic_ns()
            line.id = found["id"]
            await watch(connection, request("GET", found["links"]["events"], token), b"event: done", line)
        finally:
            self.connections.give_back(connection)


@dataclass(slots=True)
class _OneRequest:
    """A POST that streams its answer itself, until a piece of it holds `end`."""

    connections: Connections
    key: str
    path: ClassVar[str]
    more: ClassVar[dict[str, Any]]
    """What the body has beside its messages."""
    end: ClassVar[bytes]
    _number: "itertools.count[int]" = field(default_factory=itertools.count)

    async def ask(self, number: int, line: Timeline) -> None:
        messages = [{"role": "user", "content": f"What is a hash table? {next(self._number)}"}]
        post = request("POST", self.path, self.key, {"messages": messages, "stream": True, **self.more})
        connection = await self.connections.take()
        try:
            line.posted = time.monotonic_ns()
            await watch(connection, post, self.end, line)
        finally:
            self.connections.give_back(connection)


class Completions(_OneRequest):
    """`POST …/chat/completions` with `stream`, as OpenAI has it."""

    path = "/v1/chat/completions"
    more = {"model": "gpt-4o-mini", "stream_options": {"include_usage": True}}
    end = b"[DONE]"


class Servers(_OneRequest):
    """`POST /v1/chat` with `stream`, with an API key: one request."""

    path = "/v1/chat"
    more = {}
    end = b"event: done"
