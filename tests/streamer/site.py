"""A running site for tests of its calls: all services, a client of every route, visitors, and a worker's hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from models.event_log import EventLog
from models.generation import Generation, Status, find
from models.settings import Settings
from streamer.app import routes, running_services
from streamer.auth import Server
from streamer.services import Services
from tests.streamer.answers import Answer
from tests.streamer.conftest import bearer, client_of
from tests.streamer.eventually import eventually


@dataclass(frozen=True, slots=True)
class Site:
    """Calls are made as visitor `u1` of the API key's tenant, unless another is named."""

    services: Services
    client: httpx.AsyncClient
    log: EventLog
    key: Server

    def headers(self, user: str = "u1", key: Server | None = None) -> dict[str, str]:
        """The credential of a visitor; with `key`, of another tenant's."""
        return bearer(self.services.auth.mint_token(key or self.key, user, (), 900)[0])

    async def call(self, method: str, path: str, body: Any = None, user: str = "u1", **more: str) -> httpx.Response:
        """One call. `more`: headers."""
        headers = self.headers(user) | {name.replace("_", "-"): value for name, value in more.items()}
        content = {} if body is None else {"json": body}
        return await self.client.request(method, path, headers=headers, **content)

    async def ask(self, message: str, conversation: str = "c", user: str = "u1", **more: str) -> Answer:
        """A posted turn that nobody has begun. `more`: headers."""
        body = {"message": message, "conversation_id": conversation}
        response = await self.call("POST", "/ai/v1/chat", body, user, **more)
        assert response.status_code == 202, response.text
        return await self.answer(response)

    async def turn(self, message: str, answer: str = "answer", conversation: str = "c", **more: Any) -> Generation:
        """A turn that has ended; `status`: how."""
        status = Status(more.pop("status", Status.DONE))
        asked = await self.ask(message, conversation, **more)
        await asked.begun_and_finished(answer, status)
        return await asked.row()

    async def answer(self, response: httpx.Response) -> Answer:
        """The worker's hand on what a POST made."""
        row = await self.services.threads.run(find, response.json()["id"])
        assert row is not None
        return Answer(row, self.services.threads, self.log)


@asynccontextmanager
async def running_site(settings: Settings, log: EventLog, api_key: str) -> AsyncIterator[Site]:
    """A site until the block ends."""
    async with running_services(settings) as services:
        await eventually(lambda: services.hub._subscription.up)
        key = await services.auth.server(bearer(api_key))
        async with client_of(routes, services) as client:
            yield Site(services, client, log, key)
