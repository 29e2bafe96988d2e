"""`/ai/v1/chat`: post, poll and cancel. The events have a route of their own, in `event_stream.py`."""

import asyncio
import contextlib
import hashlib
import re

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from models import admission
from models.database import database
from models.ending import Ending, end_unheld
from models.errors import BadRequest, ConversationBusy, NotFound, PayloadTooLarge, Unavailable, is_retryable
from models.event_log import LOG_AWAY
from models.generation import Generation, Status, find_owned
from models.kill_point import reach
from models.ownership import request_cancel
from streamer.auth import Visitor
from streamer.services import Services
from streamer.strict_json import Body, StrictBody, read_body

#: Characters of a conversation's name and of an idempotency key at most.
MAX_NAME = 200

_KEY = re.compile(r"[!-~]{1,200}")

# If-None-Match is a list, and compares weakly: a proxy that compresses makes W/"…" of our tag (RFC 9110 §13.1.2).
_TAG = re.compile(r'"[^"]*"')

#: Seconds after which a poller may ask again.
POLL_SECONDS = 1


class ChatBody(StrictBody, frozen=True):
    """A visitor's turn. `conversation_id` is the client's own string; without it a new conversation is made."""

    message: str
    conversation_id: str | None = None
    route: str = "chat"


async def post_chat(request: Request) -> Response:
    """`POST /ai/v1/chat` → 202 `{"id", "status", "conversation_id", "links", "ticket"}`, once the row is committed."""
    services: Services = request.state.services
    visitor = await services.auth.visitor(request.headers)
    settings = services.settings
    body = await read_body(request, ChatBody, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds)
    asked = _asked(services, visitor, body, request.headers.get("idempotency-key"))
    await services.require_redis()
    try:
        admitted = await services.threads.run(admission.admit, asked, settings)
    except ConversationBusy as error:
        raise ConversationBusy(
            error.message, id=error.extra["generation_id"], links=_links(error.extra["generation_id"])
        ) from None
    generation = admitted.generation
    if admitted.fresh:
        reach("after_commit", settings)
        with contextlib.suppress(Unavailable):  # the row is committed: a sweeper enqueues it
            await services.enqueue(generation.id)
        reach("after_enqueue", settings)
    answer = {
        "id": generation.id,
        "status": generation.status,
        "conversation_id": admitted.conversation,
        "links": _links(generation.id),
        "ticket": services.auth.mint_ticket(generation, visitor.key_id),
    }
    return JSONResponse(answer, 202, {"location": _links(generation.id)["self"]})


def _asked(services: Services, visitor: Visitor, body: Body[ChatBody], key: str | None) -> admission.Request:
    """What the body asks for. Raises BadRequest or PayloadTooLarge, which say what to change."""
    value = body.value
    if not value.message.strip():
        raise BadRequest("`message` is empty: say something.")
    if len(value.message.encode()) > services.settings.max_message_bytes:
        raise PayloadTooLarge(f"`message` may have {services.settings.max_message_bytes} bytes of UTF-8 at most.")
    if value.conversation_id is not None and not 1 <= len(value.conversation_id) <= MAX_NAME:
        raise BadRequest(
            f"`conversation_id` must have 1 to {MAX_NAME} characters; leave it out for a new conversation."
        )
    if key is not None and not _KEY.fullmatch(key):
        raise BadRequest("`Idempotency-Key` must have 1 to 200 printable ASCII characters without spaces.")
    route = services.routes.get(value.route)
    if route is None:
        raise BadRequest("`route` is not one of this site's routes; leave it out for `chat`.")
    return admission.Request(
        tenant_id=visitor.tenant_id,
        visitor=visitor.user,
        conversation=value.conversation_id,
        message=value.message,
        route_name=value.route,
        route=route,
        idempotency_key=hashlib.sha256(key.encode()).hexdigest() if key is not None else None,
        body_hash=body.digest,
    )


async def get_chat(request: Request) -> Response:
    """`GET /ai/v1/chat/{id}`: the request as it stands; with `?wait=` seconds, once it has ended or the time is over."""
    services: Services = request.state.services
    visitor = await services.auth.visitor(request.headers)
    wait_seconds = _wait_seconds(request, services)

    async def look() -> Generation | None:
        return await services.threads.run(find_owned, request.path_params["id"], visitor.tenant_id, visitor.user)

    row = await look()
    if row is not None and not row.ended and wait_seconds > 0:
        await _wait_for_end(services, row.id, wait_seconds)
        row = await look()
    if row is None:
        raise NotFound
    content = msgspec.json.encode(_state(row))
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        "etag": etag,
        "cache-control": "private, no-cache",
        **({} if row.ended else {"retry-after": str(POLL_SECONDS)}),
    }
    if etag in _TAG.findall(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(content, 200, headers, "application/json")


def _wait_seconds(request: Request, services: Services) -> float:
    given = request.query_params.get("wait", "0")
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", given):
        raise BadRequest("`wait` must be a number of seconds.")
    if services.hub.viewers >= services.settings.max_viewers:
        return 0.0  # who waits costs what a viewer costs
    return min(float(given), services.settings.max_wait_seconds)


async def _wait_for_end(services: Services, generation_id: str, seconds: float) -> None:
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
    row = await services.threads.run(_cancel, request.path_params["id"], visitor.tenant_id, visitor.user)
    if row is None:
        raise NotFound
    if not row.ended:
        with contextlib.suppress(*LOG_AWAY):  # the renewal brings the flag as well
            await services.log.nudge_cancel(row.id)
    return JSONResponse({"id": row.id, "status": row.status, "links": _links(row.id)}, 202)


def _cancel(generation_id: str, tenant_id: int, visitor: str) -> Generation | None:
    """Flags an open generation; one that no run has begun is ended at once, and its events come from a sweeper.

    One that is queued again after a run has text that viewers saw: a sweeper ends it, by what its log holds.
    """
    with database.atomic():
        row = find_owned(generation_id, tenant_id, visitor)
        if row is None or row.ended:
            return row
        row = request_cancel(generation_id)
        if row is not None and row.status == Status.QUEUED and row.run == 0:
            ending = Ending(status=Status.CANCELLED, finish_reason="cancelled")
            row = end_unheld(row, ending, text="", reasoning="", tool_calls=None) or row
        return row


def _links(generation_id: str) -> dict[str, str]:
    path = f"/ai/v1/chat/{generation_id}"
    return {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel"}


def _state(row: Generation) -> dict[str, object]:
    """What a poller sees. `result` is null until the first text, `tokens` until they are known.

    `last_event_id`: the event that the text reaches, from which a stream can go on (`?after=`); null before the first text.
    """
    usage = row.usage
    failed = row.status == Status.ERROR
    return {
        "id": row.id,
        "status": row.status,
        "result": {
            "text": row.text,
            "finish_reason": row.finish_reason,
            "model": row.model,
            "provider": row.provider,
        }
        if row.text or row.status in (Status.DONE, Status.INCOMPLETE, Status.CANCELLED)
        else None,
        "tokens": {"in": usage.input if usage else None, "out": usage.output if usage else None},
        "error": {
            "code": row.error_code,
            "message": row.error_message,
            "retryable": is_retryable(row.error_code),
        }
        if failed
        else None,
        "last_event_id": row.terminal_id or row.checkpoint_id,
        "links": _links(row.id),
    }


routes = [
    Route("/ai/v1/chat", post_chat, methods=["POST"]),
    Route("/ai/v1/chat/{id}", get_chat, methods=["GET"]),
    Route("/ai/v1/chat/{id}/cancel", cancel_chat, methods=["POST"]),
]
