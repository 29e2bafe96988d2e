"""A web process: the real hub and event streams, with a subscription whose messages arrive when the world says so."""

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any

import redis
import redis.client
from redis.exceptions import ConnectionError as RedisAway

from models.settings import Settings
from streamer.event_stream import EventStream
from streamer.hub import Hub
from tests.stateful.actors import Actor, GatedThreads, gated_log


class Subscription:
    """A pub/sub connection. What Redis has sent waits in `inbox`; what was delivered is in `arrived`."""

    def __init__(self, web: "Web", client: redis.Redis) -> None:
        self._web = web
        self._real = client.pubsub()  # type: ignore[no-untyped-call]
        self._arrived: deque[dict[str, Any]] = deque()
        self._wake = asyncio.Event()
        self._broken = False
        self.inbox: deque[dict[str, Any]] = deque()

    async def __aenter__(self) -> "Subscription":
        if self._web.redis_away:
            raise RedisAway("away")
        self._web.subscription = self
        return self

    async def __aexit__(self, *error: object) -> None:
        self.break_off()
        self._web.subscription = None

    async def subscribe(self, name: str) -> None:
        await self._web.ask("subscribe", lambda: self._send(self._real.subscribe, name), to_redis=True)

    async def unsubscribe(self, name: str) -> None:
        await self._web.ask("unsubscribe", lambda: self._send(self._real.unsubscribe, name), to_redis=True)

    def _send(self, command: Any, name: str) -> None:
        if self._broken:
            raise RedisAway("broken")
        command(name)
        self.fetch()

    async def get_message(self, timeout: float) -> dict[str, Any] | None:
        if not self._arrived and not self._broken:
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), timeout)
            except TimeoutError:
                return None
        if self._broken:
            raise RedisAway("broken")
        return self._arrived.popleft()

    async def ping(self) -> None:
        self._arrive({"type": "pong", "channel": None, "data": b""})

    def fetch(self) -> None:
        """Takes what Redis has sent by now: whatever it sent before it answers a ping."""
        if self._broken or not self._real.subscribed:
            return
        self._real.ping()
        while True:
            message = self._real.get_message(timeout=5.0)
            assert message is not None
            if message["type"] == "pong":
                return
            self.inbox.append(message)

    def deliver(self) -> None:
        """Hands on the oldest message."""
        self._arrive(self.inbox.popleft())

    def _arrive(self, message: dict[str, Any]) -> None:
        self._arrived.append(message)
        self._wake.set()

    def break_off(self) -> None:
        """The connection breaks; what was under way is lost."""
        if not self._broken:
            self._broken = True
            self.inbox.clear()
            self._real.close()
            self._wake.set()


class _Subscriber:
    def __init__(self, web: "Web", client: redis.Redis) -> None:
        self._web = web
        self._client = client

    def pubsub(self) -> Subscription:
        return Subscription(self._web, self._client)


class _OpenDoor:
    """Everybody is the one visitor."""

    def __init__(self, tenant_id: int, visitor: str) -> None:
        self._credential = SimpleNamespace(tenant_id=tenant_id, user=visitor, expires_at=1e12)

    async def viewer(self, headers: object, ticket: object, generation_id: str) -> SimpleNamespace:
        return self._credential

    async def still_good(self, credential: object) -> bool:
        return True


class Web(Actor):
    """Serves event streams."""

    KINDS = ("find_owned", "find", "_ended", "read", "tails", "subscribe", "unsubscribe", "message")

    def __init__(
        self,
        name: str,
        loop: asyncio.AbstractEventLoop,
        client: redis.Redis,
        settings: Settings,
        tenant_id: int,
        visitor: str,
    ) -> None:
        super().__init__(name, loop)
        self.subscription: Subscription | None = None
        self.redis_away = False
        threads = GatedThreads(self)
        subscriber: Any = _Subscriber(self, client)
        hub = Hub(settings, threads, gated_log(self, client), subscriber)
        services: Any = SimpleNamespace(
            settings=settings, threads=threads, hub=hub, auth=_OpenDoor(tenant_id, visitor), log=None
        )
        self.stream = EventStream(services)
        self.hub = hub
        self.spawn(hub.listen_forever())
        self.spawn(hub.tick_forever())
