"""Bodies that go on when their request has been answered: the server would read and drop them for as long as they come.

Such a connection ends with its answer (RFC 9112 §9.6). A little more is read before that, if it comes soon: whoever still
writes while the connection is closed sees a reset, and may lose the answer.
"""

import asyncio
import contextlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: What is still read of a body that nobody needs, at most.
LINGER_BYTES, LINGER_SECONDS = 1024 * 1024, 1.0


class UnreadBodies:
    """Closes the connection after an answer whose request has a body that is not over. Requests without one pass as they are."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else None
        if headers is None or not ("content-length" in headers or "transfer-encoding" in headers):
            await self.app(scope, receive, send)
            return
        over = False

        async def receive_noting_end() -> Message:
            nonlocal over
            message = await receive()
            over = message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        async def linger() -> None:
            left = LINGER_BYTES
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    while not over and left > 0:
                        left -= len((await receive_noting_end()).get("body", b""))

        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start" and not over:
                if _may_end_soon(headers):
                    await linger()
                if not over:
                    MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self.app(scope, receive_noting_end, send_closing)


def _may_end_soon(headers: Headers) -> bool:
    """Whether the rest is within the bounds, for all that is known. One who waits for `100 Continue` sends nothing yet."""
    announced = headers.get("content-length", "0")
    return "expect" not in headers and len(announced) <= 18 and announced.isdecimal() and int(announced) <= LINGER_BYTES
