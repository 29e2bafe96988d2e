"""What a model is told for a server: the route's prompt, then what was asked, within the route's ceilings."""

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from models.direct_request import DirectMessage, DirectRequest
from models.route import Route
from tasks import tokenizer
from tasks.providers.base import Message, ProviderRequest


def provider_request(asked: DirectRequest, route: Route, prompt: str, model: str) -> ProviderRequest:
    """The request to `model`. `prompt`: the route's, which stands before the caller's own.

    Prompt, `system` and the system messages that come first are one message: some models have room for one only. What the
    route says of length and temperature is a ceiling: a caller can lower it, never raise it.
    """
    leading = next((at for at, each in enumerate(asked.messages) if each.role != "system"), len(asked.messages))
    said = (prompt, asked.system, *(each.content for each in asked.messages[:leading]))
    system = "\n\n".join(part for part in said if part)
    first = [Message(role="system", content=system)] if system else []
    format_ = asked.response_format
    return ProviderRequest(
        model=model,
        messages=(*first, *map(_message, asked.messages[leading:])),
        max_output_tokens=_lower(asked.max_output_tokens, route.max_output_tokens),
        temperature=_lower(asked.temperature, route.temperature),
        tools=tuple(msgspec.to_builtins(each) for each in asked.tools or ()),
        response_format=msgspec.to_builtins(format_) if format_ and format_.type != "text" else None,
    )


def count(request: ProviderRequest) -> int:
    """The tokens of all that the model is told, tools included. Takes time where it is long."""
    return sum(tokenizer.count(text, request.model) for text in _texts(request))


def fits(request: ProviderRequest, limit: int) -> bool:
    """Whether all of it keeps within `limit` tokens. Takes time where it is long, but no more than it takes to know."""
    texts = list(_texts(request))
    if sum(len(text.encode()) for text in texts) <= limit:  # a token has one byte at least
        return True
    left = limit
    for text in texts:
        counted = tokenizer.count_within(text, request.model, left)
        if counted is None:
            return False
        left -= counted
    return True


def _message(each: DirectMessage) -> Message:
    return Message(
        role=each.role,
        content=each.content or "",
        tool_calls=tuple(msgspec.to_builtins(call) for call in each.tool_calls or ()),
        tool_call_id=each.tool_call_id,
    )


def _texts(request: ProviderRequest) -> Iterator[str]:
    for message in request.messages:
        yield message.content
        if message.tool_calls:
            yield msgspec.json.encode(message.tool_calls).decode()
    for extra in (request.tools, request.response_format):
        if extra:
            yield msgspec.json.encode(extra).decode()


T = TypeVar("T", int, float)


def _lower(asked: T | None, ceiling: T | None) -> T | None:
    return min((each for each in (asked, ceiling) if each is not None), default=None)
