"""The `local` provider: a very small model on this machine, asked over Chat Completions of `streamer local-model`.

It has 135 million parameters: it is for trying things out without a key or a network, and gets much wrong.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from models.errors import ProviderRefusedRequest, SettingInvalid
from models.provider_check import url_fault
from models.provider_config import ProviderConfig
from models.settings import Settings, env_name
from tasks.providers.base import Piece, ProviderRequest
from tasks.providers.failures import failure
from tasks.providers.openai import OpenAIProvider
from tasks.providers.upstream import Timeouts

#: The one model, as its server and as a route calls it, and how people are told what it is good for.
MODEL = "smollm2"
ROUTE_MODEL = f"local:{MODEL}"
WORDS = "135 million parameters, on this machine: for trying things out"

#: Tokens of an answer and all that the model is told, and of an answer where its route says nothing.
CONTEXT_TOKENS, OUTPUT_TOKENS = 2048, 512

#: What the model is told at most where its route says nothing. Its own tokens are shorter than those that are counted.
INPUT_TOKENS = 1024

#: Those who find all slots taken wait for one, and long prompts of others take the processor for seconds.
FIRST_BYTE_SECONDS, IDLE_SECONDS = 300.0, 120.0

_TOO_LONG = "exceed_context_size_error"


class LocalProvider(OpenAIProvider):
    """The server that `settings` name. It would ignore in silence what is refused here."""

    def __init__(self, settings: Settings, name: str = "local") -> None:
        """Raises SettingInvalid where no server is named, or where its address won't do."""
        url = settings.local_base_url
        if not url:
            raise SettingInvalid(
                f"no local model runs: `streamer up` runs one; else start `streamer local-model` and set "
                f"{env_name('local_base_url')} and {env_name('local_api_key')} to what it prints"
            )
        if fault := url_fault(ProviderConfig(kind="openai", base_url=url, allow_private=True)):
            raise SettingInvalid(f"{env_name('local_base_url')} {fault}")
        timeouts = Timeouts(
            connect_seconds=settings.provider_connect_seconds,
            first_byte_seconds=max(FIRST_BYTE_SECONDS, settings.provider_first_byte_seconds),
            idle_seconds=max(IDLE_SECONDS, settings.provider_idle_seconds),
        )
        super().__init__(
            url, settings.local_api_key, timeouts, name=name, max_tokens_field="max_tokens", allow_private=True
        )

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """See `Provider.stream`."""
        if request.model != MODEL:
            raise failure(ProviderRefusedRequest, f"The local provider has one model, {MODEL}")
        if request.tools:
            raise failure(ProviderRefusedRequest, "The local model knows no tools")
        try:
            async with aclosing(super().stream(request)) as pieces:
                async for piece in pieces:
                    yield piece
        except ProviderRefusedRequest as error:
            if _TOO_LONG not in error.message:
                raise
            told = (
                f"The message and what goes along are too long for the local model, which has {CONTEXT_TOKENS} tokens"
            )
            raise failure(ProviderRefusedRequest, f"{told} ({_TOO_LONG})") from None
