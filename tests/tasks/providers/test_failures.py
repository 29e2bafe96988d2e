"""What a provider's refusals mean, and that none of them is quoted."""

from typing import Any

import pytest

from models import errors
from tasks.providers.failures import from_error_event, from_response


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, None, errors.ProviderRefusedRequest),
        (400, "context_length_exceeded", errors.ProviderRefusedRequest),
        (400, "invalid_api_key", errors.ProviderAuthFailed),
        (401, None, errors.ProviderAuthFailed),
        (401, "invalid_request_error", errors.ProviderAuthFailed),
        (402, None, errors.ProviderQuotaExhausted),
        (403, None, errors.ProviderAuthFailed),
        (403, "insufficient_quota", errors.ProviderQuotaExhausted),
        (404, "model_not_found", errors.ProviderRefusedRequest),
        (408, None, errors.ProviderTimeout),
        (409, None, errors.ProviderOverloaded),
        (413, None, errors.ProviderRefusedRequest),
        (418, None, errors.ProviderRefusedRequest),
        (422, None, errors.ProviderRefusedRequest),
        (429, None, errors.ProviderRateLimited),
        (429, "rate_limit_exceeded", errors.ProviderRateLimited),
        (429, "slow_down", errors.ProviderRateLimited),
        (429, "server_error", errors.ProviderRateLimited),
        (429, "insufficient_quota", errors.ProviderQuotaExhausted),
        (429, "credit_balance_exhausted", errors.ProviderQuotaExhausted),
        (500, None, errors.ProviderOverloaded),
        (500, "invalid_request_error", errors.ProviderOverloaded),
        (502, None, errors.ProviderOverloaded),
        (503, "slow_down", errors.ProviderRateLimited),
        (504, None, errors.ProviderOverloaded),
        (529, "overloaded_error", errors.ProviderOverloaded),
        (201, None, errors.ProviderProtocolBroken),
        (307, None, errors.ProviderProtocolBroken),
    ],
)
def test_a_status_and_a_code_have_one_meaning(status: int, code: str | None, kind: type[Exception]) -> None:
    body = {"error": {"message": "secret prompt", "type": None, "code": code}}
    assert type(from_response(status, {}, body)) is kind


def test_a_type_counts_where_the_code_says_nothing() -> None:
    body = {"error": {"message": "secret prompt", "type": "insufficient_quota", "code": None}}
    assert type(from_response(429, {}, body)) is errors.ProviderQuotaExhausted


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "server_error", "code": None}, errors.ProviderOverloaded),
        ({"type": "overloaded_error"}, errors.ProviderOverloaded),
        ({"code": "rate_limit_exceeded"}, errors.ProviderRateLimited),
        ({"code": 429}, errors.ProviderRateLimited),
        ({"code": 502}, errors.ProviderOverloaded),
        ({"code": 401}, errors.ProviderAuthFailed),
        ({"code": 400, "type": "invalid_request_error"}, errors.ProviderRefusedRequest),
        ({"code": True}, errors.ProviderOverloaded),
        ({"type": "invalid_request_error"}, errors.ProviderRefusedRequest),
        ({"type": "timeout_error"}, errors.ProviderTimeout),
        ("insufficient_quota", errors.ProviderQuotaExhausted),
        ("something went wrong", errors.ProviderOverloaded),
        ({}, errors.ProviderOverloaded),
        ([1], errors.ProviderOverloaded),
        (None, errors.ProviderOverloaded),
    ],
)
def test_an_error_within_a_stream_is_classified_alike(error: object, kind: type[Exception]) -> None:
    assert type(from_error_event(error)) is kind


@pytest.mark.parametrize(
    "body", [None, b"secret prompt", {}, {"error": "secret prompt"}, {"error": {"code": "secret"}}]
)
def test_no_body_is_quoted(body: Any) -> None:
    assert from_response(400, {}, body).message == "The provider answered with status 400"


def test_a_plain_code_is_named() -> None:
    found = from_response(400, {}, {"error": {"code": "context_length_exceeded"}})
    assert found.message == "The provider answered with status 400 (context_length_exceeded)"
    assert from_error_event("overloaded").message == "The provider broke off with an error (overloaded)"


def test_a_failure_carries_when_to_try_again() -> None:
    found = vars(from_response(429, {"retry-after": "2", "x-should-retry": "false"}, None))
    assert (found["retry_after_seconds"], found["should_retry"]) == (2.0, False)
    found = vars(from_error_event({}))
    assert (found["retry_after_seconds"], found["should_retry"]) == (None, None)
