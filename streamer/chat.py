"""`/ai/v1/chat`: post, poll and cancel. The events have a route of their own, in `event_stream.py`."""

import asyncio
import contextlib
import re
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from models.database import database
from models.ending import end_unbegun
from models.errors import (
    BadRequest,
    ConversationBusy,
    IdempotencyMismatch,
    NotFound,
    RateLimited,
)
from models.event_log import LOG_AWAY
from models.generation import Generation, Status, find_owned
from models.ownership import request_cancel
from streamer.admit import admit, hand_on
from streamer.chat_body import KEY, RULE, ChatBody, asked
from streamer.chat_state import ChatState, Links, links_of, state_of
from streamer.operation import Answer, Operation, Parameter, routes_of
from streamer.rate_limit_headers import RATE_LIMIT_HEADERS, rate_limit_headers
from streamer.services import Services
from streamer.strict_json import read_body
from streamer.struct_response import StructResponse
from streamer.tagged_response import tagged_response

_WAIT = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")

#: Seconds after which a poller may ask again.
POLL_SECONDS = 1


class Posted(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is kept. `ticket` opens its event stream where no header can be sent."""

    id: str
    status: Status
    conversation_id: str
    links: Links
    ticket: str


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """The status as it is: it is terminal once the provider's socket is closed."""

    id: str
    status: Status
    links: Links


async def post_chat(request: Request) -> Response:
    """`POST /ai/v1/chat` → 202 `{"id", "status", "conversation_id", "links", "ticket"}`, once the row is committed."""
    services: Services = request.state.services
    visitor = await services.auth.visitor(request.headers)
    settings = services.settings
    body = await read_body(request, ChatBody, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds)
    question = await asked(services, visitor, body, request.headers.get("idempotency-key"))
    try:
        admitted, window = await admit(services, question)
    except ConversationBusy as error:
        raise ConversationBusy(
            error.message, id=error.extra["generation_id"], links=links_of(error.extra["generation_id"])
        ) from None
    generation = admitted.generation
    await hand_on(services, admitted)
    links = links_of(generation.id)
    answer = Posted(
        id=generation.id,
        status=Status(generation.status),
        conversation_id=admitted.conversation,
        links=links,
        ticket=services.auth.mint_ticket(generation, visitor.key_id),
    )
    return StructResponse(answer, 202, {"location": links.own, **rate_limit_headers(window)})


async def get_chat(request: Request) -> Response:
    """`GET /ai/v1/chat/{id}`: the request as it stands; with `?wait=` seconds, once it has ended or the time is over."""
    services: Services = request.state.services
    visitor = await services.auth.visitor(request.headers)
    wait_seconds = wait_seconds_of(request, services)

    async def look() -> Generation | None:
        return await services.threads.run(find_owned, request.path_params["id"], visitor.tenant_id, visitor.user)

    row = await look()
    if row is not None and not row.ended and wait_seconds > 0:
        await wait_for_end(services, row.id, wait_seconds)
        row = await look()
    if row is None:
        raise NotFound
    headers = {"cache-control": "private, no-cache", **({} if row.ended else {"retry-after": str(POLL_SECONDS)})}
    return tagged_response(request, msgspec.json.encode(state_of(row)), "application/json", headers)


def wait_seconds_of(request: Request, services: Services) -> float:
    """What `?wait=` asks for, within the setting; 0 where there are viewers enough. Raises BadRequest."""
    given = request.query_params.get("wait", "0")
    if not _WAIT.fullmatch(given):
        raise BadRequest("`wait` must be a number of seconds.")
    if services.hub.viewers >= services.settings.max_viewers:
        return 0.0  # who waits costs what a viewer costs
    return min(float(given), services.settings.max_wait_seconds)


async def wait_for_end(services: Services, generation_id: str, seconds: float) -> None:
    """Returns when the generation has ended, the time is over or the process drains."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            viewer = await services.hub.join(generation_id, None)
            try:
                while not viewer.channel.ended and viewer.closing is None:
                    await viewer.wait()
            finally:
                services.hub.leave(viewer)


async def cancel_chat(request: Request) -> Response:
    """`POST /ai/v1/chat/{id}/cancel` → 202 with the status as it is: it is terminal once the provider's socket is closed."""
    services: Services = request.state.services
    visitor = await services.auth.visitor(request.headers)
    row = await cancel(services, request.path_params["id"], visitor.tenant_id, visitor.user)
    return StructResponse(Cancelled(id=row.id, status=Status(row.status), links=links_of(row.id)), 202)


async def cancel(services: Services, generation_id: str, tenant_id: int, visitor: str) -> Generation:
    """Asks an open generation to stop; the row as it is then. Raises NotFound."""
    row = await services.threads.run(_cancel, generation_id, tenant_id, visitor)
    if row is None:
        raise NotFound
    if not row.ended:
        with contextlib.suppress(*LOG_AWAY):  # the renewal brings the flag as well
            await services.log.nudge_cancel(row.id)
    return row


def _cancel(generation_id: str, tenant_id: int, visitor: str) -> Generation | None:
    """Flags an open generation; one that no run has begun is ended at once, and its events come from a sweeper."""
    with database.atomic():
        row = find_owned(generation_id, tenant_id, visitor)
        if row is None or row.ended:
            return row
        row = request_cancel(generation_id)
        return None if row is None else end_unbegun(row)


ETAG = Parameter(name="ETag", place="header", description="The tag of this answer, for `If-None-Match`.")
RETRY_AFTER = Parameter(
    name="Retry-After", place="header", type=int, description="Seconds after which to ask again, while it is open."
)
GENERATION_ID = Parameter(
    name="id", place="path", required=True, description="The generation's id, as its POST gave it."
)

WAIT = Parameter(
    name="wait",
    place="query",
    type=Annotated[str, Meta(extra_json_schema={"pattern": f"^{_WAIT.pattern}$"})],
    description="Seconds to wait for the end; the server waits 25 at most unless it is set otherwise.",
)
IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    place="header",
    type=Annotated[str, Meta(extra_json_schema={"pattern": f"^{KEY.pattern}$"})],
    description="A repeated POST with the same key and body gets the same generation.",
)

operations = [
    Operation(
        id="post_chat",
        method="POST",
        path="/ai/v1/chat",
        endpoint=post_chat,
        group="Chat",
        summary="Ask",
        description="202 means kept: the request is committed and will reach one end, whoever leaves or dies meanwhile.",
        parameters=[
            IDEMPOTENCY_KEY,
        ],
        body=ChatBody,
        body_rule=RULE,
        answers={
            202: Answer(
                "The request is kept.",
                Posted,
                [
                    Parameter(name="Location", place="header", description="Where to poll: `links.self`."),
                    *RATE_LIMIT_HEADERS,
                ],
            )
        },
        raises=[ConversationBusy, IdempotencyMismatch, NotFound, RateLimited],
    ),
    Operation(
        id="get_chat",
        method="GET",
        path="/ai/v1/chat/{id}",
        endpoint=get_chat,
        group="Chat",
        summary="Poll an answer",
        description="Answers at once, or with `?wait=` when the generation has ended or the time is over.",
        parameters=[
            GENERATION_ID,
            WAIT,
            Parameter(
                name="If-None-Match",
                place="header",
                description="The `ETag` of an earlier answer: 304 if nothing changed.",
            ),
        ],
        answers={
            200: Answer("The request as it stands.", ChatState, [ETAG, RETRY_AFTER]),
            304: Answer("Nothing changed since the answer with that tag.", headers=[ETAG, RETRY_AFTER]),
        },
        raises=[BadRequest, NotFound],
    ),
    Operation(
        id="cancel_chat",
        method="POST",
        path="/ai/v1/chat/{id}/cancel",
        endpoint=cancel_chat,
        group="Chat",
        summary="Stop an answer",
        description="As often as you like. The text so far is kept.",
        parameters=[GENERATION_ID],
        answers={202: Answer("The wish is kept; the status is as it is at this moment.", Cancelled)},
        raises=[NotFound],
    ),
]

routes = routes_of(operations)
