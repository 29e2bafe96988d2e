"""Sessions: a site's server, or the first page, gets a visitor token."""

import re
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request

from models.errors import BadRequest
from models.settings import Settings
from streamer.operation import Answer, Credential, Operation, routes_of
from streamer.strict_json import StrictBody, read_body
from streamer.struct_response import StructResponse

if TYPE_CHECKING:
    from streamer.services import Services

#: The scope that an API key needs to mint visitor tokens.
SCOPE = "session"

#: Characters of a user, and roles, at most.
MAX_USER = 128
MAX_ROLES = 16

_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


_USER = Meta(
    description="The site's own name for its visitor: printable, without spaces around it.",
    examples=["anna"],
    extra_json_schema={"minLength": 1, "maxLength": MAX_USER},
)
_ONE_ROLE = Meta(extra_json_schema={"pattern": f"^{_ROLE.pattern}$"})
_ROLES = Meta(
    description="What the visitor is: words of letters, digits and `._:-`, 64 characters each.",
    extra_json_schema={"maxItems": MAX_ROLES},
)
_LIFE = Meta(
    description="The token's life; left out: 15 minutes, unless it is set otherwise.", extra_json_schema={"minimum": 1}
)


class SessionBody(StrictBody, frozen=True):
    """`user` is the site's own name for its visitor; `ttl_seconds` is the setting's where it is left out."""

    user: Annotated[str, _USER]
    roles: Annotated[list[Annotated[str, _ONE_ROLE]], _ROLES] = []
    ttl_seconds: Annotated[int, _LIFE] | None = None


class GrantBody(StrictBody, frozen=True):
    """The grant from the address that `streamer up` printed."""

    grant: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A visitor token, and for how many seconds it is good."""

    token: str
    expires_in: int


async def create_session(request: Request) -> StructResponse:
    """`POST /ai/v1/session`, with an API key → 201 `{"token", "expires_in": seconds}`."""
    services: Services = request.state.services
    settings = services.settings
    server = await services.auth.server(request.headers)
    server.require(SCOPE)
    body = await read_body(request, SessionBody, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds)
    user, roles, ttl_seconds = _checked(body.value, settings)
    return _created(*services.auth.mint_token(server, user, roles, ttl_seconds))


async def redeem_grant(request: Request) -> StructResponse:
    """`POST /ai/v1/session/grant`, with nothing but the grant → 201 `{"token", "expires_in": seconds}`."""
    services: Services = request.state.services
    settings = services.settings
    body = await read_body(request, GrantBody, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds)
    return _created(*await services.auth.redeem_grant(body.value.grant))


operations = [
    Operation(
        id="create_session",
        method="POST",
        path="/ai/v1/session",
        endpoint=create_session,
        group="Sessions",
        summary="Let a visitor in",
        description="Your server asks for it and hands the token to the visitor's browser; the API key stays with you.",
        credentials=[Credential.SESSION_KEY],
        body=SessionBody,
        answers={201: Answer("A token that is good for this visitor alone.", Session)},
    ),
    Operation(
        id="redeem_grant",
        method="POST",
        path="/ai/v1/session/grant",
        endpoint=redeem_grant,
        group="Sessions",
        summary="Let the owner in",
        description="Changes the grant from the address that `streamer up` or `streamer link` printed.",
        credentials=[Credential.GRANT],
        body=GrantBody,
        answers={201: Answer("A token for the owner.", Session)},
    ),
]

routes = routes_of(operations)


def _checked(body: SessionBody, settings: Settings) -> tuple[str, tuple[str, ...], int]:
    user = body.user
    if not 1 <= len(user) <= MAX_USER or not user.isprintable() or user != user.strip():
        raise BadRequest(f"`user` must have 1 to {MAX_USER} printable characters, without spaces around them.")
    if len(body.roles) > MAX_ROLES or not all(_ROLE.fullmatch(role) for role in body.roles):
        raise BadRequest(
            f"`roles` must be {MAX_ROLES} words at most, of letters, digits and `._:-`, 64 characters each."
        )
    longest = settings.max_session_seconds
    ttl_seconds = min(settings.session_seconds, longest) if body.ttl_seconds is None else body.ttl_seconds
    if not 1 <= ttl_seconds <= longest:
        raise BadRequest(f"`ttl_seconds` must be between 1 and {longest}.")
    return user, tuple(dict.fromkeys(body.roles)), ttl_seconds


def _created(token: str, expires_in: int) -> StructResponse:
    return StructResponse(Session(token=token, expires_in=expires_in), 201)
