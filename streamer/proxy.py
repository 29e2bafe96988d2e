"""`/v1/chat`: a whole answer for a server, at once, as a stream or later; its events are in `event_stream.py`."""

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from models.errors import (
    AnswerPending,
    BadRequest,
    IdempotencyMismatch,
    NotFound,
    Overloaded,
    RateLimited,
    generation_failures,
)
from models.event import PAYLOADS
from models.generation import Generation, find_owned
from models.rate_limit import Limit, window_key
from streamer.admit import admit, hand_on
from streamer.auth import Server
from streamer.chat import (
    GENERATION_ID,
    IDEMPOTENCY_KEY,
    POLL_SECONDS,
    RETRY_AFTER,
    WAIT,
    cancel,
    wait_for_end,
    wait_seconds_of,
)
from streamer.event_stream import EXAMPLE, LAST_EVENT_ID
from streamer.operation import Answer, Credential, Operation, Parameter
from streamer.proxy_answer import DirectAnswer, DirectState, answer_of, links_of, state_of
from streamer.proxy_body import DirectBody, asked
from streamer.proxy_hold import StreamedAnswer, cancel_left, hold
from streamer.rate_limit_headers import RATE_LIMIT_HEADERS, rate_limit_headers
from streamer.services import Services
from streamer.signature import HEADER
from streamer.strict_json import read_body
from streamer.struct_response import StructResponse

#: Counts an API key's requests apart from those of visitors: no route has a slash in its name.
WINDOW = "/v1"

#: For the log alone: nobody is there to read it.
HUNG_UP = 499


async def post_direct(request: Request) -> Response:
    """`POST /v1/chat` → 200 with the answer or its stream; 202 with `Prefer: respond-async`."""
    services: Services = request.state.services
    settings = services.settings
    server = await services.auth.chat_server(request.headers)
    body = await read_body(request, DirectBody, max_bytes=settings.max_direct_body_bytes, seconds=settings.body_seconds)
    question = await asked(services, server, body, request.headers)
    asynchronous = _prefers_async(request.headers)
    if not asynchronous and services.hub.viewers >= settings.max_viewers:
        raise Overloaded("There are as many callers as this process may hold; nothing was stored. Try again.")
    limit = Limit(settings.max_key_requests, settings.key_window_seconds)
    admitted, window = await admit(services, question, (window_key(server.tenant_id, WINDOW, server.key_id), limit))
    await hand_on(services, admitted)
    row = admitted.generation
    headers = {"location": links_of(row.id).own, "x-generation-id": row.id, **rate_limit_headers(window)}
    if asynchronous:
        return StructResponse(state_of(row), 202, {**headers, "preference-applied": "respond-async"})
    if body.value.stream:
        return StreamedAnswer(services, server, row, headers)
    seconds = question.route.response_seconds or settings.response_seconds
    if not await hold(request, services, row.id, seconds):
        await cancel_left(services, server, row.id)
        return Response(status_code=HUNG_UP)
    row = await _find(services, row.id, server)
    if not row.ended:
        raise AnswerPending(
            "The answer takes longer than this call is held. It goes on: poll or watch it, or cancel it.",
            id=row.id,
            links=links_of(row.id),
        )
    return await _signed(services, server, row, headers)


async def get_direct(request: Request) -> Response:
    """`GET /v1/chat/{id}` → 200 with the answer, 202 while there is none; with `?wait=` seconds, once the time is over."""
    services: Services = request.state.services
    server = await services.auth.chat_server(request.headers)
    wait_seconds = wait_seconds_of(request, services)
    row = await _find(services, request.path_params["id"], server)
    if not row.ended and wait_seconds > 0:
        await wait_for_end(services, row.id, wait_seconds)
        row = await _find(services, row.id, server)
    if not row.ended:
        return StructResponse(state_of(row), 202, {"retry-after": str(POLL_SECONDS)})
    return await _signed(services, server, row, {})


async def cancel_direct(request: Request) -> Response:
    """`POST /v1/chat/{id}/cancel` → 202 with the status as it is: it is terminal once the provider's socket is closed."""
    services: Services = request.state.services
    server = await services.auth.chat_server(request.headers)
    row = await cancel(services, request.path_params["id"], server.tenant_id, "")
    return StructResponse(state_of(row), 202)


async def _find(services: Services, generation_id: str, server: Server) -> Generation:
    """The row, which a server of the same tenant began. Raises NotFound."""
    row = await services.threads.run(find_owned, generation_id, server.tenant_id, "")
    if row is None:
        raise NotFound
    return row


async def _signed(services: Services, server: Server, row: Generation, headers: Mapping[str, str]) -> Response:
    """The ended generation's answer. Raises AnswerFailed where it has none."""
    content = msgspec.json.encode(answer_of(row))
    signature = await services.threads.run(services.signatures.header, server.tenant_id, row.id, content)
    return Response(content, 200, {**headers, HEADER: signature}, "application/json")


def _prefers_async(headers: Mapping[str, str]) -> bool:
    """RFC 7240 §4.1. Other preferences are ignored."""
    wishes = headers.get("prefer", "").lower().split(",")
    return any(wish.partition(";")[0].strip() == "respond-async" for wish in wishes)


_SIGNATURE = Parameter(
    name="X-Signature",
    place="header",
    description="`t=<Unix seconds>,v1=<hex>`: HMAC-SHA256 of `<t>.<id>.<SHA-256 of the body, in hex>`; not on a stream.",
)
_LOCATION = Parameter(name="Location", place="header", description="Where to poll: `links.self`.")
_ID = Parameter(name="X-Generation-Id", place="header", description="The generation's id, of a stream too.")

_FAILURES = list(generation_failures().values())

operations = [
    Operation(
        id="post_direct",
        method="POST",
        path="/v1/chat",
        endpoint=post_direct,
        group="For servers",
        summary="Get an answer",
        description=(
            "Holds the call until the answer is there, 25 s at most unless it is set otherwise; then 504 with the id, and the "
            "answer goes on. Who hangs up before cancels it, unless somebody else watches it by then."
        ),
        credentials=[Credential.CHAT_KEY],
        parameters=[
            IDEMPOTENCY_KEY,
            Parameter(
                name="Prefer", place="header", description="`respond-async`: 202 at once, to be polled or watched."
            ),
            Parameter(name="Cache-Control", place="header", description="`no-cache`: asks the model anew."),
        ],
        body=DirectBody,
        answers={
            200: Answer(
                "The answer; with `stream`, its events.",
                DirectAnswer,
                [_SIGNATURE, _LOCATION, _ID, *RATE_LIMIT_HEADERS],
                events=PAYLOADS,
                example=EXAMPLE,
            ),
            202: Answer("The request is kept.", DirectState, [_LOCATION, _ID, *RATE_LIMIT_HEADERS]),
        },
        raises=[IdempotencyMismatch, NotFound, RateLimited, Overloaded, AnswerPending, *_FAILURES],
    ),
    Operation(
        id="get_direct",
        method="GET",
        path="/v1/chat/{id}",
        endpoint=get_direct,
        group="For servers",
        summary="Poll an answer",
        description="What the POST would have answered, or 202 while there is nothing to answer.",
        credentials=[Credential.CHAT_KEY],
        parameters=[GENERATION_ID, WAIT],
        answers={
            200: Answer("The answer.", DirectAnswer, [_SIGNATURE]),
            202: Answer("It has not ended.", DirectState, [RETRY_AFTER]),
        },
        raises=[BadRequest, NotFound, *_FAILURES],
    ),
    Operation(
        id="stream_direct",
        method="GET",
        path="/v1/chat/{id}/events",
        endpoint=None,
        group="For servers",
        summary="Watch an answer",
        description="The same events as a visitor's, from the first or from where you left.",
        credentials=[Credential.CHAT_KEY],
        parameters=[GENERATION_ID, LAST_EVENT_ID],
        answers={
            200: Answer("The stream.", "text/event-stream", events=PAYLOADS, example=EXAMPLE),
            204: Answer("Nothing is left to say after that id."),
        },
        raises=[NotFound],
    ),
    Operation(
        id="cancel_direct",
        method="POST",
        path="/v1/chat/{id}/cancel",
        endpoint=cancel_direct,
        group="For servers",
        summary="Stop an answer",
        description="As often as you like. The text so far is kept.",
        credentials=[Credential.CHAT_KEY],
        parameters=[GENERATION_ID],
        answers={202: Answer("The wish is kept; the status is as it is at this moment.", DirectState)},
        raises=[NotFound],
    ),
]
