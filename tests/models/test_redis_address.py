"""The two addresses as redis-py understands them, and where the private Redis listens."""

import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.connection import ConnectionPool

from models.errors import SettingInvalid
from models.redis_address import (
    SOCKET_PATH_BYTES,
    broker_url,
    make_private_socket,
    private_socket,
    redis_url,
    remove_private_socket,
)
from models.settings import Settings


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="s-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A data folder whose path is too long for a socket."""
    folder = tmp_path / ("d" * SOCKET_PATH_BYTES)
    folder.mkdir()
    return folder


def understood(url: str) -> dict[str, object]:
    """What redis-py makes of the address."""
    pool = ConnectionPool.from_url(url)
    plain = {name: each for name, each in pool.connection_kwargs.items() if isinstance(each, str | int | float)}
    return {"class": pool.connection_class, **plain}


def listen(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    return listening


def test_the_address_that_is_set_wins_over_the_private_redis(short: Path) -> None:
    with listen(short / "redis.sock"):
        assert redis_url(Settings(data=str(short), redis_url="redis://:pw@host/3")) == "redis://:pw@host/3"


def test_the_private_redis_of_the_data_folder_is_found_by_its_socket(short: Path) -> None:
    data = short / "with space, ü, 100% and #?"
    data.mkdir()
    with listen(data / "redis.sock"):
        parsed = understood(redis_url(Settings(data=str(data))))
    assert (parsed["path"], parsed["db"]) == (str(data / "redis.sock"), 0)


def test_without_any_redis_the_line_says_what_to_do(short: Path, deep: Path) -> None:
    for folder in (short, deep):
        with pytest.raises(SettingInvalid, match="no Redis: set REDIS_URL or start `streamer up`"):
            redis_url(Settings(data=str(folder)))


def test_a_queue_with_a_server_of_its_own_keeps_its_address() -> None:
    settings = Settings(redis_url="redis://log/1", broker_url="rediss://user:pw@queue:6380/7")
    assert broker_url(settings) == "rediss://user:pw@queue:6380/7"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host", "redis://host/1"),
        ("redis://host/", "redis://host/1"),
        ("redis://:pw@host:6379/2", "redis://:pw@host:6379/3"),
        ("redis://host:6379/2?health_check_interval=5", "redis://host:6379/3?health_check_interval=5"),
        ("redis://host/9?db=2", "redis://host/9?db=3"),
        ("redis://host/9?client_name=db&db=2&protocol=3", "redis://host/9?client_name=db&db=3&protocol=3"),
        ("rediss://user:p%40%2Fss@[::1]:6380", "rediss://user:p%40%2Fss@[::1]:6380/1"),
        ("rediss://host?ssl_cert_reqs=none", "rediss://host/1?ssl_cert_reqs=none"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=1"),
        ("unix:///run/redis.sock?db=14", "unix:///run/redis.sock?db=15"),
        ("unix://user:p%40ss@/run/r.sock?socket_timeout=1", "unix://user:p%40ss@/run/r.sock?socket_timeout=1&db=1"),
    ],
)
def test_the_queue_lives_in_the_next_database_of_the_same_server(url: str, expected: str) -> None:
    shifted = broker_url(Settings(redis_url=url))
    assert shifted == expected
    before, after = understood(url), understood(shifted)
    assert after.pop("db") == int(str(before.pop("db", 0))) + 1
    assert after == before


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        (Settings(redis_url="http://user:hush@host"), "REDIS_URL"),
        (Settings(redis_url="redis://host", broker_url="user:hush@host:6379"), "STREAMER_BROKER_URL"),
    ],
)
def test_an_address_of_another_kind_is_refused_without_showing_its_password(settings: Settings, variable: str) -> None:
    with pytest.raises(SettingInvalid, match=f"^{variable} must start with redis://") as refused:
        broker_url(settings)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "option",
    [
        "ssl_validate_ocsp=true",
        "ssl_keyfile={file}",
        "ssl_min_version=12",
        "decode_responses=true",
        "retry=x",
        "retry_on_error=x",
        "event_dispatcher=x",
    ],
)
def test_an_option_that_any_client_would_trip_over_is_refused(option: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    settings = Settings(redis_url=f"rediss://:hush@host?{option.format(file=file)}")
    with pytest.raises(SettingInvalid, match=r"^REDIS_URL is no address of a Redis: see") as refused:
        redis_url(settings)
    assert "hush" not in str(refused.value)


def test_a_path_too_long_for_a_socket_gets_a_private_folder_that_is_found_again(deep: Path) -> None:
    settings = Settings(data=str(deep))
    assert private_socket(settings) is None
    path = make_private_socket(settings)
    try:
        assert len(str(path)) <= SOCKET_PATH_BYTES
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert make_private_socket(settings) == private_socket(settings) == path
        with listen(path):
            assert understood(redis_url(settings))["path"] == str(path)
    finally:
        remove_private_socket(settings)
    assert private_socket(settings) is None
    assert not path.parent.exists()


def test_a_private_folder_that_was_cleared_away_or_opened_to_others_is_not_used_again(deep: Path) -> None:
    settings = Settings(data=str(deep))
    first = make_private_socket(settings)
    first.parent.rmdir()
    second = make_private_socket(settings)
    second.parent.chmod(0o777)
    third = make_private_socket(settings)
    assert len({first, second, third}) == 3
    second.parent.rmdir()
    third.parent.rmdir()


def test_a_short_path_needs_no_folder_of_its_own(short: Path) -> None:
    settings = Settings(data=str(short))
    assert make_private_socket(settings) == private_socket(settings) == short / "redis.sock"
    assert list(short.iterdir()) == []
    listen(short / "redis.sock").close()
    remove_private_socket(settings)
    assert list(short.iterdir()) == []


def test_a_folder_that_takes_no_sockets_has_it_elsewhere(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data=str(short))

    def refuse(listening: socket.socket, address: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket.socket, "bind", refuse, raising=False)
    path = make_private_socket(settings)
    monkeypatch.undo()
    assert path.parent.parent == Path(tempfile.gettempdir())
    assert make_private_socket(settings) == private_socket(settings) == path
    remove_private_socket(settings)
    assert list(short.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "redis://:canary@h:x",
        "redis://:canary@h:99999",
        "unix:///a?db=x&password=canary",
        "redis://:canary@h?surprise=1",
        "rediss://:canary@h?ssl_cert_reqs=some",
        "rediss://:canary@h?ssl_ca_certs=/nowhere/ca.pem",
    ],
)
def test_an_address_that_redis_py_cannot_read_is_refused_without_its_password(tmp_path: Path, url: str) -> None:
    for read in (redis_url, broker_url):
        with pytest.raises(SettingInvalid) as caught:
            read(Settings(data=str(tmp_path), redis_url=url, broker_url=url))
        assert "canary" not in str(caught.value)
