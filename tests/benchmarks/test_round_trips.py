"""What one request asks of SQLite and of Redis, one by one: nothing comes to it unnoticed. docs/performance.md names them all."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from peewee import Database

from benchmarks.client import Connections, Timeline, request, watch, whole
from benchmarks.commands import Monitor, monitored
from benchmarks.statements import Statement, shape
from benchmarks.statements import watch as watch_statements
from models.api_key import create_key
from models.database_threads import DatabaseThreads
from models.identifiers import uuid7
from models.secret import Secret
from models.settings import Settings
from models.tenant import first_tenant
from streamer import live_keys
from streamer.auth import Server
from tasks.broker import QUEUE, Queue, make_broker
from tests.fakes.openai_server import Answer, FakeOpenAI
from tests.streamer.web_server import WebServer, web_server
from tests.tasks.waiting import until
from tests.tasks.working import Worker, working

SECRET = "s" * 40
NEVER_SECONDS = 3600.0

#: The provider's one token, with the stamps that the benchmark's client reads.
TOKEN = "1 2 token"


@pytest.fixture
def noted() -> Iterator[list[Statement]]:
    """Every statement on connections that are opened from now on."""
    found: list[Statement] = []
    stop = watch_statements(found.append)
    yield found
    stop()


@pytest.fixture
def database(noted: list[Statement], database: Database) -> Database:
    return database


#: What connections say for themselves.
OF_CONNECTIONS = {"HELLO", "CLIENT", "SELECT", "PING"}


@dataclass(slots=True)
class Ledger:
    """What was asked of both stores since the last look."""

    noted: list[Statement]
    monitor: Monitor
    _statements: int = 0
    _commands: int = 0

    def news(self) -> list[str]:
        """The commands since then, by name: those of several tasks come in any order."""
        return sorted(each.name for each in self.monitor.so_far()[self._commands :] if each.name not in OF_CONNECTIONS)

    def since(self) -> tuple[list[str], list[str]]:
        """The statements of the threads that do a request's work, and the commands."""
        statements = [each.shape for each in self.noted[self._statements :] if each.thread.startswith("database")]
        commands = self.news()
        self._statements, self._commands = len(self.noted), len(self.monitor.so_far())
        return statements, commands


@dataclass(frozen=True, slots=True)
class Whole:
    """A web process and a worker's event loop in this one, a client, and the ledger."""

    web: WebServer
    worker: Worker
    connections: Connections
    token: str
    ledger: Ledger

    async def post(self, conversation: str | None = None) -> dict[str, Any]:
        body = {"message": f"Tell me about {uuid7()}.", "conversation_id": conversation}
        connection = await self.connections.take()
        found: dict[str, Any] = await whole(connection, request("POST", "/ai/v1/chat", self.token, body), 202)
        self.connections.give_back(connection)
        return found

    def watch(self, chat: dict[str, Any]) -> "asyncio.Task[None]":
        async def watching() -> None:
            connection = await self.connections.take()
            await watch(connection, request("GET", chat["links"]["events"], self.token), b"event: done", Timeline())
            self.connections.give_back(connection)

        return asyncio.create_task(watching())

    async def warm(self) -> None:
        """One answer, so that scripts are loaded and keys are known."""
        chat = await self.post()
        watching = self.watch(chat)
        await self.worker.generator.generate(chat["id"])
        await watching
        await until(lambda: self.web.hub.channels == 0)


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(Answer(texts=(TOKEN,))) as server:
        yield server


@pytest.fixture
async def it(
    settings: Settings,
    database: Database,
    threads: DatabaseThreads,
    redis_url: str,
    noted: list[Statement],
    fake: FakeOpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Whole]:
    monkeypatch.setattr(live_keys, "REMEMBERED_SECONDS", NEVER_SECONDS)  # else one statement for all requests of 5 s
    live = replace(
        settings,
        redis_url=redis_url,
        secret=SECRET,
        openai_base_url=fake.url,
        openai_api_key="sk-test",
        sweep_seconds=NEVER_SECONDS,
        renew_seconds=NEVER_SECONDS / 2,
        lease_seconds=NEVER_SECONDS,
        idle_check_seconds=NEVER_SECONDS,
        web_drain_seconds=1.0,
    )
    tenant = first_tenant()
    key, _ = create_key(tenant.id, "first", ["session"], secret=Secret(SECRET))
    with monitored(redis_url) as monitor:
        async with web_server(live) as web, working(live, threads, redis_url) as worker:
            server = Server(tenant.id, key.public_id, frozenset({"session"}), tenant.public_id)
            token, _ = web.services.auth.mint_token(server, "u1", (), 900)
            found = Whole(web, worker, Connections(web.port), token, Ledger(noted, monitor))
            await found.warm()
            found.ledger.since()
            yield found
            found.connections.close()


async def test_a_request_costs_so_many_statements_and_commands_and_no_more(it: Whole, fake: FakeOpenAI) -> None:
    chat = await it.post()
    assert it.ledger.since() == (
        [
            "BEGIN IMMEDIATE",
            "INSERT conversation OR UPDATE",
            "SELECT COUNT generation BY status, tenant_id, visitor",
            "SELECT COUNT generation BY status, enqueue_at, heartbeat_at, tenant_id",
            "INSERT generation",
            "COMMIT",
        ],
        ["dramatiq dispatch enqueue generate", "rate_limit.lua"],
    )

    watching = it.watch(chat)
    await until(lambda: any(channel.loaded.is_set() for channel in it.web.hub._channels.values()))
    assert it.ledger.since() == (
        [
            "SELECT generation BY id, tenant_id, visitor, deleted_at",
            "SELECT COUNT generation BY status, enqueue_at, created_at",
            "SELECT generation BY id",
        ],
        ["SUBSCRIBE", "XRANGE"],
    )

    fake.script(Answer(texts=(TOKEN,), fault="hold"))
    answering = asyncio.create_task(it.worker.generator.generate(chat["id"]))
    await fake.until(lambda: fake.calls == 2)
    await until(lambda: "append.lua" in it.ledger.news())
    assert it.ledger.since() == (
        [
            "UPDATE generation BY id, status, cancel_requested_at, deadline_at",
            "SELECT generation BY tenant_id, input_hash, finished_at, status, finish_reason, tool_calls, text, deleted_at",
            "BEGIN IMMEDIATE",
            "UPDATE generation BY id, run, status, calls",
            "INSERT provider_call",
            "COMMIT",
        ],
        ["append.lua", "breaker.lua enter"],
    )

    fake.release()
    await asyncio.gather(answering, watching)
    await until(lambda: "UNSUBSCRIBE" in it.ledger.news())
    assert it.ledger.since() == (
        [
            "UPDATE provider_call BY generation_id, number",
            "UPDATE generation BY id, run, status",
            "UPDATE generation BY id",
        ],
        ["UNSUBSCRIBE", "append.lua", "append.lua", "breaker.lua recover"],
    )


async def test_a_turn_that_follows_costs_two_statements_more(it: Whole) -> None:
    await it.worker.generator.generate((await it.post("thread"))["id"])
    it.ledger.since()

    await it.post("thread")

    statements, commands = it.ledger.since()
    assert statements == [
        "BEGIN IMMEDIATE",
        "INSERT conversation OR UPDATE",
        "SELECT generation BY conversation_id",
        "SELECT generation BY conversation_id, status",
        "SELECT COUNT generation BY status, tenant_id, visitor",
        "SELECT COUNT generation BY status, enqueue_at, heartbeat_at, tenant_id",
        "INSERT generation",
        "COMMIT",
    ]
    assert commands == ["dramatiq dispatch enqueue generate", "rate_limit.lua"]


def test_a_message_costs_a_command_to_send_one_to_wait_one_to_fetch_and_one_to_acknowledge(redis_url: str) -> None:
    queue, broker = Queue(redis_url), make_broker(redis_url, connections=4)
    consumer = broker.consume(QUEUE, prefetch=1, timeout=1000)
    try:
        with monitored(redis_url) as monitor:
            for _ in range(2):  # the first loads the scripts
                broker.postpone_maintenance()
                before = len(monitor.so_far())
                queue.enqueue("an id")
                message = next(consumer)
                assert message is not None
                consumer.ack(message)
            assert [each.name for each in monitor.so_far()[before:]] == [
                "dramatiq dispatch enqueue generate",
                "BLMOVE queue:generate",
                "dramatiq dispatch fetch generate",
                "dramatiq dispatch ack generate",
            ]
    finally:
        queue.close()
        broker.close()
        broker.client.close()


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("BEGIN IMMEDIATE", "BEGIN IMMEDIATE"),
        (
            'SELECT "t1"."id", "t1"."text" FROM "turn" AS "t1" WHERE (("t1"."id" = \'it\'\'s\') AND ("t1"."run" < 7)) LIMIT 1',
            "SELECT turn BY id, run",
        ),
        ('SELECT COUNT(1) FROM (SELECT 1 FROM "turn" AS "t1") AS "_wrapped"', "SELECT COUNT turn"),
        ('INSERT INTO "turn" ("a") VALUES (\'x\') ON CONFLICT ("a") DO UPDATE SET "b" = 1', "INSERT turn OR UPDATE"),
        ('UPDATE "turn" SET "a" = \'secret\' WHERE ("turn"."id" = 3) RETURNING "a"', "UPDATE turn BY id"),
    ],
)
def test_a_statements_shape_has_no_value(sql: str, found: str) -> None:
    assert shape(sql) == found
