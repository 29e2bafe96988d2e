"""What a visitor may ask for with a POST: one of three things, and nothing of what is the site's own."""

import asyncio
import hashlib
import re
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from models.admission import Request
from models.errors import BadRequest, NotFound, PayloadTooLarge
from models.generation import Generation, find_owned
from models.route import Route
from streamer.auth import Visitor
from streamer.services import Services
from streamer.strict_json import Body, StrictBody
from tasks.history import fits, max_input_tokens, surely_fits

#: Characters of a conversation's name and of an idempotency key at most.
MAX_NAME = 200

KEY = re.compile(r"[!-~]{1,200}")


class ChatBody(StrictBody, frozen=True):
    """A visitor's turn: a `message`, the same question again (`regenerate`), or another in its place (`edit` and `message`).

    `conversation_id` is the client's own string; without it a new conversation is made.
    """

    message: (
        Annotated[str, Meta(description="What the visitor says.", extra_json_schema={"pattern": r"\S"})] | UnsetType
    ) = UNSET
    conversation_id: Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_NAME})] | None = None
    parent: (
        Annotated[str, Meta(description="The turn that this one follows; the newest where it is left out.")] | None
    ) = None
    regenerate: Annotated[str, Meta(description="The turn whose question is asked again, past the cache.")] | None = (
        None
    )
    edit: Annotated[str, Meta(description="The turn in whose place another `message` is asked.")] | None = None
    route: Annotated[str, Meta(description="`chat`, or the named turn's, where it is left out.")] | UnsetType = UNSET


_LEFT_OUT = {"type": "null"}
_OF_NAMED_TURN = {"conversation_id": _LEFT_OUT, "parent": _LEFT_OUT}

#: What `_check` checks, as JSON Schema.
RULE = {
    "oneOf": [
        {
            "required": ["message"],
            "properties": {"regenerate": _LEFT_OUT, "edit": _LEFT_OUT},
            "anyOf": [
                {"properties": {"parent": _LEFT_OUT}},
                {"required": ["conversation_id"], "properties": {"conversation_id": {"type": "string"}}},
            ],
        },
        {
            "required": ["regenerate"],
            "not": {"required": ["message"]},
            "properties": {"regenerate": {"type": "string"}, "edit": _LEFT_OUT, **_OF_NAMED_TURN},
        },
        {
            "required": ["edit", "message"],
            "properties": {"edit": {"type": "string"}, "regenerate": _LEFT_OUT, **_OF_NAMED_TURN},
        },
    ],
    "examples": [{"message": "What is a hash table?"}],
}


async def asked(services: Services, visitor: Visitor, body: Body[ChatBody], key: str | None) -> Request:
    """What the body asks for. `key`: the Idempotency-Key.

    Raises BadRequest or PayloadTooLarge, which say what to change; NotFound where the turn that it names is not the visitor's.
    """
    value = body.value
    _check(value, services.settings.max_message_bytes)
    hashed_key = key_hash(key)
    named = await _named(services, visitor, value)
    message = value.message or (named.message if named else "")
    route_name, route = _route(services, value, named)
    await _require_fit(services, message, route_name, route)
    return Request(
        tenant_id=visitor.tenant_id,
        visitor=visitor.user,
        conversation=value.conversation_id,
        message=message,
        route_name=route_name,
        route=route,
        idempotency_key=hashed_key,
        body_hash=body.digest,
        parent=value.parent,
        sibling_of=named.id if named else None,
        bypass_cache=value.regenerate is not None,
    )


def key_hash(key: str | None) -> str | None:
    """What is stored of an Idempotency-Key. Raises BadRequest where it is none."""
    if key is None:
        return None
    if not KEY.fullmatch(key):
        raise BadRequest("`Idempotency-Key` must have 1 to 200 printable ASCII characters without spaces.")
    return hashlib.sha256(key.encode()).hexdigest()


def _check(body: ChatBody, max_message_bytes: int) -> None:
    if body.regenerate is not None and body.edit is not None:
        raise BadRequest("`regenerate` and `edit` exclude each other: send one of them.")
    if body.regenerate is not None and body.message is not UNSET:
        raise BadRequest("`regenerate` asks the same question again: leave `message` out, or send `edit` in its place.")
    if body.regenerate is None and (body.message is UNSET or not body.message.strip()):
        raise BadRequest("`message` is empty: say something.")
    if body.message is not UNSET and len(body.message.encode()) > max_message_bytes:
        raise PayloadTooLarge(f"`message` may have {max_message_bytes} bytes of UTF-8 at most.")
    if (body.regenerate is not None or body.edit is not None) and (body.conversation_id, body.parent) != (None, None):
        raise BadRequest("The conversation is that of the turn you name: leave `conversation_id` and `parent` out.")
    if body.conversation_id is not None and not 1 <= len(body.conversation_id) <= MAX_NAME:
        raise BadRequest(
            f"`conversation_id` must have 1 to {MAX_NAME} characters; leave it out for a new conversation."
        )
    if body.parent is not None and body.conversation_id is None:
        raise BadRequest("`parent` is a turn of a conversation: send its `conversation_id` as well.")


async def _named(services: Services, visitor: Visitor, body: ChatBody) -> Generation | None:
    named_id = body.regenerate if body.edit is None else body.edit
    if named_id is None:
        return None
    found = await services.threads.run(find_owned, named_id, visitor.tenant_id, visitor.user)
    if found is None:
        raise NotFound
    return found


def _route(services: Services, body: ChatBody, named: Generation | None) -> tuple[str, Route]:
    name = body.route if body.route is not UNSET else named.route if named else "chat"
    route = services.routes.get(name)
    if route is None and body.route is UNSET and named:
        raise BadRequest("The route of that turn is none of this site's any more: name another `route`.")
    if route is None:
        raise BadRequest("`route` is not one of this site's routes; leave it out for `chat`.")
    return name, route


async def _require_fit(services: Services, message: str, name: str, route: Route) -> None:
    limit = max_input_tokens(route, services.settings)
    if not surely_fits(message, route, limit) and not await asyncio.to_thread(fits, message, route, limit):
        raise PayloadTooLarge(
            f"`message` is too long: with its prompt, route `{name}` takes {limit} tokens at most. Shorten it."
        )
