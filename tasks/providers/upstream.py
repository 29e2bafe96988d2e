"""One pooled HTTP client to one provider: a JSON body out, server-sent events in, every failure classified.

What it guards against: redirects (to a private address) are not followed; compression is neither asked for nor
understood, so that nothing small becomes large here; error bodies, lines and events are bounded; each wait has its
limit; the process's proxy and certificate variables do not count.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from models.errors import ProviderProtocolBroken, ProviderTimeout, ProviderUnreachable
from models.settings import Settings
from tasks.providers.failures import failure, from_error_event, from_response
from tasks.providers.sse_decoder import EventDecoder, ServerEvent

#: Bytes of an error's body that are read; more of it is not.
MAX_ERROR_BYTES = 64 * 1024

#: Idle connections kept, and for how long in seconds: a fresh one costs a TLS handshake before the first token.
KEPT_CONNECTIONS = 100
KEPT_SECONDS = 30.0

_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The three waits of a call. `first_byte` counts from the call's start to the first byte of the answer's body."""

    connect_seconds: float
    first_byte_seconds: float
    idle_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> "Timeouts":
        return cls(
            connect_seconds=settings.provider_connect_seconds,
            first_byte_seconds=settings.provider_first_byte_seconds,
            idle_seconds=settings.provider_idle_seconds,
        )


class Upstream:
    """The connections to one provider. `headers` go with every call and hold the key."""

    def __init__(self, base_url: str, headers: dict[str, str], timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers={"accept": "text/event-stream", "accept-encoding": "identity", "user-agent": "streamer"} | headers,
            timeout=httpx.Timeout(None, connect=timeouts.connect_seconds),
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS, keepalive_expiry=KEPT_SECONDS
            ),
            follow_redirects=False,
            trust_env=False,
        )

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
        await self._client.aclose()

    async def _chunks(self, path: str, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        first_byte_at = asyncio.get_running_loop().time() + self._timeouts.first_byte_seconds
        request = self._client.build_request(
            "POST", path, content=msgspec.json.encode(body), headers={"content-type": "application/json"}
        )
        with _classified("first byte", self._timeouts.first_byte_seconds):
            async with asyncio.timeout_at(first_byte_at):
                response = await self._client.send(request, stream=True)
        try:
            if response.status_code != 200 or not _is_event_stream(response):
                raise await self._refusal(response)
            async with aclosing(_raw(response)) as raw:
                with _classified("first byte", self._timeouts.first_byte_seconds):
                    async with asyncio.timeout_at(first_byte_at):
                        chunk = await anext(raw, b"")
                while chunk:
                    yield chunk
                    with _classified("next chunk", self._timeouts.idle_seconds):
                        async with asyncio.timeout(self._timeouts.idle_seconds):
                            chunk = await anext(raw, b"")
        finally:
            await response.aclose()

    async def _refusal(self, response: httpx.Response) -> Exception:
        """What a response that is no event stream means, with at most MAX_ERROR_BYTES of its body read."""
        body = bytearray()
        with suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(min(self._timeouts.idle_seconds, 5.0)), aclosing(_raw(response)) as raw:
                async for chunk in raw:
                    body += chunk
                    if len(body) > MAX_ERROR_BYTES:
                        break
        found: Any = None
        with suppress(ValueError, RecursionError):  # no JSON, or more deeply nested than an error is
            found = msgspec.json.decode(body)
        found = found if isinstance(found, dict) else None
        if response.status_code != 200:
            return from_response(response.status_code, response.headers, found)
        if found and found.get("error"):
            return from_error_event(found["error"])
        kind = _MEDIA_TYPE.match(response.headers.get("content-type", "").lower())
        return failure(
            ProviderProtocolBroken,
            f"The provider answered with {kind[0] if kind else 'something'} that is no event stream",
        )


def _is_event_stream(response: httpx.Response) -> bool:
    """Whether the body can be read as events. A server that names no type is taken at its word."""
    kind: str = response.headers.get("content-type", "text/event-stream").partition(";")[0].strip().lower()
    encoding: str = response.headers.get("content-encoding", "identity").strip().lower()
    return kind == "text/event-stream" and encoding == "identity"


async def _raw(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body's bytes as they arrive; each piece has some."""
    pieces: AsyncIterator[bytes] = response.aiter_raw()
    async for piece in pieces:
        if piece:
            yield piece


@contextmanager
def _classified(wait: str, limit_seconds: float) -> Iterator[None]:
    """Turns what httpx raises into ProviderFailures. The cause is left out: its text may quote the answer's bytes."""
    try:
        yield
    except TimeoutError:
        message = f"The provider's {wait} did not come within {limit_seconds:g} s"
        raise failure(ProviderTimeout, message) from None
    except httpx.ConnectTimeout:
        raise failure(ProviderTimeout, "The provider did not take the connection in time") from None
    except httpx.RemoteProtocolError as error:
        if "disconnected" in str(error) or "closed connection" in str(error):
            raise failure(ProviderUnreachable, "The provider closed the connection before the answer's end") from None
        raise failure(ProviderProtocolBroken, "The provider's answer is not HTTP") from None
    except httpx.HTTPError as error:
        message = f"The connection to the provider failed or broke ({type(error).__name__})"
        raise failure(ProviderUnreachable, message) from None
