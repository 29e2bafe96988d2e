"""One run: from the provider's first piece to the last, published as it comes, stopped when somebody says so."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from models.ending import Reused
from models.errors import DeadlineExceeded, GenerationFailure, InternalFailure
from models.event import ToolCall, Usage
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
    """One provider call, streamed into a publisher."""

    publisher: Publisher
    usage: Usage | None = None
    finish_reason: str | None = None

    async def stream(self, provider: Provider, request: ProviderRequest) -> None:
        """Publishes every piece. Cancelling it closes the provider's socket at once."""
        async with contextlib.aclosing(provider.stream(request)) as pieces:
            async for piece in pieces:
                self._take(piece)

    def _take(self, piece: Piece) -> None:
        match piece:
            case TextPiece(text):
                self.publisher.text(text)
            case ReasoningPiece(text):
                self.publisher.reasoning(text)
            case ToolCallPiece(index, call_id, name, arguments):
                self.publisher.tool_call(ToolCall(index=index, id=call_id, name=name, arguments=arguments))
            case UsagePiece(usage):
                self.usage = usage
            case FinishPiece(reason):
                self.finish_reason = reason


async def stream_call(
    publisher: Publisher, holding: Holding, provider: Provider, request: ProviderRequest, seconds_left: float
) -> Outcome:
    """Streams one call until it ends, fails, is stopped or its time is over."""
    call = Call(publisher)
    streaming = asyncio.create_task(call.stream(provider, request))
    stopped = asyncio.create_task(holding.stopped.wait())
    lost = asyncio.create_task(publisher.lost())
    try:
        await asyncio.wait(
            {streaming, stopped, lost}, timeout=max(0.0, seconds_left), return_when=asyncio.FIRST_COMPLETED
        )
        outcome = await _outcome(streaming, call, holding, lost)
    finally:
        for task in (streaming, stopped, lost):
            task.cancel()
        await asyncio.gather(streaming, stopped, lost, return_exceptions=True)
    outcome.usage = call.usage
    return outcome


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
