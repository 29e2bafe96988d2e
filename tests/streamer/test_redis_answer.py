"""What commands say about a Redis: never a user or a password of its."""

import pytest

from streamer.redis_answer import address


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:canary@10.0.0.5:6380/2", "redis://10.0.0.5:6380/2"),
        ("rediss://:canary@redis.example.org", "rediss://redis.example.org:6379/0"),
        ("redis://10.0.0.5/0?password=canary&db=3", "redis://10.0.0.5:6379/3"),
        ("unix://user:canary@/run/redis.sock?db=1", "unix:///run/redis.sock, database 1"),
    ],
)
def test_an_address_is_shown_without_user_and_password(url: str, shown: str) -> None:
    assert address(url) == shown
