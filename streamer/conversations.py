"""`/ai/v1/conversations`: what a visitor has talked about; list, read, rename, erase."""

import contextlib
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from models.conversation import MAX_TITLE, rename
from models.conversation_list import Entry, find_entry, list_conversations, place_of
from models.erasure import mark_deleted
from models.errors import BadRequest, NotFound, Unavailable
from models.event_log import LOG_AWAY
from models.feedback import Feedback, feedback_on
from models.generation import Generation
from models.turn import page_of_turns, place_of_turn
from streamer.chat import wait_for_end
from streamer.chat_state import ChatState, fields_of
from streamer.feedback import Opinion, opinion_of
from streamer.operation import Answer, Operation, Parameter, routes_of
from streamer.page import CURSOR, LIMIT, cursor_of, limit_of, page_of
from streamer.services import Services
from streamer.strict_json import StrictBody, read_body
from streamer.struct_response import StructResponse
from tasks.eraser import erase

#: Entries of a page where nobody says how many.
CONVERSATIONS_A_PAGE, TURNS_A_PAGE = 20, 100

#: Seconds that a deletion waits for an answer to stop, and answers that it erases itself; a sweeper does the rest.
STOP_SECONDS = 3.0
DELETE_ROWS = 2000


class TitleBody(StrictBody, frozen=True):
    """Another title, in place of the first message's first words."""

    title: Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_TITLE, "pattern": r"\S"})]


class ConversationEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation in the list. `turns` counts those of all branches; `busy`: an answer is under way."""

    id: str
    title: str
    created_at: str
    updated_at: str
    turns: int
    busy: bool


class ConversationPage(msgspec.Struct, frozen=True, kw_only=True):
    """The newest first. `next` is the `cursor` of the page after this; null on the last."""

    conversations: list[ConversationEntry]
    next: str | None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What the model was told: turns before, turns that no longer fitted, and the tokens of all of it."""

    turns: int
    dropped: int
    tokens: int


class TurnState(ChatState, frozen=True, kw_only=True):
    """A turn. `parent` is the turn that it follows; turns with one parent are branches.

    `history` is null until a model is asked.
    """

    parent: str | None
    message: str
    route: str
    created_at: str
    feedback: Opinion | None
    history: History | None


class ConversationState(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation with its newest turns, the oldest of them first. `next` leads to those before; null where there are none."""

    id: str
    title: str
    created_at: str
    updated_at: str
    busy: bool
    turns: list[TurnState]
    next: str | None


class Deleting(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody finds it any more; it is erased when its answer has stopped."""

    id: str
    status: Literal["deleting"] = "deleting"


async def get_conversations(request: Request) -> StructResponse:
    """`GET /ai/v1/conversations` → 200 `{"conversations", "next"}`, the one with the newest turn first."""
    services: Services = request.state.services
    visitor = await services.auth.visitor(request.headers)
    limit, after = limit_of(request, CONVERSATIONS_A_PAGE), cursor_of(request)
    found = await services.threads.run(list_conversations, visitor.tenant_id, visitor.user, limit + 1, after)
    page, following = page_of(found, limit, place_of)
    return StructResponse(ConversationPage(conversations=[entry_of(each) for each in page], next=following))


async def get_conversation(request: Request) -> StructResponse:
    """`GET /ai/v1/conversations/{id}` → 200 `{"id", "title", …, "turns", "next"}`."""
    services: Services = request.state.services
    visitor = await services.auth.visitor(request.headers)
    limit, before = limit_of(request, TURNS_A_PAGE), cursor_of(request)
    entry = await services.threads.run(find_entry, visitor.tenant_id, visitor.user, request.path_params["id"])
    if entry is None:
        raise NotFound
    rows = await services.threads.run(page_of_turns, entry.conversation, limit + 1, before)
    page, following = page_of(rows, limit, place_of_turn)
    opinions = await services.threads.run(feedback_on, [row.id for row in page])
    state = ConversationState(
        id=entry.conversation.name,
        title=entry.conversation.title,
        created_at=time_of(entry.conversation.created_at),
        updated_at=time_of(entry.conversation.updated_at),
        busy=entry.busy,
        turns=[turn_of(row, opinions.get(row.id)) for row in reversed(page)],
        next=following,
    )
    return StructResponse(state)


async def patch_conversation(request: Request) -> StructResponse:
    """`PATCH /ai/v1/conversations/{id}` `{"title"}` → 200, the list's entry."""
    services: Services = request.state.services
    visitor = await services.auth.visitor(request.headers)
    settings = services.settings
    body = await read_body(request, TitleBody, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds)
    title = body.value.title.strip()
    if not 1 <= len(title) <= MAX_TITLE:
        raise BadRequest(f"`title` must have 1 to {MAX_TITLE} characters that are not all blank.")
    name = request.path_params["id"]
    await services.threads.run(rename, visitor.tenant_id, visitor.user, name, title)
    entry = await services.threads.run(find_entry, visitor.tenant_id, visitor.user, name)
    if entry is None:
        raise NotFound
    return StructResponse(entry_of(entry))


async def delete_conversation(request: Request) -> Response:
    """`DELETE /ai/v1/conversations/{id}` → 204 erased, or 202 `{"id", "status": "deleting"}` while an answer is being stopped.

    It is gone from every look-up at once. What can't be erased now is erased by a sweeper.
    """
    services: Services = request.state.services
    visitor = await services.auth.visitor(request.headers)
    name = request.path_params["id"]
    marked = await services.threads.run(mark_deleted, visitor.tenant_id, visitor.user, name)
    if marked is None:
        raise NotFound
    if marked.running is not None:
        with contextlib.suppress(*LOG_AWAY):  # the renewal brings the flag as well
            await services.log.nudge_cancel(marked.running)
        await wait_for_end(services, marked.running, STOP_SECONDS)
    with contextlib.suppress(*LOG_AWAY, Unavailable):
        if await erase(marked.conversation_id, services.log, services.threads.run, max_rows=DELETE_ROWS):
            return Response(status_code=204)
    return StructResponse(Deleting(id=name), 202)


def entry_of(entry: Entry) -> ConversationEntry:
    """What the list says of a conversation."""
    row = entry.conversation
    return ConversationEntry(
        id=row.name,
        title=row.title,
        created_at=time_of(row.created_at),
        updated_at=time_of(row.updated_at),
        turns=entry.turns,
        busy=entry.busy,
    )


def turn_of(row: Generation, feedback: Feedback | None) -> TurnState:
    """What is told of a turn."""
    sent = row.sent
    return TurnState(
        **fields_of(row),
        parent=row.parent,
        message=row.message,
        route=row.route,
        created_at=time_of(row.created_at),
        feedback=opinion_of(feedback) if feedback else None,
        history=History(turns=sent.turns, dropped=sent.dropped, tokens=sent.tokens) if sent else None,
    )


def time_of(seconds: float) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


CONVERSATION_ID = Parameter(
    name="id", place="path", required=True, description="The `conversation_id` of its POSTs, percent-encoded."
)

operations = [
    Operation(
        id="get_conversations",
        method="GET",
        path="/ai/v1/conversations",
        endpoint=get_conversations,
        group="Conversations",
        summary="List a visitor's conversations",
        parameters=[LIMIT, CURSOR],
        answers={200: Answer("A page, the conversation with the newest turn first.", ConversationPage)},
        raises=[BadRequest],
    ),
    Operation(
        id="get_conversation",
        method="GET",
        path="/ai/v1/conversations/{id}",
        pattern="/ai/v1/conversations/{id:path}",
        endpoint=get_conversation,
        group="Conversations",
        summary="Read a conversation",
        description="Its newest turns, of all branches; `next` leads to older ones.",
        parameters=[CONVERSATION_ID, LIMIT, CURSOR],
        answers={200: Answer("The conversation and a page of its turns, oldest first.", ConversationState)},
        raises=[BadRequest, NotFound],
    ),
    Operation(
        id="patch_conversation",
        method="PATCH",
        path="/ai/v1/conversations/{id}",
        pattern="/ai/v1/conversations/{id:path}",
        endpoint=patch_conversation,
        group="Conversations",
        summary="Rename a conversation",
        parameters=[CONVERSATION_ID],
        body=TitleBody,
        answers={200: Answer("The conversation as the list has it.", ConversationEntry)},
        raises=[NotFound],
    ),
    Operation(
        id="delete_conversation",
        method="DELETE",
        path="/ai/v1/conversations/{id}",
        pattern="/ai/v1/conversations/{id:path}",
        endpoint=delete_conversation,
        group="Conversations",
        summary="Erase a conversation",
        description="Nobody finds it any more from now on. An answer under way is stopped first; what was paid for it stays known.",
        parameters=[CONVERSATION_ID],
        answers={
            204: Answer("Erased, with its answers, their events and what was thought of them."),
            202: Answer("An answer is still being stopped; it is erased after that.", Deleting),
        },
        raises=[NotFound],
    ),
]

routes = routes_of(operations)
