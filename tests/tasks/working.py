"""A worker's event loop at work on one generation after another, and what is looked at afterwards."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from models.database_threads import DatabaseThreads
from models.ending import terminal_event
from models.event import Frame
from models.event_log import EventLog, connect_redis
from models.generation import Generation
from models.provider_call import ProviderCall
from models.route import Route
from models.secret import Secret
from models.settings import Settings
from models.transcript import transcript_of_run
from tasks.answer_cache import AnswerCache
from tasks.breaker import Breaker
from tasks.end_tasks import end_tasks
from tasks.generate import Generator
from tasks.holdings import Holdings
from tasks.providers.registry import Registry
from tests.fakes.openai_server import FakeOpenAI
from tests.models.rows import ROUTE, reread
from tests.tasks.conftest import running_writer


class Worker:
    """What a worker process has in its event loop."""

    def __init__(self, generator: Generator, holdings: Holdings) -> None:
        self.generator = generator
        self.holdings = holdings

    async def run(self, row: Generation) -> Generation:
        """Works on the generation, and returns its row afterwards."""
        async with asyncio.timeout(60):
            await self.generator.generate(row.id)
        assert len(self.holdings) == 0
        return reread(row)


@contextlib.asynccontextmanager
async def working(
    settings: Settings, threads: DatabaseThreads, redis_url: str, route: Route = ROUTE
) -> AsyncIterator[Worker]:
    registry, holdings = Registry(settings), Holdings(settings, threads)
    async with connect_redis(redis_url) as client, running_writer(client) as writer:
        renewing = asyncio.create_task(holdings.renew_forever())
        try:
            cache = AnswerCache(settings, Secret("s" * 40))
            breaker = Breaker(client, settings)
            routes = {"chat": route}
            generator = Generator(settings, threads, routes, registry, holdings, writer, cache, breaker)
            yield Worker(generator, holdings)
        finally:
            await end_tasks(renewing)
            await registry.aclose()


def words(count: int = 20, prompt: str = "hello") -> str:
    return "".join(FakeOpenAI.words(prompt, count))


def calls(row: Generation) -> list[tuple[int, str, str | None]]:
    """The ledger's lines: run, outcome, error."""
    lines = ProviderCall.select().where(ProviderCall.generation_id == row.id).order_by(ProviderCall.number)
    return [(line.run, line.outcome, line.error_code) for line in lines]


async def told(log: EventLog, row: Generation) -> list[Frame]:
    """The whole log of an ended generation: in order, said to its end, and what a viewer has is what the row has."""
    frames = await log.read(row.id)
    assert [frame.id for frame in frames] == sorted({frame.id for frame in frames})
    assert frames[-1] == terminal_event(row)
    assert transcript_of_run(frames, row.run).text == row.text
    assert transcript_of_run(frames, row.run).reasoning == row.reasoning
    assert row.terminal_published
    return frames
