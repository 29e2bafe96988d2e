"""`POST /ai/v1/chat/{id}/feedback`: what a visitor thinks of an answer."""

from typing import Annotated

import msgspec
from msgspec import Meta
from peewee import IntegrityError
from starlette.requests import Request

from models.database import database
from models.errors import BadRequest, NotFound
from models.feedback import Feedback, Rating, rate, take_back
from models.generation import find_owned
from streamer.chat import GENERATION_ID
from streamer.operation import Answer, Operation, routes_of
from streamer.services import Services
from streamer.strict_json import StrictBody, read_body
from streamer.struct_response import StructResponse

#: Characters of a comment at most.
MAX_COMMENT = 2000


class FeedbackBody(StrictBody, frozen=True):
    """`rating` null takes back what was thought before."""

    rating: Rating | None
    comment: Annotated[str, Meta(extra_json_schema={"maxLength": MAX_COMMENT})] = ""


class Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """What the visitor thinks of an answer."""

    rating: Rating
    comment: str


class Rated(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of it now."""

    id: str
    rating: Rating | None
    comment: str


async def post_feedback(request: Request) -> StructResponse:
    """`POST /ai/v1/chat/{id}/feedback` `{"rating", "comment"?}` → 200 `{"id", "rating", "comment"}`."""
    services: Services = request.state.services
    visitor = await services.auth.visitor(request.headers)
    settings = services.settings
    body = await read_body(request, FeedbackBody, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds)
    rating, comment = body.value.rating, body.value.comment
    if len(comment) > MAX_COMMENT:
        raise BadRequest(f"`comment` may have {MAX_COMMENT} characters at most.")
    if rating is None and comment:
        raise BadRequest("`rating` null takes back what you said: leave `comment` out, or send `up` or `down`.")
    generation_id = request.path_params["id"]
    await services.threads.run(_store, generation_id, visitor.tenant_id, visitor.user, rating, comment)
    return StructResponse(Rated(id=generation_id, rating=rating, comment=comment))


def _store(generation_id: str, tenant_id: int, visitor: str, rating: Rating | None, comment: str) -> None:
    with database.atomic():
        row = find_owned(generation_id, tenant_id, visitor)
        if row is None:
            raise NotFound
        if not row.ended:
            raise BadRequest("This answer has not ended yet: say what you think of it when it has.")
        if rating is None:
            take_back(row.id)
            return
        try:
            rate(row.id, rating, comment)
        except IntegrityError:  # it was erased since it was found
            raise NotFound from None


def opinion_of(feedback: Feedback) -> Opinion:
    """The row as it is told."""
    return Opinion(rating=Rating(feedback.rating), comment=feedback.comment)


operations = [
    Operation(
        id="post_feedback",
        method="POST",
        path="/ai/v1/chat/{id}/feedback",
        endpoint=post_feedback,
        group="Chat",
        summary="Rate an answer",
        description="Once an answer has ended, as often as you like: the last word counts, and null takes it back.",
        parameters=[GENERATION_ID],
        body=FeedbackBody,
        body_rule={
            "anyOf": [{"properties": {"rating": {"type": "string"}}}, {"properties": {"comment": {"maxLength": 0}}}],
            "examples": [{"rating": "up", "comment": "Short and clear."}],
        },
        answers={200: Answer("What is kept of it now.", Rated)},
        raises=[NotFound],
    ),
]

routes = routes_of(operations)
