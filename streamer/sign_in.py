"""`/admin/session`: an operator's browser signs in to the admin pages, and out."""

import contextlib
import hashlib
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from models.errors import Forbidden, RateLimited, Unauthorized, Unavailable
from models.event_log import LOG_AWAY
from models.rate_limit import Limit, Window
from streamer import admin_session
from streamer.health import ADMIN
from streamer.operation import Answer, Credential, Operation, Parameter, routes_of
from streamer.struct_response import StructResponse

if TYPE_CHECKING:
    from streamer.services import Services

#: The window in which failed sign-ins of one address are counted.
WINDOW_SECONDS = 60.0

_SET_COOKIE = Parameter(name="Set-Cookie", place="header", description="`streamer_admin`, which scripts can't read.")


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """For how many seconds the cookie is good."""

    expires_in: int


async def sign_in(request: Request) -> StructResponse:
    """`POST /admin/session`, with an API key → 201 `{"expires_in": seconds}` and the cookie."""
    services: Services = request.state.services
    # Any site's page can make a browser ask without a key; it must not use up the tries of who sits there.
    if "authorization" not in request.headers:
        raise Unauthorized
    window = await _count(services, request)
    try:
        server = await services.auth.server(request.headers)
        server.require(ADMIN)
    except Unavailable:
        await _give_back(services, window)  # the database's fault: nothing was tried
        raise
    await _give_back(services, window)
    session, ttl_seconds = services.auth.mint_admin_session(server)
    response = StructResponse(SignedIn(expires_in=ttl_seconds), 201)
    admin_session.keep(response, request, session, ttl_seconds)
    return response


async def sign_out(request: Request) -> Response:
    """`DELETE /admin/session` → 204, and the cookie is gone; for everybody, as nobody else has it."""
    admin_session.refuse_strangers(request.headers)
    response = Response(status_code=204)
    admin_session.forget(response, request)
    return response


async def _count(services: "Services", request: Request) -> Window | None:
    """Counts an attempt of the caller's address, before the key is looked at. Raises RateLimited.

    None while Redis is away: who has to see what is wrong then gets in, and to guess 256 bits is hopeless at any rate.
    """
    limit = Limit(services.settings.max_sign_ins, WINDOW_SECONDS)
    address = request.client.host if request.client else ""
    try:
        window = await services.count_request(f"sign-ins:{hashlib.sha256(address.encode()).hexdigest()[:32]}", limit)
    except Unavailable:
        return None
    if not window.admitted:
        error = RateLimited(
            f"Too many sign-ins failed; try again in {window.reset_seconds} s.",
            retry_after_seconds=window.reset_seconds,
            limit="sign_ins",
        )
        error.window = window
        raise error
    return window


async def _give_back(services: "Services", window: Window | None) -> None:
    if window is not None:
        with contextlib.suppress(*LOG_AWAY):
            await services.rate_limit.give_back(window)


operations = [
    Operation(
        id="sign_in",
        method="POST",
        path="/admin/session",
        endpoint=sign_in,
        group="Operation",
        summary="Sign in to the admin pages",
        description="What the page does with the key that it asks for: it is changed for a cookie and kept nowhere.",
        credentials=[Credential.ADMIN_KEY],
        answers={201: Answer("The cookie, for a few hours and while the key is good.", SignedIn, [_SET_COOKIE])},
        raises=[RateLimited],
    ),
    Operation(
        id="sign_out",
        method="DELETE",
        path="/admin/session",
        endpoint=sign_out,
        group="Operation",
        summary="Sign out of them",
        credentials=[Credential.NONE],
        answers={204: Answer("The browser forgets the cookie.", headers=[_SET_COOKIE])},
        raises=[Forbidden],
    ),
]

routes = routes_of(operations)
