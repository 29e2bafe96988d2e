"""What imitations of providers have in common: calls are answered as a script says, by numbered tokens of their prompt's hash.

So what a viewer sees can be compared to the byte.
"""

import asyncio
import hashlib
import json
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

from tests.fakes.http_server import Exchange, FakeServer

Fault = Literal["", "reset", "close", "end", "hang", "hold", "error", "malformed", "unknown", "line", "endless"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedAnswer:
    """How one call is answered.

    `fault` comes after `at` tokens, or other events; at -1 it comes instead of the response's head. It is a `reset` by TCP, the
    connection's `close` in the middle of the HTTP body, the body's `end` without a finish marker, a `hang` until the caller
    leaves, a `hold` until `release`, an `error` as the API sends it in a stream, `malformed` JSON, a `line` of 10 MB, an
    `endless` repetition of its last text, or an `unknown` event after which it goes on.
    """

    tokens: int = 20
    texts: tuple[str, ...] | None = None
    """Texts of the deltas, instead of numbered tokens; lone surrogates are escaped."""
    delay_seconds: float = 0.0
    fault: Fault = ""
    at: int = 0
    error: Any = None
    """What stands under `error`, in the fault `error` and where the status is not 200."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """The whole body, instead of all of that."""
    raw: bytes = b""
    """Bytes that go out before anything else, a response's head for instance, where `at` is -1."""
    bytes_a_write: int = 0
    """Cuts the body into chunks of so many bytes; 0 leaves one chunk an event."""
    seconds_a_write: float = 0.0
    chunked: bool = True


A = TypeVar("A", bound=ScriptedAnswer)


class ScriptedServer(FakeServer, Generic[A]):
    """Calls are answered by what is scripted for their prompt, by the script, then by `usually`.

    `seen` and `headers_seen` are what they sent. A subclass says what its API's events are.
    """

    #: Beside the content type, in every response to a call.
    HEADERS: ClassVar[Mapping[str, str]] = {}
    MALFORMED: ClassVar[bytes]
    UNKNOWN: ClassVar[bytes]

    def __init__(self, usually: A) -> None:
        self.usually = usually
        self.seen: list[dict[str, Any]] = []
        self.headers_seen: list[dict[str, str]] = []
        self._script: deque[A] = deque()
        self._scripts: dict[str, deque[A]] = {}
        self._released = asyncio.Event()
        super().__init__()

    def script(self, *answers: A) -> None:
        """The answers to the next calls, in their order."""
        self._script.extend(answers)

    def script_for(self, prompt: str, *answers: A) -> None:
        """The answers to the next calls with this prompt, whatever is asked beside them."""
        self._scripts[prompt] = deque(answers)

    def release(self) -> None:
        """Lets every call that a `hold` holds go on, and later holds too."""
        self.in_thread(self._released.set)

    @staticmethod
    def words(prompt: str, tokens: int = 20) -> list[str]:
        """The tokens of the answer to `prompt`."""
        mark = hashlib.sha256(prompt.encode()).hexdigest()[:6]
        return [f"{mark}·{number:04d} " for number in range(tokens)]

    # What an API's imitation says

    @abstractmethod
    def refusal(self, answer: A) -> object:
        """The body where the status is not 200."""

    @abstractmethod
    def opening(self, body: Mapping[str, Any], answer: A) -> Iterator[bytes]:
        """The events before the first that `at` counts."""

    @abstractmethod
    def events(self, body: Mapping[str, Any], answer: A, texts: Sequence[str]) -> Iterator[bytes]:
        """The events that `at` counts."""

    @abstractmethod
    def error(self, answer: A) -> bytes:
        """The event of an error in the stream."""

    async def flood(self, exchange: Exchange, answer: A, texts: Sequence[str]) -> None:
        """More than anybody wants, where the API's imitation knows such faults."""

    # What it does with that

    def take(self, exchange: Exchange) -> None:
        """Takes note of a call."""
        self.seen.append(exchange.body)
        self.headers_seen.append(exchange.headers)
        self.count(calls=1)

    async def follow_script(self, exchange: Exchange) -> None:
        """Answers a call."""
        script = self._scripts.get(prompt_of(exchange.body)) or self._script
        answer = script.popleft() if script else self.usually
        if answer.at == -1:
            await exchange.write(answer.raw)
            if await self._broken(exchange, answer):
                return
        headers = dict(self.HEADERS) | dict(answer.headers)
        if answer.status != 200 and answer.body is None:
            await exchange.json(answer.status, self.refusal(answer), headers)
        elif answer.body is None and not exchange.body.get("stream"):
            await exchange.json(200, self.whole(exchange.body, answer), headers)
        else:
            streaming = {"content-type": "text/event-stream; charset=utf-8"} | headers
            await exchange.start(answer.status, streaming, chunked=answer.chunked)
            await self._stream(exchange, answer)

    def whole(self, body: Mapping[str, Any], answer: A) -> object:
        """The body for who doesn't ask for a stream."""
        raise AssertionError("this imitation streams only")

    async def _stream(self, exchange: Exchange, answer: A) -> None:
        if answer.body is not None:
            await _send(exchange, answer, answer.body)
            await exchange.end()
            return
        texts = self.words(prompt_of(exchange.body), answer.tokens) if answer.texts is None else answer.texts
        for first in self.opening(exchange.body, answer):
            await _send(exchange, answer, first)
        for number, data in enumerate([*self.events(exchange.body, answer, texts), None]):
            if number == answer.at:
                await self.flood(exchange, answer, texts)
                if await self._broken(exchange, answer):
                    return
            if data is None:
                await exchange.end()
            else:
                await _send(exchange, answer, data)
                await asyncio.sleep(answer.delay_seconds)

    async def _broken(self, exchange: Exchange, answer: A) -> bool:
        """Does what the fault says; whether the answer is over with that."""
        match answer.fault:
            case "reset":
                exchange.reset()
            case "close":
                exchange.close()
            case "end":
                await exchange.end()
            case "hang":
                await asyncio.Event().wait()
            case "hold":
                await self._released.wait()
                return False
            case "error":
                await exchange.send(self.error(answer))
                await exchange.end()
            case "malformed":
                await exchange.send(self.MALFORMED)
                await exchange.end()
            case "unknown":
                await exchange.send(self.UNKNOWN)
                return False
            case _:
                return False
        return True


def prompt_of(body: Mapping[str, Any]) -> str:
    """The newest user turn."""
    content = next((turn["content"] for turn in reversed(body["messages"]) if turn["role"] == "user"), "")
    return content if isinstance(content, str) else json.dumps(content)


def event(data: Mapping[str, Any], head: str = "") -> bytes:
    """An SSE event with `data` as its JSON, after `head`."""
    try:
        return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
    except UnicodeEncodeError:
        return f"{head}data: {json.dumps(data)}\n\n".encode()


async def _send(exchange: Exchange, answer: ScriptedAnswer, data: bytes) -> None:
    size = answer.bytes_a_write or len(data)
    for start in range(0, len(data), size or 1):
        await exchange.send(data[start : start + size])
        if answer.seconds_a_write:
            await asyncio.sleep(answer.seconds_a_write)
