"""The whole application: what it starts and leaves behind, which requests go where, and what a wrong setting says."""

import asyncio
import json
import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
import uvicorn
from peewee import Database

from models.errors import SettingInvalid
from models.settings import Settings
from streamer import app as app_module
from streamer.app import Application, create_app, running_services
from streamer.server import Server, listening_socket
from tests.redis_process import RedisProcess
from tests.streamer.eventually import eventually
from tests.streamer.web_server import web_server


def connections(settings: Settings) -> int:
    """Clients of the Redis, this one aside."""
    with redis.Redis.from_url(settings.redis_url) as client:
        return len(client.client_list()) - 1


async def test_all_that_a_lifespan_starts_ends_with_it(live: Settings, database: Database, api_key: str) -> None:
    settings = replace(live, sweep_seconds=0.05)
    before = connections(settings)
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    async with running_services(settings) as services:
        await eventually(lambda: services.hub._subscription.up)
        await services.require_redis()
        viewer = await services.hub.join("nothing", None)
        assert any(thread.name == "sweeper" for thread in threading.enumerate())
        assert connections(settings) > before
    services.hub.leave(viewer)

    assert asyncio.all_tasks() == tasks
    executor = {thread for thread in threading.enumerate() if thread.name.startswith("asyncio")}
    assert set(threading.enumerate()) - executor <= threads
    await eventually(lambda: connections(settings) == before)


async def test_a_stop_does_not_wait_for_a_redis_that_hangs(
    live: Settings, database: Database, api_key: str, tmp_path: Path
) -> None:
    own = RedisProcess(tmp_path)
    own.start()
    try:
        settings = replace(live, redis_url=own.url, sweep_seconds=0.05)
        async with running_services(settings) as services:
            await eventually(lambda: services.hub._subscription.up)
            own.freeze()
            viewer = asyncio.create_task(services.hub.join("nothing", None))
            await eventually(lambda: services.hub.viewers == 1)
            await asyncio.sleep(0.2)  # a sweep hangs now
            began = time.monotonic()
        assert time.monotonic() - began < 4.5
        await asyncio.wait([viewer])
    finally:
        own.thaw()
        own.kill()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"routes_file": "/nowhere/streamer.toml"}, "/nowhere/streamer.toml"),
        ({"model": "nonsense"}, "STREAMER_MODEL"),
        ({"secret": "short"}, "STREAMER_SECRET"),
        ({"redis_url": "http://h"}, "REDIS_URL"),
        ({"redis_url": "redis://h:port"}, "REDIS_URL"),
        ({"broker_url": "memcached://h"}, "STREAMER_BROKER_URL"),
        ({"redis_url": ""}, "REDIS_URL"),
    ],
)
def test_a_wrong_setting_is_told_before_anything_is_started(
    live: Settings, database: Database, wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(SettingInvalid) as caught:
        create_app(replace(live, **wrong))

    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_requests_go_where_they_belong(live: Settings, database: Database, api_key: str) -> None:
    asked: list[str] = []
    async with web_server(live) as web:
        events = web.app._events
        assert events is not None

        async def noting(scope: Any, receive: Any, send: Any) -> None:
            asked.append(scope["path"])
            await events(scope, receive, send)

        web.app._events = noting
        for path, status, error in (
            ("/ai/v1/chat/x/events", 401, "unauthorized"),
            ("/ai/v1/chat/x/events/", 404, "not_found"),
            ("/ai/v1/chat//events", 404, "not_found"),
            ("/ai/v1/chat/x/y/events", 404, "not_found"),
            ("/x/ai/v1/chat/x/events", 404, "not_found"),
            ("/ai/v1/chat/x", 401, "unauthorized"),
            ("/ai/v1/chat/", 404, "not_found"),
            ("/ai/v1/chat/?ticket=t", 404, "not_found"),
            ("/ai/v1/session", 405, "method_not_allowed"),
            ("/static", 404, "not_found"),
            ("/nowhere", 404, "not_found"),
        ):
            async with await web.get(path) as response:
                assert response.status == status, path
                assert json.loads(await response.body())["error"] == error
                assert response.headers["x-request-id"]
                assert response.headers["x-content-type-options"] == "nosniff"
                assert "location" not in response.headers
                assert "server" not in response.headers
        async with await web.get("/healthz") as response:
            assert response.status == 200
        async with await web.get("/") as response:
            assert response.status == 200
    assert asked == ["/ai/v1/chat/x/events"]


async def test_a_request_before_the_lifespan_is_no_event_stream(live: Settings, database: Database) -> None:
    app = create_app(live)
    assert app.hub is None
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/ai/v1/chat/x/events", "headers": [], "query_string": b""}
    await app(scope, lambda: asyncio.sleep(0), send)  # type: ignore[arg-type, return-value]
    assert sent[0]["status"] == 404


async def test_a_part_that_fails_to_start_ends_the_start(
    live: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(app_module, "Authenticator", broken)
    with pytest.raises(RuntimeError):
        async with running_services(live):
            pass


# The server


class Quiet(Server):
    """Ends as soon as it has begun."""

    def __init__(self, app: Application) -> None:
        super().__init__(uvicorn.Config(app, log_config=None), app, 1.0)


def test_a_signal_drains_the_streams_and_ends_without_being_raised_again(live: Settings, database: Database) -> None:
    app = create_app(live)
    server = Quiet(app)
    server.handle_exit(signal.SIGTERM, None)  # before the lifespan there is nothing to drain

    assert (server.should_exit, server._captured_signals) == (True, [])


@pytest.mark.parametrize(
    ("signals", "forced"),
    [
        ([signal.SIGINT], False),
        ([signal.SIGTERM], False),
        ([signal.SIGTERM, signal.SIGTERM], False),
        ([signal.SIGINT, signal.SIGINT], True),
        ([signal.SIGTERM, signal.SIGINT], True),
        ([signal.SIGINT, signal.SIGINT, signal.SIGTERM], True),
    ],
)
def test_a_second_interrupt_waits_for_nobody(
    live: Settings, database: Database, signals: list[signal.Signals], forced: bool
) -> None:
    server = Quiet(create_app(live))
    for each in signals:
        server.handle_exit(each, None)

    assert (server.should_exit, server.force_exit) == (True, forced)


def test_an_address_that_is_taken_is_one_line(settings: Settings) -> None:
    with listening_socket(replace(settings, port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingInvalid, match=f"127.0.0.1:{port} can't be listened on"):
            listening_socket(replace(settings, port=port))


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", "AF_INET"), ("::1", "AF_INET6"), ("localhost", "AF_INET")])
def test_it_listens_on_either_family(settings: Settings, host: str, family: str) -> None:
    try:
        listening = listening_socket(replace(settings, host=host, port=0))
    except SettingInvalid:
        if family == "AF_INET6":
            pytest.skip("this machine has no IPv6")
        raise
    with listening:
        assert listening.family.name == family


async def test_a_stop_waits_for_the_answers_under_way(
    live: Settings, database: Database, api_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with web_server(live) as web:
        held = asyncio.Event()
        run: Callable[..., Any] = web.services.threads.run

        async def slow(*args: Any, **kwargs: Any) -> Any:
            held.set()
            await asyncio.sleep(0.3)
            return await run(*args, **kwargs)

        object.__setattr__(web.services.threads, "run", slow)
        asking = asyncio.create_task(web.get("/readyz"))
        await asyncio.wait_for(held.wait(), 60)
    async with await asking as response:
        assert response.status == 503
        assert (json.loads(await response.body()))["status"] == "not ready"
