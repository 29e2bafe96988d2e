"""What an HTTP call is, declared once: the table that routes it and the papers about it come from the same lines."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from models.errors import (
    BadRequest,
    Forbidden,
    PayloadTooLarge,
    RequestTimeout,
    StreamerError,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from models.event import Kind

Endpoint = Callable[[Request], Awaitable[Response]]


class Credential(StrEnum):
    """Who may call. A key's scope is said behind a colon."""

    NONE = "none"
    GRANT = "grant"  # in the body
    VISITOR = "visitor"
    TICKET = "ticket"
    SESSION_KEY = "api_key:session"
    CHAT_KEY = "api_key:chat"
    ADMIN_KEY = "api_key:admin"
    ADMIN_SESSION = "admin_session"  # in a cookie, from a page of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A part of the path, a query field or a header, of a request or of an answer. `type`: what `msgspec` makes a schema of."""

    name: str
    place: Literal["path", "query", "header"]
    description: str
    type: Any = str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One status's answer. `content`: the struct that it is in JSON, else its media type; None: no body.

    `events`: the kinds of events of a stream, and what each says; `example`: a piece of it. With a struct, either may come.
    """

    description: str
    content: type[msgspec.Struct] | str | None = None
    headers: Sequence[Parameter] = ()
    events: Mapping[Kind, type[msgspec.Struct]] | Mapping[str, type[msgspec.Struct]] = field(default_factory=dict)
    example: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call. `endpoint` is None where something else than Starlette's table answers.

    `pattern`: what that table matches, where a part of `path` may hold slashes.
    """

    id: str
    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    pattern: str | None = None
    endpoint: Endpoint | None
    group: str
    summary: str
    description: str = ""
    credentials: Sequence[Credential] = (Credential.VISITOR,)
    parameters: Sequence[Parameter] = ()
    body: type[msgspec.Struct] | None = None
    body_rule: Mapping[str, Any] = field(default_factory=dict)
    """JSON Schema of what the body's type can't say: which fields go together."""
    answers: Mapping[int, Answer]
    raises: Sequence[type[StreamerError]] = field(default=())
    """What it raises beside what follows from its body and its credentials."""

    @property
    def errors(self) -> frozenset[type[StreamerError]]:
        """Every error that a caller can meet; that the service itself fails is always one more."""
        found: set[type[StreamerError]] = set(self.raises)
        if self.body is not None:
            found |= {BadRequest, PayloadTooLarge, RequestTimeout, UnsupportedMediaType}
        if set(self.credentials) != {Credential.NONE}:
            found |= {Unauthorized, Unavailable}
        if {Credential.SESSION_KEY, Credential.CHAT_KEY, Credential.ADMIN_KEY} & set(self.credentials):
            found.add(Forbidden)
        return frozenset(found)


def routes_of(operations: Sequence[Operation]) -> list[Route]:
    """Starlette's table of them: one route a path, so that a 405 names every method that the path answers to."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for each in operations:
        if each.endpoint is not None:
            paths.setdefault(each.pattern or each.path, {})[each.method] = each.endpoint
    return [Route(path, _dispatching(methods), methods=list(methods)) for path, methods in paths.items()]


def _dispatching(methods: Mapping[str, Endpoint]) -> Endpoint:
    if len(methods) == 1:
        return next(iter(methods.values()))

    async def dispatch(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return dispatch
