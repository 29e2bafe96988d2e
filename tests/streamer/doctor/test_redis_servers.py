"""What the doctor sees of a Redis."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from models.settings import Settings
from streamer import redis_answer
from streamer.doctor import redis_servers
from streamer.doctor.check import Verdict
from tests.conftest import redis_server_binary
from tests.redis_process import RedisProcess
from tests.streamer.doctor.finding import found, only


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis whose settings a test may change."""
    server = RedisProcess(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def live(settings: Settings, own: RedisProcess) -> Settings:
    return replace(settings, redis_url=own.url)


@pytest.fixture
def client(own: RedisProcess) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=str(own.socket)) as client:
        yield client


def test_a_redis_set_as_it_should_be_is_fine_and_keeps_nothing(live: Settings, client: redis.Redis) -> None:
    client.config_set("appendonly", "yes")
    finding = only(redis_servers.event_log, live)
    assert (finding.verdict, "takes writes" in finding.found) == (Verdict.OK, True)
    assert only(redis_servers.queue, live).found.endswith("database 1: 0 messages wait")
    assert client.dbsize() == 0


def test_what_the_configuration_risks_is_told(live: Settings, client: redis.Redis) -> None:
    client.config_set("maxmemory-policy", "allkeys-lru")
    info: Any = client.info("memory")
    client.config_set("maxmemory", int(info["used_memory"] * 1.1))
    told = " ".join(words for verdict, words in found(redis_servers.event_log, live) if verdict == "warning")
    for words in ("allkeys-lru", "appendonly no", "MB are used"):
        assert words in told


def test_a_redis_that_refuses_writes_is_told(live: Settings, client: redis.Redis) -> None:
    client.config_set("maxmemory", "1")
    assert "out of memory" in only(redis_servers.event_log, live).found
    client.config_set("maxmemory", "0")
    client.replicaof("127.0.0.1", "1")
    assert "replica" in only(redis_servers.event_log, live).found


def test_a_redis_that_is_away_or_hangs_is_told(
    live: Settings, own: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_answer, "ANSWER_SECONDS", 0.05)
    own.freeze()
    assert "no answer within 0.05 s" in only(redis_servers.event_log, live).found
    own.thaw()
    own.kill()
    for look in (redis_servers.event_log, redis_servers.queue):
        finding = only(look, live)
        assert (finding.verdict, "Connection refused" in finding.found) == (Verdict.FAILED, True)
        assert finding.change.startswith("see REDIS_URL")


def test_a_wrong_password_is_told_and_no_password_is(live: Settings, client: redis.Redis, own: RedisProcess) -> None:
    client.config_set("requirepass", "canary-right")
    wrong = replace(live, redis_url=f"unix://:canary-wrong@{own.socket}?db=0")
    for each in (live, wrong):
        finding = only(redis_servers.event_log, each)
        assert "refuses the user or password" in finding.found
        assert "canary" not in finding.found


def test_a_redis_that_is_too_old_or_a_cluster_is_told(live: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_servers, "OLDEST_VERSION", (99, 0))
    assert any(verdict == "failed" and "is Redis" in words for verdict, words in found(redis_servers.event_log, live))


def test_a_clock_that_differs_is_told(live: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_servers, "SKEW_SECONDS", -1.0)
    assert any("its clock is" in words for _, words in found(redis_servers.event_log, live))


def test_a_queue_in_the_event_logs_database_is_told(live: Settings) -> None:
    both = replace(live, broker_url=live.redis_url)
    assert any("is the event log's database, too" in words for _, words in found(redis_servers.queue, both))


def test_a_queue_that_nobody_empties_is_told(live: Settings, client: redis.Redis) -> None:
    client.select(1)
    client.rpush("queue:generate", *["id"] * 1001)
    assert "1001 messages wait" in only(redis_servers.queue, live).found


def test_without_a_running_up_the_private_redis_is_not_missed(settings: Settings) -> None:
    for look in (redis_servers.program, redis_servers.event_log, redis_servers.queue):
        assert only(look, settings).verdict is Verdict.OK


def test_a_socket_that_a_killed_redis_left_is_not_missed_either(settings: Settings, own: RedisProcess) -> None:
    own.socket.rename(settings.data_path / "redis.sock")
    own.kill()
    assert only(redis_servers.event_log, settings).verdict is Verdict.OK


def test_the_program_is_not_needed_with_another_redis(live: Settings) -> None:
    assert only(redis_servers.program, live).found == "not needed, as REDIS_URL is set"
    assert subprocess.run([redis_server_binary(), "--version"], capture_output=True).returncode == 0
