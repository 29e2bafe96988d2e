"""Every command that a Redis carries out, by its name, as MONITOR tells it; scripts by theirs, what they do inside not at all."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import NamedTuple

import redis
from dramatiq.brokers import redis as dramatiq_redis


class Command(NamedTuple):
    """`at_ns` of the monotonic clock, `port` of the connection that it came on (0: a socket file)."""

    at_ns: int
    port: int
    name: str


def _scripts() -> dict[str, str]:
    """By the name that Redis gives a script, what it is."""
    ours = {
        f"{path.name}": path.read_bytes()
        for room in ("models", "tasks")
        for path in files(room).iterdir()
        if path.name.endswith(".lua")
    }
    theirs = {f"dramatiq {name}": text for name, text in dramatiq_redis._scripts.items()}
    return {hashlib.sha1(text, usedforsecurity=False).hexdigest(): name for name, text in (ours | theirs).items()}


_SCRIPTS = _scripts()


def name_of(command: str) -> str:
    """The command's name; of a script its file's, and of Dramatiq's its step and queue."""
    word, *rest = command.split(" ")
    if word.upper() != "EVALSHA" or not rest:
        return word.upper() + (f" {rest[0]}" if word.upper() == "BLMOVE" and rest else "")
    script = _SCRIPTS.get(rest[0], "an unknown script")
    if script == "dramatiq dispatch":
        return f"{script} {rest[3]} {rest[5]}"
    return f"{script} {rest[3]}" if script == "breaker.lua" else script


class Monitor:
    """What came since it began. Redis keeps it ready until it is read."""

    def __init__(self, client: redis.Redis, listening: redis.client.Monitor) -> None:
        self._client = client
        self._listening = listening
        self._found: list[Command] = []
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def so_far(self) -> list[Command]:
        """All commands that were carried out before this call."""
        mark = f"ECHO mark-{time.monotonic_ns()}"
        self._client.echo(mark.removeprefix("ECHO "))
        while (each := self._listening.next_command())["command"] != mark:  # type: ignore[no-untyped-call]
            if each["client_type"] != "lua":
                at_ns = int(each["time"] * 1e9) - self._offset_ns
                port = int(each["client_port"]) if each["client_type"] == "tcp" else 0
                self._found.append(Command(at_ns, port, name_of(each["command"])))
        return list(self._found)


@contextmanager
def monitored(url: str) -> Iterator[Monitor]:
    """Every command from now on."""
    with redis.Redis.from_url(url) as client, client.monitor() as listening:
        yield Monitor(client, listening)
