"""The Redis of the event log, that of the queue, and the program of the private one. Passwords are never told."""

import contextlib
import secrets
import time
from collections.abc import Iterator
from typing import Any

import redis
from redis.exceptions import RedisError

from models.redis_address import broker_url, private_socket, redis_url
from models.settings import Settings, env_name
from streamer.data_folder import running_url
from streamer.doctor.check import Finding, failed, ok, warning
from streamer.embedded_redis import answers_ping
from streamer.redis_answer import address, connected, reason
from streamer.redis_server import OLDEST_VERSION, find_redis_server
from tasks.broker import NAMESPACE, QUEUE

MB = 1024 * 1024

#: Seconds that two clocks may differ: the queue takes messages from whom it believes dead, by the workers' clocks.
SKEW_SECONDS = 2.0

#: Part of its memory from which on a Redis is soon full.
NEARLY_FULL = 0.8

#: Messages that wait for a worker, from which on something is wrong.
LONG_QUEUE = 1000


def program(settings: Settings) -> Iterator[Finding]:
    """Whether `streamer up` finds a redis-server to run."""
    if settings.redis_url:
        yield ok(f"not needed, as {env_name('redis_url')} is set")
    else:
        yield ok(str(find_redis_server()))


def event_log(settings: Settings) -> Iterator[Finding]:
    """The Redis that the event log is in."""
    if _none_runs(settings):
        yield ok("the private one does not run; `streamer up` starts it")
        return
    yield from _server(redis_url(settings), _cure(settings, "redis_url"))


def queue(settings: Settings) -> Iterator[Finding]:
    """The Redis that the queue is in: the same server's next logical database, or one of its own."""
    if _none_runs(settings):
        yield ok("in the private one as well")
        return
    url = broker_url(settings)
    where, cure = address(url), _cure(settings, "broker_url" if settings.broker_url else "redis_url")
    if settings.broker_url:
        yield from _server(url, cure)
    if where == address(redis_url(settings)):
        change = (
            f"name another database in {env_name('broker_url')}, such as …/1: the queue's upkeep walks all keys there"
        )
        yield failed(f"{where} is the event log's database, too", change)
    try:
        with connected(url) as client:
            waiting = int(client.llen(f"{NAMESPACE}:{QUEUE}"))
    except RedisError as error:
        yield failed(f"{where}: {reason(error)}", cure)
        return
    if waiting > LONG_QUEUE:
        yield warning(f"{where}: {waiting} messages wait", "start more `streamer worker`, or look into their logs")
    else:
        yield ok(f"{where}: {waiting} messages wait")


def _none_runs(settings: Settings) -> bool:
    """Whether the private Redis is meant, and rests with its `streamer up`."""
    if settings.redis_url or running_url(settings) is not None:
        return False
    path = private_socket(settings)
    return path is None or not answers_ping(path)


def _cure(settings: Settings, variable: str) -> str:
    if getattr(settings, variable):
        return f"see {env_name(variable)}, and the Redis behind it"
    return f"see {settings.data_path}/redis/redis.log; `streamer up` starts it again where it has ended"


def _server(url: str, cure: str) -> Iterator[Finding]:
    where = address(url)
    try:
        with connected(url) as client:
            info: dict[str, Any] = client.info()
            skew = _skew(client)
            _write(client)
    except RedisError as error:
        yield failed(f"{where}: {reason(error)}", cure)
        return
    version = str(info.get("redis_version", "0"))
    if tuple(int(each) for each in version.split(".")[:2]) < OLDEST_VERSION:
        wanted = ".".join(map(str, OLDEST_VERSION))
        yield failed(f"{where} is Redis {version}", f"install Redis {wanted} or newer there, or name another")
    if info.get("redis_mode") == "cluster":
        yield failed(f"{where} is a Redis Cluster", "name a single Redis: the queue needs a second logical database")
    yield from _advice(where, info)
    if abs(skew) > SKEW_SECONDS:
        yield warning(f"{where}: its clock is {skew:+.1f} s off this machine's", "let an NTP client set both clocks")
    yield ok(f"{where}, Redis {version}, {int(info.get('used_memory', 0)) / MB:.1f} MB used, takes writes")


def _advice(where: str, info: dict[str, Any]) -> Iterator[Finding]:
    """What the service survives and its users notice."""
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield warning(
            f"{where} may throw away what it needs ({policy})", "maxmemory-policy noeviction in its configuration"
        )
    if not info.get("aof_enabled"):
        change = "appendonly yes in its configuration; without it its restart costs running answers a pause, never their text"
        yield warning(f"{where} keeps nothing over a restart (appendonly no)", change)
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if most and used > most * NEARLY_FULL:
        yield warning(
            f"{where}: {used // MB} of {most // MB} MB are used", "raise maxmemory, or lower STREAMER_RETENTION_SECONDS"
        )


def _skew(client: redis.Redis) -> float:
    """Seconds that its clock is ahead of ours, from the middle of the round trip."""
    began = time.time()
    seconds, micros = client.time()
    return float(seconds) + float(micros) / 1e6 - (began + time.time()) / 2


def _write(client: redis.Redis) -> None:
    key = f"doctor:{secrets.token_hex(8)}"
    client.set(key, "", px=1000)
    with contextlib.suppress(RedisError):  # else it expires
        client.delete(key)
