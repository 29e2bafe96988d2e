"""What the model is told: the route's prompt, the turns before, and the new one."""

from models.generation import Generation, Status
from models.route import Route
from tasks.providers.base import Message, ProviderRequest

#: Turns of a conversation that go along at most.
MAX_TURNS = 40


def provider_request(row: Generation, route: Route) -> ProviderRequest:
    """The request to the row's model: the route may name another one by now, of another provider."""
    messages = [Message(role="system", content=route.system)] if route.system else []
    for turn in _turns_before(row):
        messages += [Message(role="user", content=turn.message), Message(role="assistant", content=turn.text)]
    messages.append(Message(role="user", content=row.message))
    return ProviderRequest(
        model=row.model,
        messages=tuple(messages),
        max_output_tokens=route.max_output_tokens,
        temperature=route.temperature,
    )


def _turns_before(row: Generation) -> list[Generation]:
    """The answered turns on the way from the conversation's first to this one, oldest first."""
    turns: list[Generation] = []
    parent = row.parent
    while parent is not None and len(turns) < MAX_TURNS:
        turn = Generation.get_or_none(Generation.id == parent)
        if turn is None:
            break
        if turn.status != Status.ERROR and turn.text:
            turns.append(turn)
        parent = turn.parent
    return turns[::-1]
