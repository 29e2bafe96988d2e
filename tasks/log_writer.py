"""One writer a worker process: all appends that come up while one pipeline is under way go out together in the next."""

import asyncio

from models.event import EventId
from models.event_log import Append, EventLog


class LogWriter:
    """`await writer.append(…)` from any number of publishers. Its own task alone uses the connection, so none is left half-read."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._waiting: list[tuple[Append, asyncio.Future[EventId | None]]] = []
        self._wake = asyncio.Event()

    async def append(self, append: Append) -> EventId | None:
        """The log's tail afterwards: the last id of `append` exactly where its events stand in the log.

        Raises one of `models.event_log.LOG_AWAY` where Redis is away or refuses: then it is not known whether they do.
        """
        answer: asyncio.Future[EventId | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((append, answer))
        self._wake.set()
        return await answer

    async def run(self) -> None:
        """Sends what comes up, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._waiting = self._waiting, []
            if batch:
                await self._send(batch)

    async def _send(self, batch: list[tuple[Append, asyncio.Future[EventId | None]]]) -> None:
        try:
            results = await self._log.append([append for append, _ in batch])
        except Exception as error:  # whatever it is: who asked hears of it, and the next batch goes out
            results = [error] * len(batch)
        for (_, answer), result in zip(batch, results, strict=True):
            if answer.done():  # who asked has gone
                continue
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)
