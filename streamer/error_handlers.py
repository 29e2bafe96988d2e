"""The only place where an error becomes an HTTP answer. One shape everywhere:

`{"error": "<code>", "message": "…", "request_id": "…", "retry_after"?: seconds, …}`; more members come from the error's `extra`.
"""

import logging
import math
import re
import traceback
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from models.errors import (
    AnswerFailed,
    AnswerPending,
    BadRequest,
    ConversationBusy,
    DeadlineExceeded,
    Forbidden,
    GenerationFailure,
    IdempotencyMismatch,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    ProviderFailure,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderTimeout,
    RateLimited,
    RequestError,
    RequestTimeout,
    StreamerError,
    TooManyCalls,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from streamer.rate_limit_headers import rate_limit_headers
from streamer.request_id import request_id_of

logger = logging.getLogger(__name__)

#: The status of every error that may be told to a caller. What is not in it is our own fault: 500 `internal`.
STATUSES: dict[type[StreamerError], int] = {
    RequestError: 400,
    BadRequest: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    RequestTimeout: 408,
    ConversationBusy: 409,
    PayloadTooLarge: 413,
    UnsupportedMediaType: 415,
    IdempotencyMismatch: 422,
    RateLimited: 429,
    Unavailable: 503,
    Overloaded: 503,
    AnswerPending: 504,
}

#: How `/v1/chat` tells why a generation ended. Such a failure has a status only within an AnswerFailed.
FAILURE_STATUSES: dict[type[StreamerError], int] = {
    GenerationFailure: 500,
    TooManyCalls: 502,
    ProviderFailure: 502,
    ProviderRateLimited: 429,
    ProviderOverloaded: 503,
    ProviderTimeout: 504,
    DeadlineExceeded: 504,
}

#: Seconds after which who is told of a provider's limit or overload may ask again.
PROVIDER_RETRY_SECONDS = 10

#: What some statuses have to say in a header (RFC 9110 §11.6.1, §15.5.9).
_HEADERS: dict[int, dict[str, str]] = {401: {"www-authenticate": "Bearer"}, 408: {"connection": "close"}}

#: What Starlette itself raises, in our words.
_OURS: dict[int, type[StreamerError]] = {
    status: kind for kind, status in STATUSES.items() if kind not in (RequestError, Overloaded, AnswerPending)
}

_INTERNAL = "Something went wrong in the service; its log has more under this request_id."


def error_response(error: Exception, request_id: str) -> Response:
    """The answer to `error`, whatever it is; nothing of an unexpected one is told. Logs nothing: see `log_unexpected`."""
    if isinstance(error, HTTPException):
        return _answer(error.status_code, _body_of_status(error.status_code), request_id, dict(error.headers or {}))
    status = _status(error)
    if status is None or not isinstance(error, StreamerError):
        return _answer(500, {"error": "internal", "message": _INTERNAL}, request_id)
    code = error.failure.code if isinstance(error, AnswerFailed) else error.code
    body = {**error.extra, "error": code, "message": error.message}
    headers: dict[str, str] = {}
    if isinstance(error, (Unavailable, RateLimited)):
        body["retry_after"] = max(1, math.ceil(error.retry_after_seconds))
    elif status in (429, 503):
        body["retry_after"] = PROVIDER_RETRY_SECONDS
    if "retry_after" in body:
        headers["retry-after"] = str(body["retry_after"])
    if isinstance(error, RateLimited) and error.window is not None:
        headers |= rate_limit_headers(error.window)
    return _answer(status, body, request_id, headers)


def is_expected(error: Exception) -> bool:
    """Whether the error has an answer of its own, so that the log need not hear of it."""
    return isinstance(error, HTTPException) or _status(error) is not None


def log_unexpected(error: BaseException, request_id: str) -> None:
    """Logs what kind of error came up and where: neither its message nor a traceback, which may hold a prompt or a key."""
    logger.error("%s at %s (request %s)", type(error).__name__, place_of(error), request_id)


def place_of(error: BaseException) -> str:
    """`file:line` of each of the three innermost steps, the innermost first."""
    steps = traceback.extract_tb(error.__traceback__)[-3:]
    return " < ".join(f"{'/'.join(Path(step.filename).parts[-2:])}:{step.lineno}" for step in reversed(steps)) or "?"


async def handle(request: Request, error: Exception) -> Response:
    """The handler that Starlette calls for every error in `exception_handlers`."""
    request_id = request_id_of(request.scope)
    if not is_expected(error):
        log_unexpected(error, request_id)
    return error_response(error, request_id)


#: For Starlette's constructor. Other exceptions are `UnexpectedErrors`' work: Starlette would raise them again after answering.
exception_handlers: dict[Any, ExceptionHandler] = {StreamerError: handle, HTTPException: handle}


def status_of(kind: type[Exception]) -> int | None:
    """The status by which an error of that kind, or a failure within an AnswerFailed, is told; None for a defect of ours."""
    statuses = STATUSES | FAILURE_STATUSES
    return next((statuses[each] for each in kind.__mro__ if each in statuses), None)


def _status(error: Exception) -> int | None:
    if isinstance(error, AnswerFailed):
        return status_of(type(error.failure))
    return None if isinstance(error, GenerationFailure) else status_of(type(error))


def _body_of_status(status: int) -> dict[str, Any]:
    if kind := _OURS.get(status):
        return {"error": kind.code, "message": kind().message}
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown error"
    return {"error": re.sub("[^a-z]+", "_", phrase.lower()), "message": f"{phrase}."}


def _answer(status: int, body: dict[str, Any], request_id: str, headers: dict[str, str] | None = None) -> Response:
    content = msgspec.json.encode({**body, "request_id": request_id})
    always = {"cache-control": "no-store", "x-content-type-options": "nosniff", "x-request-id": request_id}
    return Response(content, status, {**always, **_HEADERS.get(status, {}), **(headers or {})}, "application/json")
