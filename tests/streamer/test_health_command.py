"""`streamer health` as a container's health check or an operator calls it: the exit code, and what is said."""

import json
import os
import socket

import pytest

from models.periodic import Worker, beat
from models.settings import Settings, env_name
from streamer.cli import main
from tests.fakes.http_server import Exchange, FakeServer
from tests.streamer.doctor.healthy import Healthy

Capture = pytest.CaptureFixture[str]


class Unready(FakeServer):
    """Answers as the service does whose worker is missing."""

    async def answer(self, exchange: Exchange) -> None:
        await exchange.json(503, {"checks": {"database": "ok", "worker": "no worker has given a sign of life"}})


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """No variable but the data folder."""
    for name in Settings.__dataclass_fields__:
        monkeypatch.delenv(env_name(name), raising=False)
    monkeypatch.setenv("STREAMER_DATA", settings.data)


@pytest.fixture
def worker(database: object) -> str:
    """The id of a worker of this host that has just beaten."""
    beat("worker-1", socket.gethostname(), 1, 0)
    return "worker-1"


def has_been_silent(worker: str) -> None:
    Worker.update(heartbeat_at=Worker.heartbeat_at - 11).where(Worker.id == worker).execute()


def test_a_worker_of_this_host_that_beats_lives(worker: str, capsys: Capture) -> None:
    assert main(["health", "worker"]) == 0
    assert f"ok       worker  1 of 1 on {socket.gethostname()} gave a sign of life" in capsys.readouterr().out


def test_a_worker_that_is_silent_or_of_another_host_does_not_count(worker: str, capsys: Capture) -> None:
    has_been_silent(worker)
    beat("worker-2", "elsewhere", 1, 0)
    assert main(["health", "worker"]) == 1
    assert "0 of 1 on" in capsys.readouterr().out


def test_as_many_must_live_as_were_started(worker: str) -> None:
    assert main(["health", "worker", "--processes", "2"]) == 1
    beat("worker-2", socket.gethostname(), 2, 0)
    assert main(["health", "worker", "--processes", "2"]) == 0


def test_a_database_that_does_not_tell_makes_nobody_dead_but_nobody_ready(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)  # and the folder has no database
    assert main(["health", "worker"]) == 0
    assert "warning  worker  the database does not tell" in capsys.readouterr().out
    assert main(["health", "worker", "--ready"]) == 1


def test_a_worker_is_ready_where_both_redis_answer(
    worker: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    assert main(["health", "worker", "--ready", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["verdict"]) for each in told["checks"]] == [
        ("worker", "ok"),
        ("redis", "ok"),
        ("queue", "ok"),
    ]

    monkeypatch.setenv("STREAMER_BROKER_URL", "redis://:canary-password@127.0.0.1:1/0")
    assert main(["health", "worker", "--ready"]) == 1
    out = capsys.readouterr().out
    assert "redis://127.0.0.1:1/0: it can't be reached" in out
    assert "canary" not in out
    assert main(["health", "worker"]) == 0  # a restart would mend nothing


def test_a_web_process_lives_that_answers_and_is_ready_that_says_so(capsys: Capture) -> None:
    with Healthy() as server:
        for more in ([], ["--ready"]):
            assert main(["health", "serve", "--port", str(server.port), *more]) == 0
    assert main(["health", "serve", "--port", str(server.port)]) == 1
    assert f"http://127.0.0.1:{server.port} does not answer" in capsys.readouterr().out
    assert main(["health", "serve", "--port", str(server.port), "--ready"]) == 1


def test_what_a_web_process_misses_is_told(capsys: Capture) -> None:
    with Unready() as server:
        assert main(["health", "serve", "--port", str(server.port), "--ready"]) == 1
    said = capsys.readouterr().out
    assert "worker: no worker has given a sign of life" in said
    assert "database" not in said


def test_of_up_both_are_looked_at(worker: str, capsys: Capture) -> None:
    with Healthy() as server:
        assert main(["health", "up", "--port", str(server.port)]) == 0
        has_been_silent(worker)
        assert main(["health", "up", "--port", str(server.port)]) == 1


def test_without_a_role_the_process_that_is_asked_must_have_one(capsys: Capture) -> None:
    assert main(["health", "--pid", str(os.getpid())]) == 1
    assert "say serve, worker or up" in capsys.readouterr().err
