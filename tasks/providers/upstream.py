"""A provider's HTTP interface: a JSON body out, server-sent events in, every failure classified.

What it guards against: redirects (to a private address) are not followed; compression is neither asked for nor
understood, so that nothing small becomes large here; heads, error bodies, lines and events are bounded; each wait has its
limit; the process's proxy variables do not count.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from models.errors import ProviderFailure, ProviderProtocolBroken, ProviderTimeout, ProviderUnreachable
from models.provider_config import ProviderConfig
from models.settings import Settings
from tasks.providers.failures import failure, from_error_event, from_response
from tasks.providers.http_connection import Connection, Head
from tasks.providers.http_pool import Pool
from tasks.providers.sse_decoder import EventDecoder, ServerEvent

#: Bytes of an error's body that are read, and seconds for it; what is more is not.
MAX_ERROR_BYTES = 64 * 1024
ERROR_SECONDS = 5.0

#: Seconds to wait after the reason of an answer's end for what may follow it, such as usage. The text is complete by then.
TAIL_SECONDS = 5.0

#: Seconds to wait after the last event for the body's end, without which the connection can't be used again.
LINGER_SECONDS = 0.05

_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The three waits of a call. `first_byte` counts from the call's start to the first byte of the answer's body."""

    connect_seconds: float
    first_byte_seconds: float
    idle_seconds: float

    @classmethod
    def of(cls, settings: Settings, config: ProviderConfig) -> "Timeouts":
        """Those of the provider's table, else the settings'."""
        return cls(
            connect_seconds=config.connect_seconds or settings.provider_connect_seconds,
            first_byte_seconds=config.first_byte_seconds or settings.provider_first_byte_seconds,
            idle_seconds=config.idle_seconds or settings.provider_idle_seconds,
        )


class Upstream:
    """The interface at `base_url`. `headers` go with every call and hold the key; `allow_private` is `Pool`'s."""

    def __init__(
        self, base_url: str, headers: dict[str, str], timeouts: Timeouts, *, allow_private: bool = False
    ) -> None:
        parts = urlsplit(base_url)
        self._path = parts.path.rstrip("/")
        self._timeouts = timeouts
        self._pool = Pool(base_url, timeouts.connect_seconds, allow_private=allow_private)
        common = {
            "host": parts.netloc,
            "accept": "text/event-stream",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": "streamer",
        }
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in (common | headers).items())
        assert self._headers.isascii(), "the registry has checked address and key"

    async def events(self, path: str, body: dict[str, Any]) -> AsyncGenerator[ServerEvent, None]:
        """The events of the answer to POST `path`, until the body's clean end.

        Closing or cancelling it closes the socket at once, unless the body had ended: then it is kept for reuse.
        Raises ProviderUnreachable where the connection fails or breaks, ProviderTimeout, ProviderProtocolBroken for what
        is no event stream, and what `failures.from_response` says of a status.
        """
        decoder = EventDecoder()
        async with aclosing(self._chunks(path, body)) as chunks:
            async for chunk in chunks:
                for event in decoder.feed(chunk):
                    yield event

    async def aclose(self) -> None:
        self._pool.close()

    async def _chunks(self, path: str, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        now = asyncio.get_running_loop().time
        first_byte_at = now() + self._timeouts.first_byte_seconds
        with _limited("first byte", self._timeouts.first_byte_seconds):
            async with asyncio.timeout_at(first_byte_at):
                connection = await self._pool.take()
        try:
            with _limited("first byte", self._timeouts.first_byte_seconds):
                connection.send(self._request(path, msgspec.json.encode(body)))
                head = await connection.head(first_byte_at)
                if head.status != 200 or not _is_event_stream(head):
                    raise await self._refusal(connection, head)
                chunk = await connection.read(first_byte_at)
            while chunk:
                yield chunk
                with _limited("next chunk", self._timeouts.idle_seconds):
                    chunk = await connection.read(now() + self._timeouts.idle_seconds)
        finally:
            self._pool.give_back(connection)

    def _request(self, path: str, body: bytes) -> bytes:
        head = f"POST {self._path}/{path} HTTP/1.1\r\n{self._headers}content-length: {len(body)}\r\n\r\n"
        return head.encode("ascii") + body

    async def _refusal(self, connection: Connection, head: Head) -> ProviderFailure:
        """What a response that is no event stream means, with at most MAX_ERROR_BYTES of its body read."""
        body = b""
        until = asyncio.get_running_loop().time() + min(self._timeouts.idle_seconds, ERROR_SECONDS)
        with suppress(ProviderFailure, TimeoutError):
            while len(body) < MAX_ERROR_BYTES and (chunk := await connection.read(until)):
                body += chunk
        found: Any = None
        with suppress(ValueError, RecursionError):  # no JSON, or more deeply nested than an error is
            found = msgspec.json.decode(body)
        found = found if isinstance(found, dict) else None
        if head.status != 200:
            return from_response(head.status, head.headers, found)
        if found and found.get("error"):
            return from_error_event(found["error"])
        kind = _MEDIA_TYPE.match(head.headers.get("content-type", "").lower())
        message = f"The provider answered with {kind[0] if kind else 'something'} that is no event stream"
        return failure(ProviderProtocolBroken, message)


async def next_event(events: AsyncGenerator[ServerEvent, None], limit_seconds: float | None) -> ServerEvent | None:
    """The next event, or None at the end. With a limit the answer is complete: then whatever breaks is an end too."""
    if limit_seconds is None:
        return await anext(events, None)
    try:
        async with asyncio.timeout(limit_seconds):
            return await anext(events, None)
    except (TimeoutError, ProviderUnreachable, ProviderTimeout):
        return None


def _is_event_stream(head: Head) -> bool:
    """Whether the body can be read as events. A server that names no type is taken at its word."""
    kind = head.headers.get("content-type", "text/event-stream").partition(";")[0].strip().lower()
    encoding = head.headers.get("content-encoding", "identity").strip().lower()
    return kind == "text/event-stream" and encoding == "identity"


@contextmanager
def _limited(wait: str, limit_seconds: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        message = f"The provider's {wait} did not come within {limit_seconds:g} s"
        raise failure(ProviderTimeout, message) from None
