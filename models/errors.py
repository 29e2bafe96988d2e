"""The error tree. It knows no HTTP: `streamer/error_handlers.py` alone turns these into answers.

StreamerError
├── SettingInvalid            the operator's settings or files; ends a command with one line and exit code 1
├── RequestError              the caller did something wrong, or may not
│   ├── BadRequest            bad_request
│   ├── Unauthorized          unauthorized
│   ├── Forbidden             forbidden
│   ├── NotFound              not_found
│   ├── MethodNotAllowed      method_not_allowed
│   ├── PayloadTooLarge       payload_too_large
│   ├── UnsupportedMediaType  unsupported_media_type
│   ├── RequestTimeout        request_timeout
│   ├── ConversationBusy      conversation_busy
│   ├── RateLimited           rate_limited: retry later; `limit` names the limit
│   └── IdempotencyMismatch   idempotency_mismatch
├── AnswerFailed              the GenerationFailure of an answer, whose caller is told it by a status
├── AnswerPending             response_timeout: the answer goes on beyond the time that a caller is held for
├── Unavailable               unavailable: a part that the request needs is away; retry later
│   └── Overloaded            overloaded
└── GenerationFailure         why a generation ended as `failed`; its code stands in the row
    ├── DeadlineExceeded      deadline_exceeded
    ├── WorkerCrashed         crashed
    ├── PersistFailed         persist_failed
    ├── RouteUnknown          route_unknown
    ├── TooManyCalls          too_many_calls
    ├── InternalFailure       internal
    └── ProviderFailure       provider_error
        ├── ProviderTimeout          provider_timeout
        ├── ProviderUnreachable      provider_unreachable
        ├── ProviderRateLimited      rate_limited
        ├── ProviderOverloaded       overloaded
        ├── ProviderQuotaExhausted   quota_exhausted
        ├── ProviderAuthFailed       provider_auth
        ├── ProviderRefusedRequest   provider_refused_request
        └── ProviderProtocolBroken   provider_protocol
            └── ProviderAnswerTooLong  answer_too_long
"""

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from models.rate_limit import Window


class StreamerError(Exception):
    """Root of the tree. `message` is for people and never holds a prompt, an output or a secret."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str = "", **extra: Any) -> None:
        super().__init__(message or (type(self).__doc__ or "").split("\n")[0])
        self.message = str(self)
        self.extra = extra
        """More members of the error's JSON, such as `links`."""


class SettingInvalid(StreamerError):
    """A setting, file or machine does not allow the command to run."""

    code = "setting_invalid"


class RequestError(StreamerError):
    """The request can't be served as it is."""

    code = "bad_request"


class BadRequest(RequestError):
    """The request's body, query or headers are not as documented."""


class Unauthorized(RequestError):
    """The credential is missing, malformed, expired or revoked."""

    code = "unauthorized"


class Forbidden(RequestError):
    """The credential is good, but not for this call."""

    code = "forbidden"


class NotFound(RequestError):
    """There is no such thing, or it belongs to somebody else."""

    code = "not_found"


class MethodNotAllowed(RequestError):
    """This address does not answer to this method."""

    code = "method_not_allowed"


class PayloadTooLarge(RequestError):
    """The body or the message is larger than allowed."""

    code = "payload_too_large"


class UnsupportedMediaType(RequestError):
    """The body must be sent as application/json."""

    code = "unsupported_media_type"


class RequestTimeout(RequestError):
    """The body did not arrive in time."""

    code = "request_timeout"


class ConversationBusy(RequestError):
    """The conversation's last answer has not ended yet."""

    code = "conversation_busy"


class RateLimited(RequestError):
    """There were too many requests; `limit` says of which kind."""

    code = "rate_limited"

    def __init__(self, message: str = "", *, retry_after_seconds: float = 1.0, **extra: Any) -> None:
        super().__init__(message, **extra)
        self.retry_after_seconds = retry_after_seconds
        self.window: Window | None = None
        """The visitor's window of requests, where it is known."""


class IdempotencyMismatch(RequestError):
    """The Idempotency-Key was used before with another body."""

    code = "idempotency_mismatch"


class AnswerFailed(StreamerError):
    """An answer ended in a failure, which its row tells; `failure` says which."""

    def __init__(self, failure: "GenerationFailure", **extra: Any) -> None:
        super().__init__(failure.message, **extra)
        self.failure = failure


class AnswerPending(StreamerError):
    """The answer is not there yet; it goes on: ask its links."""

    code = "response_timeout"


class Unavailable(StreamerError):
    """A part of the service is away; nothing was stored or spent; try again."""

    code = "unavailable"

    def __init__(self, message: str = "", *, retry_after_seconds: float = 2.0, **extra: Any) -> None:
        super().__init__(message, **extra)
        self.retry_after_seconds = retry_after_seconds


class Overloaded(Unavailable):
    """The service has more work than it can take; try again later."""

    code = "overloaded"


class GenerationFailure(StreamerError):
    """A generation can't be completed."""

    retryable: ClassVar[bool] = False
    """Whether the same request, sent anew by the visitor, may succeed."""


class DeadlineExceeded(GenerationFailure):
    """The answer did not come in the time that the route allows."""

    code = "deadline_exceeded"
    retryable = True


class WorkerCrashed(GenerationFailure):
    """The workers that took this request died each time."""

    code = "crashed"


class PersistFailed(GenerationFailure):
    """The answer could not be stored."""

    code = "persist_failed"
    retryable = True


class RouteUnknown(GenerationFailure):
    """The route of this request is not configured any more."""

    code = "route_unknown"


class TooManyCalls(GenerationFailure):
    """The request used up the provider calls that the route allows."""

    code = "too_many_calls"


class InternalFailure(GenerationFailure):
    """Something went wrong in the service itself; the log has more."""

    code = "internal"
    retryable = True


class ProviderFailure(GenerationFailure):
    """The provider answered with an error."""

    code = "provider_error"
    retry_after_seconds: float | None = None
    """The pause that the provider asks for before it is asked again."""
    should_retry: bool | None = None
    """The provider's own word on whether to ask again, which goes before `retryable`."""


class ProviderTimeout(ProviderFailure):
    """The provider did not answer in time."""

    code = "provider_timeout"
    retryable = True


class ProviderUnreachable(ProviderFailure):
    """The connection to the provider failed or broke."""

    code = "provider_unreachable"
    retryable = True


class ProviderRateLimited(ProviderFailure):
    """The provider limits the rate of requests."""

    code = "rate_limited"
    retryable = True


class ProviderOverloaded(ProviderFailure):
    """The provider is overloaded or failing."""

    code = "overloaded"
    retryable = True


class ProviderQuotaExhausted(ProviderFailure):
    """The site's account with the provider has no credit left."""

    code = "quota_exhausted"


class ProviderAuthFailed(ProviderFailure):
    """The provider refuses the site's key."""

    code = "provider_auth"


class ProviderRefusedRequest(ProviderFailure):
    """The provider refuses this request."""

    code = "provider_refused_request"


class ProviderProtocolBroken(ProviderFailure):
    """The provider's answer can't be understood."""

    code = "provider_protocol"


class ProviderAnswerTooLong(ProviderProtocolBroken):
    """The provider's answer is longer than allowed."""

    code = "answer_too_long"


def generation_failures() -> dict[str, type[GenerationFailure]]:
    """Every failure that can stand in a row, by its code."""
    found: dict[str, type[GenerationFailure]] = {}
    todo: list[type[GenerationFailure]] = [GenerationFailure]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if kind is not GenerationFailure:
            found[kind.code] = kind
    return found


def is_retryable(code: str | None) -> bool:
    """Whether a failure of that code may not come again when the visitor sends the request anew."""
    found = generation_failures().get(code or "")
    return bool(found and found.retryable)
