"""How a command asks a Redis, and why it got no answer, in words that hold no password."""

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
    causes = (error.__cause__, error.__context__)
    if words := next((each.strerror for each in causes if isinstance(each, OSError) and each.strerror), ""):
        return f"it can't be reached ({words})"
    return "it refuses the command" if isinstance(error, ResponseError) else "it can't be reached"
