"""OpenAI's Chat Completions, streaming, and whatever server speaks it: POST {base}/chat/completions.

https://platform.openai.com/docs/api-reference/chat. Every chunk may carry text, reasoning, a refusal, tool calls, usage or
an error; the stream ends with `[DONE]`. A stream that ends with neither a finish reason nor `[DONE]` was cut.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

from models.errors import ProviderUnreachable
from models.provider_config import MaxTokensField
from tasks.providers.base import Message, Piece, ProviderRequest
from tasks.providers.event_json import error_in
from tasks.providers.failures import failure, from_error_event
from tasks.providers.openai_chunk import ChunkReader
from tasks.providers.upstream import LINGER_SECONDS, TAIL_SECONDS, Timeouts, Upstream, next_event


class OpenAIProvider:
    """One server that speaks Chat Completions, such as https://api.openai.com/v1.

    `end_is_finish` is for servers that send neither finish reason nor [DONE]: a clean end then counts as one.
    `max_tokens_field` None: `max_completion_tokens` for OpenAI itself, whose newer models refuse the other, else `max_tokens`.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        timeouts: Timeouts,
        *,
        name: str = "openai",
        headers: Mapping[str, str] | None = None,
        include_usage: bool = True,
        end_is_finish: bool = False,
        max_tokens_field: MaxTokensField | None = None,
        allow_private: bool = False,
    ) -> None:
        self.name = name
        self.skipped = 0
        """Events so far that had nothing of what is known here."""
        key = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._upstream = Upstream(base_url, {**(headers or {}), **key}, timeouts, allow_private=allow_private)
        by_host = "max_completion_tokens" if urlsplit(base_url).hostname == "api.openai.com" else "max_tokens"
        self._max_tokens = max_tokens_field or by_host
        self._include_usage = include_usage
        self._end_is_finish = end_is_finish

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """See `Provider.stream`."""
        reader = ChunkReader()
        done = False
        async with aclosing(self._upstream.events("chat/completions", self._body(request))) as events:
            while not done and (event := await next_event(events, TAIL_SECONDS if reader.finished else None)):
                done = event.data == "[DONE]"
                if event.type == "error":
                    raise from_error_event(error_in(event.data))
                if not done and event.data:
                    for piece in reader.read(event.data):
                        yield piece
            if done:
                await next_event(events, LINGER_SECONDS)
        self.skipped += reader.skipped
        if not (done or reader.finished or self._end_is_finish):
            raise failure(ProviderUnreachable, "The provider's answer ended without a finish marker")
        for piece in reader.end():
            yield piece

    async def aclose(self) -> None:
        await self._upstream.aclose()

    def _body(self, request: ProviderRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [_turn(turn) for turn in request.messages],
            "stream": True,
        }
        if self._include_usage:
            body["stream_options"] = {"include_usage": True}
        if request.max_output_tokens is not None:
            body[self._max_tokens] = request.max_output_tokens
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.tools:
            body["tools"] = request.tools
        if request.response_format:
            body["response_format"] = request.response_format
        return body


def _turn(turn: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.tool_calls:
        found["tool_calls"] = turn.tool_calls
    if turn.tool_call_id is not None:
        found["tool_call_id"] = turn.tool_call_id
    return found
