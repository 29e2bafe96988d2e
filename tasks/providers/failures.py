"""What a provider's refusals mean: from a status, headers and an error object to a kind of ProviderFailure.

A failure's message names the status and the error's code, if it is one of those known here, and never its text:
providers quote prompts and keys there.
"""

from collections.abc import Mapping
from typing import Any

from models.errors import (
    ProviderAuthFailed,
    ProviderFailure,
    ProviderOverloaded,
    ProviderProtocolBroken,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRefusedRequest,
    ProviderTimeout,
)
from tasks.providers import retry_after

_CODES: dict[str, type[ProviderFailure]] = {
    **dict.fromkeys(
        (
            "insufficient_quota",
            "credit_balance_exhausted",
            "billing_hard_limit_reached",
            "billing_not_active",
            "billing_error",
            "insufficient_credits",
        ),
        ProviderQuotaExhausted,
    ),
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "slow_down", "too_many_requests"), ProviderRateLimited),
    **dict.fromkeys(
        (
            "invalid_api_key",
            "authentication_error",
            "permission_error",
            "permission_denied",
            "account_deactivated",
            "unsupported_country_region_territory",
        ),
        ProviderAuthFailed,
    ),
    **dict.fromkeys(
        (
            "invalid_request_error",
            "invalid_prompt",
            "context_length_exceeded",
            "exceed_context_size_error",
            "content_policy_violation",
            "invalid_value",
            "missing_required_parameter",
            "model_not_found",
            "not_found_error",
            "request_too_large",
            "string_above_max_length",
            "unsupported_parameter",
            "unsupported_value",
        ),
        ProviderRefusedRequest,
    ),
    **dict.fromkeys(("timeout", "timeout_error", "request_timeout"), ProviderTimeout),
    **dict.fromkeys(
        (
            "overloaded",
            "overloaded_error",
            "server_error",
            "server_overloaded",
            "internal_error",
            "internal_server_error",
            "api_error",
            "service_unavailable",
            "engine_overloaded",
        ),
        ProviderOverloaded,
    ),
}

_STATUSES: dict[int, type[ProviderFailure]] = {
    401: ProviderAuthFailed,
    402: ProviderQuotaExhausted,
    403: ProviderAuthFailed,
    408: ProviderTimeout,
    409: ProviderOverloaded,  # a lock on the provider's side: the official SDKs try these again
    429: ProviderRateLimited,
}


def failure(
    kind: type[ProviderFailure],
    message: str,
    *,
    retry_after_seconds: float | None = None,
    should_retry: bool | None = None,
) -> ProviderFailure:
    """A failure of `kind`, with what the one loop that retries has to know (see `ProviderFailure`)."""
    error = kind(message)
    error.retry_after_seconds, error.should_retry = retry_after_seconds, should_retry
    return error


def from_response(status: int, headers: Mapping[str, str], body: bytes | Mapping[str, Any] | None) -> ProviderFailure:
    """The failure that a response other than 200 means; `body` is the JSON object that it carried, if one."""
    error = body.get("error", body) if isinstance(body, Mapping) else None
    kind, code = _classified(error, status)
    return failure(
        kind,
        f"The provider answered with status {status}{f' ({code})' if code else ''}",
        retry_after_seconds=retry_after.retry_after_seconds(headers),
        should_retry=retry_after.should_retry(headers),
    )


def from_error_event(error: object) -> ProviderFailure:
    """The failure that an error object inside a 200 means: `error` is a JSON object, a string or anything else."""
    kind, code = _classified(error, None)
    return failure(kind, f"The provider broke off with an error{f' ({code})' if code else ''}")


def _classified(error: object, status: int | None) -> tuple[type[ProviderFailure], str]:
    """The kind of an error object, and its code where it is known. A number for a code counts as the status."""
    values = [error.get("code"), error.get("type")] if isinstance(error, Mapping) else [error]
    code = next((value for value in values if isinstance(value, str) and value in _CODES), "")
    if status is None:
        status = next((value for value in values if isinstance(value, int) and 400 <= value <= 599), None)
    return _kind(_CODES.get(code), status), code


def _kind(by_code: type[ProviderFailure] | None, status: int | None) -> type[ProviderFailure]:
    """The status decides where it says enough; no code makes a server's fault (5xx) the request's."""
    if status is None:
        return by_code or ProviderOverloaded
    if status < 400:
        return ProviderProtocolBroken
    if status >= 500:
        return ProviderRateLimited if by_code is ProviderRateLimited else ProviderOverloaded
    if by_code is ProviderQuotaExhausted:
        return by_code
    return _STATUSES.get(status) or by_code or ProviderRefusedRequest
