"""One call: from the provider's first piece to the last, published as it comes, stopped when somebody says so."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from models.ending import Reused
from models.errors import DeadlineExceeded, GenerationFailure, InternalFailure, ProviderAnswerTooLong
from models.event import ToolCall, Usage
from tasks.end_tasks import end_tasks
from tasks.holdings import Holding, Stop
from tasks.providers.base import (
    FinishPiece,
    Piece,
    Provider,
    ProviderRequest,
    ReasoningPiece,
    TextPiece,
    ToolCallPiece,
    UsagePiece,
)
from tasks.publisher import Publisher

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcome:
    """How the provider's part of a run came to its end: exactly one of the three is set."""

    finish_reason: str | None = None
    failure: GenerationFailure | None = None
    stop: Stop | None = None
    usage: Usage | None = None
    """The provider's own figures, where they came."""
    reused: Reused | None = None
    """Whose earlier answer served, in place of a call."""


@dataclass(slots=True)
class Call:
    """One provider call, streamed into a publisher. `bytes_left`: of UTF-8 that it may still bring."""

    publisher: Publisher
    bytes_left: int
    on_text: Callable[[], None]
    """Called once, with the first piece that a viewer sees."""
    came: bool = False
    """Whether there was such a piece."""
    usage: Usage | None = None
    finish_reason: str | None = None

    async def stream(self, provider: Provider, request: ProviderRequest) -> None:
        """Publishes every piece. Cancelling it closes the provider's socket at once.

        Raises ProviderAnswerTooLong, after all that is allowed was published, and what the provider raises.
        """
        async with contextlib.aclosing(provider.stream(request)) as pieces:
            async for piece in pieces:
                self._take(piece)

    def _take(self, piece: Piece) -> None:
        match piece:
            case TextPiece(text):
                self._say(self.publisher.text, text)
            case ReasoningPiece(text):
                self._say(self.publisher.reasoning, text)
            case ToolCallPiece(index, call_id, name, arguments):
                self._spend((call_id or "") + (name or "") + arguments)
                self.publisher.tool_call(ToolCall(index=index, id=call_id, name=name, arguments=arguments))
            case UsagePiece(usage):
                self.usage = usage
            case FinishPiece(reason):
                self.finish_reason = reason

    def _say(self, say: Callable[[str], None], text: str) -> None:
        left = self.bytes_left
        try:
            self._spend(text)
        except ProviderAnswerTooLong:
            if fitting := text.encode()[:left].decode(errors="ignore"):
                say(fitting)
            raise
        say(text)

    def _spend(self, text: str) -> None:
        if not self.came:
            self.came = True
            self.on_text()
        self.bytes_left -= len(text.encode())
        if self.bytes_left < 0:
            raise ProviderAnswerTooLong


async def stream_call(
    call: Call, holding: Holding, provider: Provider, request: ProviderRequest, seconds: float
) -> Outcome:
    """Streams one call until it ends, fails, is stopped or its time is over."""
    streaming = asyncio.create_task(call.stream(provider, request))
    async with _stops(call.publisher, holding) as (stopped, lost):
        try:
            await asyncio.wait(
                {streaming, stopped, lost}, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED
            )
            outcome = await _outcome(streaming, call, holding, lost)
        finally:
            await end_tasks(streaming)
    outcome.usage = call.usage
    return outcome


async def pause(publisher: Publisher, holding: Holding, seconds: float) -> Stop | None:
    """Waits, unless somebody says to stop: then why, at once."""
    async with _stops(publisher, holding) as (stopped, lost):
        await asyncio.wait({stopped, lost}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return Stop.LOST if lost.done() else holding.stop


@contextlib.asynccontextmanager
async def _stops(
    publisher: Publisher, holding: Holding
) -> AsyncIterator[tuple[asyncio.Task[bool], asyncio.Task[None]]]:
    """Two tasks that end when the holder has to stop, and when the run turns out to be lost."""
    tasks = (asyncio.create_task(holding.stopped.wait()), asyncio.create_task(publisher.lost()))
    try:
        yield tasks
    finally:
        await end_tasks(*tasks)


async def _outcome(streaming: asyncio.Task[None], call: Call, holding: Holding, lost: asyncio.Task[None]) -> Outcome:
    if holding.stop is Stop.LOST or lost.done():
        return Outcome(stop=Stop.LOST)
    if streaming.done():
        try:
            streaming.result()
        except GenerationFailure as failure:
            return Outcome(failure=failure)
        except Exception:
            logger.exception("a provider's adapter broke")
            return Outcome(failure=InternalFailure())
        return Outcome(finish_reason=call.finish_reason) if call.finish_reason else Outcome(failure=InternalFailure())
    if holding.stop is not None:
        return Outcome(stop=holding.stop)
    return Outcome(failure=DeadlineExceeded())
