"""The one pub/sub connection of a web process: kept, and made anew when it breaks or goes silent.

What is published while there is none is lost; who is told of the renewal looks at the logs.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any

import redis.asyncio
from redis.asyncio.client import PubSub

from models.event_log import LOG_AWAY
from streamer.logging_setup import described

logger = logging.getLogger(__name__)

#: A channel of the process's own, so that the connection is always subscribed to something and can be asked for a sign of life.
HOME = "hub"

#: Seconds without a word after which the connection is asked for a sign of life, and then given up.
PING_SECONDS, DEAD_SECONDS = 3.0, 6.0

#: Seconds that Redis gets to acknowledge.
ACK_SECONDS = 2.0

#: Seconds for which one reading waits.
READ_SECONDS = 1.0


class Subscription:
    """`name in subscription`: Redis has acknowledged it on the connection that there is now.

    `hear` gets channel and message of whatever is published; `renewed` is called when a new connection is up, on which nothing is
    subscribed yet. Both must return at once.
    """

    def __init__(
        self, client: redis.asyncio.Redis, hear: Callable[[bytes, bytes], None], renewed: Callable[[], None]
    ) -> None:
        self._client = client
        self._hear = hear
        self._renewed = renewed
        self._pubsub: PubSub | None = None
        self._heard = 0.0
        self._names: set[str] = set()
        self._acks: dict[str, asyncio.Future[None]] = {}

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._pubsub is not None

    def __contains__(self, name: str) -> bool:
        return name in self._names

    async def add(self, name: str) -> None:
        """Subscribes, and returns once Redis has acknowledged. Raises one of LOG_AWAY where it does not in time."""
        if self._pubsub is None:
            raise ConnectionError("no subscription yet")
        ack = self._acks.get(name)  # whoever asks for the same name at the same time has the same one
        if ack is None:
            ack = self._acks[name] = asyncio.get_running_loop().create_future()
        try:
            await self._pubsub.subscribe(name)
            await asyncio.wait({ack}, timeout=ACK_SECONDS)
            if not ack.done():
                raise TimeoutError
        finally:
            if self._acks.get(name) is ack:
                del self._acks[name]

    async def drop(self, name: str) -> None:
        """Asks for no more of it, and does not wait for an acknowledgement."""
        if self._pubsub is not None:
            with contextlib.suppress(*LOG_AWAY):
                await self._pubsub.unsubscribe(name)

    async def keep(self) -> None:
        """Listens until cancelled."""
        told = False
        while True:
            try:
                async with self._client.pubsub() as pubsub:
                    await self._listen(pubsub)
            except LOG_AWAY as error:
                if self.up or not told:  # not each attempt of a long absence
                    logger.warning("the subscription broke (%s)", type(error).__name__)
                told = True
            except Exception as error:
                logger.error("the subscription ended by a defect: %s", described(error))
            finally:
                self._pubsub = None
                self._names.clear()
            await asyncio.sleep(0.2 + random.random() * 0.3)  # noqa: S311

    async def _listen(self, pubsub: PubSub) -> None:
        async with asyncio.timeout(DEAD_SECONDS):
            await pubsub.subscribe(HOME)
        self._pubsub = pubsub
        self._heard = asyncio.get_running_loop().time()
        self._renewed()
        while True:
            message = await pubsub.get_message(timeout=READ_SECONDS)
            now = asyncio.get_running_loop().time()
            if message is not None:
                self._heard = now
                self._take(message)
            elif now - self._heard > DEAD_SECONDS:
                raise ConnectionError("silent")
            elif now - self._heard > PING_SECONDS:
                await pubsub.ping()

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "message":
                if message["channel"] != HOME.encode():
                    self._hear(message["channel"], message["data"])
            case "subscribe":
                name = message["channel"].decode()
                self._names.add(name)
                ack = self._acks.get(name)
                if ack is not None and not ack.done():
                    ack.set_result(None)
            case "unsubscribe":
                self._names.discard(message["channel"].decode())
