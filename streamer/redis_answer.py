"""How a command asks a Redis, and why it got no answer, in words that hold no password."""

import ssl
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

#: Seconds that a Redis gets for each answer.
ANSWER_SECONDS = 2.0


def connected(url: str) -> redis.Redis:
    """A client of one question or a few; it connects with the first."""
    return redis.Redis.from_url(
        url,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def address(url: str) -> str:
    """A Redis address without user, password and options."""
    parts: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    number = parts.get("db", 0)
    if "path" in parts:
        return f"unix://{parts['path']}, database {number}"
    scheme = url.partition("://")[0]
    return f"{scheme}://{parts.get('host', 'localhost')}:{parts.get('port', 6379)}/{number}"


def reason(error: RedisError) -> str:
    """Why Redis did not do what was asked, without the words of a library that may quote the address."""
    known = {
        redis.AuthenticationError: "it refuses the user or password",
        redis.exceptions.NoPermissionError: "this user may not do what the service does there",
        redis.BusyLoadingError: "it is still loading its data",
        redis.ReadOnlyError: "it is a replica and takes no writes",
        redis.exceptions.OutOfMemoryError: "it is out of memory",
        redis.TimeoutError: f"no answer within {ANSWER_SECONDS:g} s",
    }
    for kind, words in known.items():
        if isinstance(error, kind):
            return words
    cause = next((each for each in (error.__cause__, error.__context__) if isinstance(each, OSError)), None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"it shows a certificate that can't be trusted ({cause.verify_message})"
    if isinstance(cause, ssl.SSLError):
        return "it does not speak TLS as wanted"
    if cause is not None and cause.strerror:
        return f"it can't be reached ({cause.strerror})"
    return "it refuses the command" if isinstance(error, ResponseError) else "it can't be reached"
