"""One shape for every error, a status for each, and nothing of an unexpected one told or logged."""

import json
import logging
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from models import errors
from models.errors import (
    AnswerFailed,
    AnswerPending,
    BadRequest,
    ConversationBusy,
    Forbidden,
    GenerationFailure,
    IdempotencyMismatch,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    ProviderAuthFailed,
    ProviderRateLimited,
    ProviderTimeout,
    RequestError,
    RequestTimeout,
    SettingInvalid,
    StreamerError,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from streamer.error_handlers import STATUSES, error_response, is_expected, log_unexpected, place_of
from tests.streamer.conftest import client_of

CANARY = "sk-canary my deepest secret"


def body_of(response: Response) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(response.body))
    return found


def kinds_of(kind: type[StreamerError]) -> set[type[StreamerError]]:
    found = {kind}
    for each in kind.__subclasses__():
        found |= kinds_of(each)
    return {each for each in found if each.__module__ == errors.__name__}


@pytest.mark.parametrize("kind", sorted(kinds_of(RequestError) | kinds_of(Unavailable), key=str))
def test_every_error_that_a_caller_may_see_has_a_status_of_its_own(kind: type[StreamerError]) -> None:
    assert kind in STATUSES


def test_only_a_callers_errors_have_a_status() -> None:
    assert set(STATUSES) == kinds_of(RequestError) | kinds_of(Unavailable) | {AnswerPending}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BadRequest(), 400, "bad_request"),
        (Unauthorized(), 401, "unauthorized"),
        (Forbidden(), 403, "forbidden"),
        (NotFound(), 404, "not_found"),
        (MethodNotAllowed(), 405, "method_not_allowed"),
        (RequestTimeout(), 408, "request_timeout"),
        (ConversationBusy(), 409, "conversation_busy"),
        (PayloadTooLarge(), 413, "payload_too_large"),
        (UnsupportedMediaType(), 415, "unsupported_media_type"),
        (IdempotencyMismatch(), 422, "idempotency_mismatch"),
        (Unavailable(), 503, "unavailable"),
        (Overloaded(), 503, "overloaded"),
        (AnswerPending(), 504, "response_timeout"),
        (AnswerFailed(ProviderAuthFailed()), 502, "provider_auth"),
        (AnswerFailed(ProviderTimeout()), 504, "provider_timeout"),
        (AnswerFailed(ProviderRateLimited()), 429, "rate_limited"),
        (HTTPException(404, CANARY), 404, "not_found"),
        (HTTPException(405), 405, "method_not_allowed"),
        (HTTPException(413), 413, "payload_too_large"),
        (HTTPException(406, CANARY), 406, "not_acceptable"),
        (HTTPException(418), 418, "i_m_a_teapot"),
        (HTTPException(599), 599, "unknown_error"),
        (SettingInvalid(CANARY), 500, "internal"),
        (GenerationFailure(CANARY), 500, "internal"),
        (ProviderTimeout(CANARY), 500, "internal"),
        (StreamerError(CANARY), 500, "internal"),
        (ValueError(CANARY), 500, "internal"),
        (ExceptionGroup(CANARY, [KeyError(CANARY)]), 500, "internal"),
    ],
)
def test_every_error_is_answered_in_one_shape(error: Exception, status: int, code: str) -> None:
    response = error_response(error, "r1")
    body = body_of(response)

    assert response.status_code == status
    assert (body["error"], body["request_id"]) == (code, "r1")
    assert body["message"]
    assert set(body) <= {"error", "message", "request_id", "retry_after"}
    assert "deepest" not in bytes(response.body).decode() + str(response.raw_headers)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"] == "r1"
    assert response.headers["cache-control"] == "no-store"
    assert is_expected(error) == (status != 500)


def test_an_error_of_a_new_kind_has_the_status_of_its_parent() -> None:
    class Elsewhere(NotFound):
        """It moved."""

    assert error_response(Elsewhere(), "r1").status_code == 404


def test_an_errors_message_and_more_are_told() -> None:
    body = body_of(error_response(ConversationBusy("Wait.", links={"self": "/x"}), "r1"))

    assert body == {"error": "conversation_busy", "message": "Wait.", "links": {"self": "/x"}, "request_id": "r1"}


def test_what_an_error_adds_does_not_replace_the_shape() -> None:
    error = Unavailable("Wait.", retry_after_seconds=3, error="x", request_id="x", retry_after="x")

    assert body_of(error_response(error, "r1")) == {
        "error": "unavailable",
        "message": "Wait.",
        "request_id": "r1",
        "retry_after": 3,
    }


@pytest.mark.parametrize(("seconds", "told"), [(2.0, 2), (0.1, 1), (0.0, 1), (-5.0, 1), (2.1, 3), (3600.0, 3600)])
def test_whoever_must_wait_is_told_how_long_in_whole_seconds(seconds: float, told: int) -> None:
    response = error_response(Overloaded(retry_after_seconds=seconds), "r1")

    assert response.headers["retry-after"] == str(told)
    assert body_of(response)["retry_after"] == told


def test_a_refused_credential_is_asked_for_by_its_scheme() -> None:
    assert error_response(Unauthorized(), "r1").headers["www-authenticate"] == "Bearer"


def test_a_connection_whose_body_did_not_come_is_closed() -> None:
    assert error_response(RequestTimeout(), "r1").headers["connection"] == "close"


def test_the_headers_of_starlettes_own_errors_stay() -> None:
    assert error_response(HTTPException(405, headers={"Allow": "POST"}), "r1").headers["allow"] == "POST"


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_an_unexpected_error_is_logged_by_its_class_and_place_alone(caplog: pytest.LogCaptureFixture) -> None:
    log_unexpected(raised(ValueError(CANARY)), "r1")

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is None
    assert record.message.startswith("ValueError at streamer/test_error_handlers.py:")
    assert record.message.endswith("(request r1)")
    assert "deepest" not in caplog.text


def test_the_place_of_an_error_is_its_innermost_steps() -> None:
    def deeper(levels: int) -> None:
        if levels:
            deeper(levels - 1)
        raise KeyError

    try:
        deeper(10)
    except KeyError as error:
        place = place_of(error)

    assert place.count("streamer/test_error_handlers.py:") == place.count(" < ") + 1 == 3


def test_the_place_of_an_error_that_was_never_raised_is_unknown() -> None:
    assert place_of(ValueError()) == "?"


async def bad(request: Request) -> Response:
    raise BadRequest("No.")


async def broken(request: Request) -> Response:
    raise ValueError(CANARY)


async def misconfigured(request: Request) -> Response:
    raise SettingInvalid(CANARY)


routes = [
    Route("/bad", bad),
    Route("/broken", broken),
    Route("/misconfigured", misconfigured),
]


async def test_an_app_answers_errors_with_the_requests_id() -> None:
    async with client_of(routes) as client:
        response = await client.get("/bad", headers={"x-request-id": "mine"})

    assert response.status_code == 400
    assert response.json() == {"error": "bad_request", "message": "No.", "request_id": "mine"}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/bad", 405)])
async def test_an_app_answers_what_it_does_not_know_in_the_same_shape(method: str, path: str, status: int) -> None:
    async with client_of(routes) as client:
        response = await client.request(method, path)

    assert response.status_code == status
    assert sorted(response.json()) == ["error", "message", "request_id"]
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert ("allow" in response.headers) == (status == 405)


@pytest.mark.parametrize("path", ["/broken", "/misconfigured"])
async def test_an_app_says_and_logs_nothing_of_what_is_in_an_unexpected_error(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(routes) as client:
        response = await client.get(path)

    assert response.status_code == 500
    assert response.json()["error"] == "internal"
    assert "deepest" not in response.text
    (line,) = [record.message for record in caplog.records if record.name == "streamer.error_handlers"]
    assert response.json()["request_id"] in line
    assert "streamer/test_error_handlers.py:" in line
    assert "deepest" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_an_expected_error_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with client_of(routes) as client:
        await client.get("/bad")
        await client.get("/nowhere")

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
