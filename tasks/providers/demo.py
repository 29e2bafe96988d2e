"""A provider that needs no key and no network: it explains what the visitor is looking at, at a readable pace.

The same request always gets the same pieces. Models: `echo`, `short`, `long`, `error` (fails before its first token) and
`broken` (breaks off in the middle, as a lost connection does).
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

from models.errors import ProviderOverloaded, ProviderRefusedRequest, ProviderUnreachable
from models.event import Usage, storable
from tasks.providers.base import FinishPiece, Piece, ProviderRequest, TextPiece, UsagePiece
from tasks.providers.failures import failure

#: Characters of the visitor's message that an answer quotes.
MAX_QUOTE = 240

#: Tokens that `broken` gives before it breaks off.
BROKEN_AFTER = 24

_TOKENS = re.compile(r"\s?\w{1,12}|\s?[^\w\s]|\s")

_ECHO = """\
Hello! You wrote: “{quote}”

I am the built-in demo: no language model, no key and no internet, but everything between us is the real thing. This is \
what just happened. Your message was checked and stored, then its number was put into a queue in Redis. A worker took it \
from there and claimed the answer for itself, so that no other worker writes it a second time.

The worker is now sending these words, a token at a time. Each one is numbered and kept in Redis, and the web server \
passes it to every browser that watches, over one plain HTTP response. Nothing is lost on the way, because a browser that \
comes back says which number it saw last.

Try it:

- Reload this page while I am still talking. The text comes back, and goes on where it was.
- Open the same conversation in a second tab. Both show the same words.
- Press Stop. What you have read so far is kept.

When you want real answers, put an OpenAI key into the environment variable OPENAI_API_KEY and start the server again. \
The key stays on the server; no browser ever sees it."""

_SHORT = "You wrote “{quote}”, and this is the demo's short answer."

_LONG = """\
Chapter {number}. This is the demo's long answer, made for scrolling, stopping and reloading. It says the same thing in every \
chapter, except for the number: that is how you can tell that none is missing and none comes twice. Somewhere a worker \
holds this answer and renews its claim every few seconds. If it dies now, another one takes over, and you will see the \
text begin anew instead of ending in the middle of a word.

"""


def tokens(text: str) -> list[str]:
    """`text` in pieces of about the size of a model's tokens; joined, they are the text again."""
    return _TOKENS.findall(text)


def answer(model: str, message: str) -> str:
    """The whole text that `model` gives to `message`. Raises ProviderRefusedRequest for a model that does not exist."""
    quote = " ".join(message.split())
    quote = quote if len(quote) <= MAX_QUOTE else quote[:MAX_QUOTE] + "…"
    if model in ("echo", "broken", "error"):
        return _ECHO.format(quote=quote)
    if model == "short":
        return _SHORT.format(quote=quote)
    if model == "long":
        return "".join(_LONG.format(number=number) for number in range(1, 21)).rstrip()
    raise failure(ProviderRefusedRequest, "The demo's models are echo, short, long, error and broken")


class DemoProvider:
    """The demo at `tokens_per_second`; `sleep` and `clock` are asyncio's and the monotonic one unless a test drives them."""

    def __init__(
        self,
        tokens_per_second: float,
        *,
        name: str = "demo",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._tokens_per_second = tokens_per_second
        self._sleep = sleep
        self._clock = clock

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """See `Provider.stream`. Token n comes at start + n / rate, however late the ones before it were."""
        message = next((turn.content for turn in reversed(request.messages) if turn.role == "user"), "")
        pieces = tokens(storable(answer(request.model, message)))
        if request.model == "error":
            raise failure(ProviderOverloaded, "The demo's model `error` always fails")
        allowed = len(pieces) if request.max_output_tokens is None else min(request.max_output_tokens, len(pieces))
        start = self._clock()
        for number, piece in enumerate(pieces[:allowed]):
            if request.model == "broken" and number == BROKEN_AFTER:
                raise failure(ProviderUnreachable, "The demo's model `broken` always breaks off")
            await self._sleep(max(0.0, start + number / self._tokens_per_second - self._clock()))
            yield TextPiece(piece)
        given = sum(len(tokens(turn.content)) for turn in request.messages)
        yield UsagePiece(Usage(input=given, output=allowed))
        yield FinishPiece("stop" if allowed == len(pieces) else "length")

    async def aclose(self) -> None:
        """There is nothing to close."""
