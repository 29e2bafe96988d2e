"""Anthropic's Messages API, streaming, and whatever server speaks it: POST {base}/v1/messages.

https://docs.anthropic.com/en/api/messages. An answer is complete with its stop reason or `message_stop`; a stream that ends
with neither was cut, whatever the HTTP body says.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from models.errors import ProviderUnreachable
from tasks.providers.anthropic_event import EventReader
from tasks.providers.anthropic_request import request_body
from tasks.providers.base import Piece, ProviderRequest
from tasks.providers.event_json import error_in
from tasks.providers.failures import failure, from_error_event
from tasks.providers.upstream import LINGER_SECONDS, TAIL_SECONDS, Timeouts, Upstream, next_event

#: The version of the API that is spoken here.
VERSION = "2023-06-01"


class AnthropicProvider:
    """One server that speaks the Messages API, such as https://api.anthropic.com; its address is without /v1."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        timeouts: Timeouts,
        *,
        name: str = "anthropic",
        headers: Mapping[str, str] | None = None,
        allow_private: bool = False,
    ) -> None:
        self.name = name
        self.skipped = 0
        """Events so far that had nothing of what is known here."""
        key = {"x-api-key": api_key} if api_key else {}
        said = {**(headers or {}), "anthropic-version": VERSION, **key}
        self._upstream = Upstream(base_url, said, timeouts, allow_private=allow_private)

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """See `Provider.stream`. An `error` event is classified by its type, though the status was 200."""
        reader = EventReader()
        async with aclosing(self._upstream.events("v1/messages", request_body(request))) as events:
            while not reader.stopped:
                event = await next_event(events, TAIL_SECONDS if reader.finished else None)
                if event is None:
                    break
                if event.type == "error":
                    raise from_error_event(error_in(event.data))
                if event.data:
                    for piece in reader.read(event.data):
                        yield piece
            if reader.stopped:
                await next_event(events, LINGER_SECONDS)
        self.skipped += reader.skipped
        if not (reader.stopped or reader.finished):
            raise failure(ProviderUnreachable, "The provider's answer ended without a finish marker")
        for piece in reader.end():
            yield piece

    async def aclose(self) -> None:
        await self._upstream.aclose()
