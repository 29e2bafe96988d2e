"""What commands say about a Redis: never a user or a password of its."""

import socket
import threading

import pytest
import redis

from streamer.redis_answer import address, connected, reason


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


@pytest.mark.parametrize(
    ("scheme", "said", "words"),
    [
        ("rediss", b"HTTP/1.1 400 Bad Request\r\n\r\n", "it does not speak TLS as wanted"),
        ("redis", b"", "it can't be reached"),
    ],
)
def test_a_server_of_another_kind_is_told_without_its_words(scheme: str, said: bytes, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(said)

        answering = threading.Thread(target=answer)
        answering.start()
        with (
            connected(f"{scheme}://:canary@127.0.0.1:{listening.getsockname()[1]}/0") as client,
            pytest.raises(redis.RedisError) as refused,
        ):
            client.ping()
        answering.join(30)
    assert reason(refused.value) == words
