"""Two Redis on other machines, as it were: by TLS, each with a password and a certificate of its own."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.event import EventId, Frame
from models.event_log import Append, EventLog, channel_name, connect_redis, parse_published
from models.redis_address import broker_url, redis_url
from models.settings import Settings
from streamer.doctor import redis_servers
from streamer.doctor.check import Verdict
from tasks.broker import QUEUE, Queue, make_broker
from tests.fakes.openai_server import FakeOpenAI
from tests.system.product import COMMAND, Product
from tests.tls_redis import TlsRedis

LOG_PASSWORD, QUEUE_PASSWORD = "canary-of-the-log!0123", "canary-of-the-queue/4567"


@pytest.fixture(scope="module")
def log_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedis]:
    yield from running(TlsRedis(tmp_path_factory.mktemp("log"), LOG_PASSWORD))


@pytest.fixture(scope="module")
def queue_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedis]:
    yield from running(TlsRedis(tmp_path_factory.mktemp("queue"), QUEUE_PASSWORD))


def running(server: TlsRedis) -> Iterator[TlsRedis]:
    server.start()
    yield server
    server.kill()


@pytest.fixture
def remote(log_server: TlsRedis, queue_server: TlsRedis, tmp_path: Path) -> Settings:
    return Settings(data=str(tmp_path), redis_url=log_server.url, broker_url=queue_server.url)


async def test_the_event_log_is_written_read_and_heard(remote: Settings) -> None:
    first = Frame(EventId(1, 0), "started", b"{}")
    async with connect_redis(redis_url(remote)) as client, client.pubsub() as channel:
        await channel.subscribe(channel_name("g"))
        assert (await channel.get_message(timeout=30) or {})["type"] == "subscribe"
        assert await EventLog(client).append_one(Append("g", None, [first], 60.0)) == first.id
        assert await EventLog(client).read("g") == [first]
        heard = await channel.get_message(timeout=30)
    assert heard is not None
    assert parse_published(heard["data"]) == (None, [first])


def test_the_queue_has_the_server_that_is_its_own(remote: Settings, queue_server: TlsRedis) -> None:
    queue, broker = Queue(broker_url(remote)), make_broker(broker_url(remote), connections=4)
    queue.enqueue("g")
    consumer = broker.consume(QUEUE, prefetch=1, timeout=1000)
    message = next(iter(consumer))
    assert message is not None
    consumer.ack(message)
    with queue_server.client() as client:
        assert (message.args, client.hlen(f"queue:{QUEUE}.msgs")) == (("g",), 0)
    for each in (broker, broker.client, queue):
        each.close()


def test_the_doctor_sees_both_and_says_why_it_does_not(remote: Settings, log_server: TlsRedis) -> None:
    assert [each.verdict for each in redis_servers.event_log(remote)][-1] is Verdict.OK
    assert [each.verdict for each in redis_servers.queue(remote)][-1] is Verdict.OK
    wrong = {
        "shows a certificate that can't be trusted": log_server.address(LOG_PASSWORD, trusting=False),
        "refuses the user or password": log_server.address("canary-of-nobody"),
        "it can't be reached": log_server.address(LOG_PASSWORD, trusting=False).replace("rediss:", "redis:"),
    }
    for words, url in wrong.items():
        (finding,) = redis_servers.event_log(replace(remote, redis_url=url))
        assert words in finding.found
        assert "canary" not in finding.found + finding.change


def test_the_whole_service_runs_on_them_and_tells_no_password(
    remote: Settings, log_server: TlsRedis, queue_server: TlsRedis, upstream: FakeOpenAI, tmp_path: Path
) -> None:
    environ = {"REDIS_URL": remote.redis_url, "STREAMER_BROKER_URL": remote.broker_url}
    with Product(tmp_path, upstream.url, environ) as product:
        assert product.processes("redis-server") == []
        visitor = product.visitor()
        events = list(product.events(visitor, product.ask(visitor, "by TLS")))
        assert events[-1].kind == "done"
        command = [str(COMMAND), "health", "up", "--ready", "--json", "--data", str(product.data)]
        healthy = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
        assert (healthy.returncode, json.loads(healthy.stdout)["verdict"]) == (0, "ok"), healthy.stdout

        log_server.kill()
        queue_server.kill()
        sick = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
        assert sick.returncode == 1
        log_server.start()
        queue_server.start()
        events = list(product.events(visitor, product.ask(visitor, "again")))
        assert events[-1].kind == "done"
        product.process.terminate()
        assert product.process.wait(15) == 0
    for said in (product.log, healthy.stdout, sick.stdout + sick.stderr):
        assert "canary-of-the-log" not in said
        assert "canary-of-the-queue" not in said
