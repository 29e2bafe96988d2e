"""The Redis of the event log, that of the queue, and the program of the private one. Passwords are never told."""

import contextlib
import secrets
import time
from collections.abc import Iterator
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from models.redis_address import broker_url, private_socket, redis_url
from models.settings import Settings, env_name
from streamer.data_folder import running_url
from streamer.doctor.check import Finding, failed, ok, warning
from streamer.embedded_redis import answers_ping
from streamer.redis_server import OLDEST_VERSION, find_redis_server
from tasks.broker import NAMESPACE, QUEUE

MB = 1024 * 1024

#: Seconds that a Redis gets for each answer.
ANSWER_SECONDS = 2.0

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
        with _client(url) as client:
            waiting = int(client.llen(f"{NAMESPACE}:{QUEUE}"))
    except RedisError as error:
        yield failed(f"{where}: {reason(error)}", cure)
        return
    if waiting > LONG_QUEUE:
        yield warning(f"{where}: {waiting} messages wait", "start more `streamer worker`, or look into their logs")
    else:
        yield ok(f"{where}: {waiting} messages wait")


def address(url: str) -> str:
    """A Redis address without user, password and options."""
    parts: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    number = parts.get("db", 0)
    if "path" in parts:
        return f"unix://{parts['path']}, database {number}"
    scheme = url.partition("://")[0]
    return f"{scheme}://{parts.get('host', 'localhost')}:{parts.get('port', 6379)}/{number}"


def reason(error: RedisError) -> str:
    """Why Redis did not do what was asked, without the words of a library that may quote the address."""
    known = {
        redis.AuthenticationError: "it refuses the user or password",
        redis.exceptions.NoPermissionError: "this user may not do what the service does there",
        redis.BusyLoadingError: "it is still loading its data",
        redis.ReadOnlyError: "it is a replica and takes no writes",
        redis.exceptions.OutOfMemoryError: "it is out of memory",
        redis.TimeoutError: f"no answer within {ANSWER_SECONDS:g} s",
    }
    for kind, words in known.items():
        if isinstance(error, kind):
            return words
    causes = (error.__cause__, error.__context__)
    if words := next((each.strerror for each in causes if isinstance(each, OSError) and each.strerror), ""):
        return f"it can't be reached ({words})"
    return "it refuses the command" if isinstance(error, ResponseError) else "it can't be reached"


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


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def _server(url: str, cure: str) -> Iterator[Finding]:
    where = address(url)
    try:
        with _client(url) as client:
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
