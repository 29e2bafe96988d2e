"""Pure ASGI middleware: each class one rule. `middleware` is the list for Starlette's constructor, outermost first."""

import logging
import time
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.error_handlers import error_response, is_expected, log_unexpected
from streamer.request_id import request_id_of

access_log = logging.getLogger("streamer.access")

#: What a page of ours may load and do, and who may frame it.
PAGE_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; img-src 'self' data:; "
    "object-src 'none'"
)

#: An API's answer is data: shown as a page it may do nothing.
API_POLICY = "default-src 'none'; frame-ancestors 'none'"

#: Where the API is; its answers are one caller's alone. A page among them has a policy of its own.
API_PATHS = ("/ai/", "/v1/", "/admin/")

#: For every answer. No referrer at all, since an address may hold a ticket or a grant.
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class RequestIds:
    """Gives each request an id and returns it as `x-request-id`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_of(scope)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


class AccessLog:
    """One line a request, when it has ended. It has the path alone: a query may hold a ticket, a body a prompt."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.monotonic(), 0

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_noting_status)
        finally:
            log_access(scope, status, time.monotonic() - started)


class SecurityHeaders:
    """What a browser may do with an answer, and that nobody keeps an answer of the API. An endpoint's own header wins."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        defaults = security_headers(scope["path"])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in defaults.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class UnexpectedErrors:
    """Answers 500 to whatever nobody caught, and ends it here: the server would log a traceback, which may hold a prompt.

    Once the answer has begun it can only be broken off, which the server does when the application returns early.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def send_noting_begin(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_noting_begin)
        except ClientDisconnect:
            return
        except Exception as error:
            request_id = request_id_of(scope)
            if begun or not is_expected(error):
                log_unexpected(error, request_id)
            if not begun:
                await error_response(error, request_id)(scope, receive, send)


def security_headers(path: str) -> dict[str, str]:
    """The headers that an answer at `path` has unless it sets them itself."""
    if path.startswith(API_PATHS):
        return {**SECURITY_HEADERS, "content-security-policy": API_POLICY, "cache-control": "no-store"}
    return {**SECURITY_HEADERS, "content-security-policy": PAGE_POLICY}


def log_access(scope: Scope, status: int, seconds: float) -> None:
    """The line of one request: method, path, status (0: broken off before there was one), milliseconds, id."""
    path = quote(scope["path"], safe="/:@!$&'()*+,;=~")[:200]
    line = (scope["method"], path, status, seconds * 1000, request_id_of(scope))
    access_log.info("%s %s %d %.1f ms %s", *line)


middleware = [Middleware(each) for each in (RequestIds, AccessLog, SecurityHeaders, UnexpectedErrors)]
