"""What the model is told: the route's prompt, as many turns before as fit, and the new message.

Sizes are the tokenizer's counts of each message's content; what a provider adds to each message is not counted.
"""

from collections.abc import Sequence
from typing import NamedTuple

from models.direct_request import decode
from models.generation import Generation, Sent, Status
from models.route import Route
from models.settings import Settings
from models.turn import Turn
from tasks import tokenizer
from tasks.direct_request import count, provider_request
from tasks.providers.base import Message, ProviderRequest
from tasks.providers.local import INPUT_TOKENS, ROUTE_MODEL

#: What stands below an answer that did not come to its end, as a paragraph of its own, so that the model knows.
MARKERS = {
    Status.CANCELLED: "[The user stopped this answer here.]",
    Status.INCOMPLETE: "[This answer broke off here.]",
}


#: Characters that are counted where they are: handing them to a thread would take longer.
COUNTED_AT_ONCE = 2000


class Told(NamedTuple):
    """A request, and the figures of what went along."""

    request: ProviderRequest
    sent: Sent


def max_input_tokens(route: Route, settings: Settings) -> int:
    """What a model is told at most, by the route, else by the settings; the local model has room for less."""
    if route.max_input_tokens is None and route.model == ROUTE_MODEL:
        return min(settings.max_input_tokens, INPUT_TOKENS)
    return route.max_input_tokens or settings.max_input_tokens


def system_prompt(route: Route) -> str:
    """The route's prompt with its safety text as the last paragraph.

    It is one message: some models have room for one only, and compatible servers drop or reorder a second.
    """
    return "\n\n".join(part for part in (route.system, route.safety) if part)


def surely_fits(message: str, route: Route, limit: int) -> bool:
    """Whether it does by its bytes alone, of which a token has one at least: no reason to count anything."""
    return len(system_prompt(route).encode()) + len(message.encode()) <= limit


def fits(message: str, route: Route, limit: int) -> bool:
    """Whether the route's prompt and `message` alone keep within `limit` tokens. Takes time where they are long."""
    if surely_fits(message, route, limit):
        return True
    system = system_prompt(route)
    model = route.provider_and_model[1]
    left = limit - tokenizer.count(system, model)
    return tokenizer.count_within(message, model, left) is not None


def takes_no_time(row: Generation, route: Route, turns: Sequence[Turn]) -> bool:
    """Whether `tell` may be called on an event loop: there is little to count, and nothing to be loaded for it."""
    told = (system_prompt(route), row.message, row.request or "", *(turn.question + turn.answer for turn in turns))
    return sum(map(len, told)) <= COUNTED_AT_ONCE and tokenizer.is_loaded(row.model)


def tell(row: Generation, route: Route, turns: Sequence[Turn], limit: int) -> Told:
    """The request to the row's model (the route may name another one by now): `limit` tokens, newest turns first.

    The prompt and the new message always go, and a turn goes whole or not at all: the first that does not fit ends the way
    back. `turns` are newest first. What a server asked goes whole, behind the prompt. It counts: see `takes_no_time`.
    """
    system = system_prompt(route)
    if row.request is not None:
        direct = provider_request(decode(row.request), route, system, row.model)
        return Told(direct, Sent(0, 0, count(direct)))
    tokens = tokenizer.count(system, row.model) + tokenizer.count(row.message, row.model)
    before: list[Message] = []
    for turn in turns:
        messages = _messages(turn)
        cost = _cost(messages, row.model, limit - tokens) if turn.loaded else None
        if cost is None:
            break
        tokens += cost
        before = [*messages, *before]
    first = [Message(role="system", content=system)] if system else []
    request = ProviderRequest(
        model=row.model,
        messages=(*first, *before, Message(role="user", content=row.message)),
        max_output_tokens=route.max_output_tokens,
        temperature=route.temperature,
    )
    sent = len(before) // 2
    return Told(request, Sent(sent, len(turns) - sent, tokens))


def _messages(turn: Turn) -> list[Message]:
    """A question and its answer, with the marker where that did not come to its end."""
    marker = MARKERS.get(turn.status)
    answer = "\n\n".join(part for part in (turn.answer, marker) if part)
    return [Message(role="user", content=turn.question), Message(role="assistant", content=answer)]


def _cost(messages: Sequence[Message], model: str, left: int) -> int | None:
    """Their tokens; None where there are more than are left."""
    cost = 0
    for message in messages:
        counted = tokenizer.count_within(message.content, model, left - cost)
        if counted is None:
            return None
        cost += counted
    return cost
