"""What an error says, as the papers tell it; `error_handlers.py` makes it, and tests hold it against this."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from models.errors import AnswerPending, ConversationBusy, GenerationFailure, RateLimited, StreamerError
from streamer.chat_state import Links
from streamer.proxy_answer import DirectLinks


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The one shape of every error. `message` is for people and says what to do; `retry_after` is in seconds."""

    error: str
    message: str
    request_id: str
    retry_after: int | UnsetType = UNSET


class BusyBody(ErrorBody, frozen=True, kw_only=True):
    """An error with the generation that is under way."""

    id: str
    links: Links


class LimitBody(ErrorBody, frozen=True, kw_only=True):
    """An error with the limit that was reached."""

    limit: Literal["requests", "visitor_generations", "tenant_generations", "sign_ins"]


class EndedBody(ErrorBody, frozen=True, kw_only=True):
    """An error with the generation that it is about."""

    id: str
    links: DirectLinks


#: The shapes that say more than ErrorBody.
_SHAPES: dict[type[StreamerError], type[ErrorBody]] = {
    ConversationBusy: BusyBody,
    RateLimited: LimitBody,
    AnswerPending: EndedBody,
    GenerationFailure: EndedBody,
}


def body_of(error: type[StreamerError]) -> type[ErrorBody]:
    """The shape in which that error is told."""
    return next((_SHAPES[kind] for kind in error.__mro__ if kind in _SHAPES), ErrorBody)
