"""A worker process: the real generator, holdings, publishers and log writer, with a provider that says what it is told to."""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import redis

from models.errors import Unavailable
from models.event import Usage
from models.route import Route
from models.secret import Secret
from models.settings import Settings
from tasks.answer_cache import AnswerCache
from tasks.breaker import Breaker
from tasks.generate import Generator
from tasks.holdings import Holdings
from tasks.log_writer import LogWriter
from tasks.providers.base import FinishPiece, Piece, ProviderRequest, TextPiece, UsagePiece
from tests.stateful.actors import Actor, GatedThreads, gated_log

Said = Callable[[str, int, str], None]

#: The generation and run for which the task under way called its provider.
current: contextvars.ContextVar[tuple[str, int]] = contextvars.ContextVar("current")


class Speech:
    """One provider call under way: what it is given comes out as its pieces."""

    def __init__(self, generation_id: str, run: int) -> None:
        self.id = generation_id
        self.run = run
        self.over = False
        self._given: asyncio.Queue[Piece | Exception] = asyncio.Queue()

    def give(self, piece: Piece | Exception) -> None:
        self._given.put_nowait(piece)
        self.over = self.over or not isinstance(piece, TextPiece)

    async def take(self) -> Piece:
        piece = await self._given.get()
        if isinstance(piece, Exception):
            raise piece
        return piece


class Mouth:
    """The provider, and the registry that knows no other."""

    name = "mouth"

    def __init__(self, said: Said) -> None:
        self.speeches: list[Speech] = []
        self._said = said

    @property
    def open_speeches(self) -> list[Speech]:
        """Those that have not come to their end."""
        return [speech for speech in self.speeches if not speech.over]

    def provider(self, name: str) -> "Mouth":
        return self

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        speech = Speech(*current.get())
        self.speeches.append(speech)
        try:
            yield UsagePiece(Usage(input=1, output=1))
            while True:
                piece = await speech.take()
                if isinstance(piece, TextPiece):
                    self._said(speech.id, speech.run, piece.text)
                yield piece
                if isinstance(piece, FinishPiece):
                    return
        finally:
            self.speeches.remove(speech)

    async def aclose(self) -> None:
        pass


class NoBreaker(Breaker):
    """As where Redis is away for it: what it asks would be one more call at each of the actor's steps."""

    def __init__(self, settings: Settings) -> None:
        client: Any = None
        super().__init__(client, settings)

    async def _step(self, provider: str, model: str, *arguments: str) -> int | None:
        return None


class _Threads(GatedThreads):
    """Notes for which run a provider is about to be called."""

    async def run(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        if work.__name__ == "begin_call":
            current.set((args[0], args[1]))
        return await super().run(work, *args, **kwargs)


class Worker(Actor):
    """Claims what it is told to."""

    #: The kinds of calls that a fault can be armed at.
    KINDS = (
        "_claim",
        "_renew_and_beat",
        "still_holds",
        "append",
        "finish",
        "restart_run",
        "mark_published",
        "give_back",
    )

    def __init__(
        self,
        name: str,
        loop: asyncio.AbstractEventLoop,
        client: redis.Redis,
        settings: Settings,
        routes: Mapping[str, Route],
        said: Said,
    ) -> None:
        super().__init__(name, loop)
        self.mouth = Mouth(said)
        registry: Any = self.mouth
        threads = _Threads(self)
        writer = LogWriter(gated_log(self, client))
        self.holdings = Holdings(settings, threads)
        cache = AnswerCache(settings, Secret("s" * 40))
        breaker = NoBreaker(settings)
        self._generator = Generator(settings, threads, routes, registry, self.holdings, writer, cache, breaker)
        self.spawn(writer.run())
        self.spawn(self.holdings.renew_forever())

    def claim(self, generation_id: str) -> None:
        self.spawn(self._claim(generation_id))

    async def _claim(self, generation_id: str) -> None:
        with contextlib.suppress(Unavailable):  # the message is done; a sweeper finds what it left
            await self._generator.generate(generation_id)

    def renew(self) -> None:
        """What a nudge does."""
        self.holdings._now.set()
