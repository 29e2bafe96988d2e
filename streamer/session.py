"""Sessions: a site's server, or the first page, gets a visitor token."""

import re
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from models.errors import BadRequest
from models.settings import Settings
from streamer.strict_json import StrictBody, read_body

if TYPE_CHECKING:
    from streamer.services import Services

#: The scope that an API key needs to mint visitor tokens.
SCOPE = "session"

#: Characters of a user, and roles, at most.
MAX_USER = 128
MAX_ROLES = 16

_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


class SessionBody(StrictBody, frozen=True):
    """`user` is the site's own name for its visitor; `ttl_seconds` is the setting's where it is left out."""

    user: str
    roles: list[str] = []
    ttl_seconds: int | None = None


class GrantBody(StrictBody, frozen=True):
    """The grant from the address that `streamer up` printed."""

    grant: str


async def create_session(request: Request) -> JSONResponse:
    """`POST /ai/v1/session`, with an API key → 201 `{"token", "expires_in": seconds}`."""
    services: Services = request.state.services
    settings = services.settings
    server = await services.auth.server(request.headers)
    server.require(SCOPE)
    body = await read_body(request, SessionBody, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds)
    user, roles, ttl_seconds = _checked(body.value, settings)
    return _created(*services.auth.mint_token(server, user, roles, ttl_seconds))


async def redeem_grant(request: Request) -> JSONResponse:
    """`POST /ai/v1/session/grant`, with nothing but the grant → 201 `{"token", "expires_in": seconds}`."""
    services: Services = request.state.services
    settings = services.settings
    body = await read_body(request, GrantBody, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds)
    return _created(*await services.auth.redeem_grant(body.value.grant))


routes = [
    Route("/ai/v1/session", create_session, methods=["POST"]),
    Route("/ai/v1/session/grant", redeem_grant, methods=["POST"]),
]


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


def _created(token: str, expires_in: int) -> JSONResponse:
    return JSONResponse({"token": token, "expires_in": expires_in}, 201)
