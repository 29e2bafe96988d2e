"""`streamer health`: whether what runs on this machine lives, for who restarts it; or is ready, for who sends it work.

A process lives as long as a restart would mend nothing. So a database or a Redis that is away makes nobody dead: what runs has
its answers yet, and goes on when they are back.
"""

import http.client
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from models.database import AWAY, connect, database
from models.errors import SettingInvalid
from models.periodic import worker_ages
from models.redis_address import broker_url, redis_url
from models.settings import Settings
from streamer.data_folder import running_url
from streamer.doctor.check import Check, Finding, Verdict, carry_out, failed, ok, warning
from streamer.doctor.report import Scrubber, as_json, print_line, worst
from streamer.listen_address import public_url
from streamer.main_process import MainProcess
from streamer.redis_answer import address, connected, reason

#: Seconds that a web process, and the database, get to answer.
ANSWER_SECONDS = 2.0


def health(settings: Settings, asked: MainProcess, *, ready: bool, in_json: bool) -> int:
    """Prints a line for each thing that was looked at; 1 where one of them is not as asked for."""
    scrubber = Scrubber(settings)
    checks = [*_worker_checks(asked, ready), *_web_checks(asked, ready, settings)]
    lines = [scrubber.line(line) for line in carry_out(checks, settings)]
    if in_json:
        print(as_json(lines))
    else:
        width = max(len(line.name) for line in lines)
        for line in lines:
            print_line(line, width, sys.stdout, coloured=sys.stdout.isatty() and not settings.no_color)
    return 1 if worst(lines) is Verdict.FAILED else 0


def _worker_checks(asked: MainProcess, ready: bool) -> Iterator[Check]:
    if asked.role == "serve":
        return
    yield Check("worker", partial(worker, processes=asked.processes, ready=ready))
    if ready:
        yield Check("redis", partial(answers, address_of=redis_url))
        yield Check("queue", partial(answers, address_of=broker_url))


def _web_checks(asked: MainProcess, ready: bool, settings: Settings) -> Iterator[Check]:
    if asked.role == "worker":
        return
    running = running_url(settings) if asked.role == "up" else None  # it may have chosen its port
    url = running or public_url(settings.host, settings.port)
    yield Check("web", partial(web_is_ready if ready else web_lives, url=url))


def worker(settings: Settings, *, processes: int, ready: bool) -> Iterator[Finding]:
    """Whether so many workers of this host beat. Where the database does not tell, none is called dead."""
    ages = _ages(settings)
    if ages is None:
        make = failed if ready else warning
        yield make("the database does not tell whether a worker lives", "see DATABASE_URL and the data folder")
        return
    fresh = [age for age in ages if age <= settings.heartbeat_seconds]
    told = f"{len(fresh)} of {processes} on {socket.gethostname()} gave a sign of life"
    if len(fresh) >= processes:
        yield ok(f"{told}, the last {max(0.0, fresh[0]):.1f} s ago")
    else:
        yield failed(f"{told} in the last {settings.heartbeat_seconds:g} s", "see its log; a restart may mend it")


def _ages(settings: Settings) -> list[float] | None:
    """The ages of this host's heartbeats; None where the database does not answer in time."""
    found: list[list[float]] = []

    def look() -> None:
        with suppress(SettingInvalid, *AWAY):
            connect(settings)
            with database.connection_context():
                found.append(worker_ages(socket.gethostname()))

    thread = threading.Thread(target=look, daemon=True)  # what hangs ends with the process
    thread.start()
    thread.join(ANSWER_SECONDS)
    return found[0] if found else None


def answers(settings: Settings, *, address_of: Callable[[Settings], str]) -> Iterator[Finding]:
    """Whether that Redis answers."""
    url = address_of(settings)
    try:
        with connected(url) as client:
            client.ping()
        yield ok(f"{address(url)} answers")
    except RedisError as error:
        yield failed(f"{address(url)}: {reason(error)}", "see `streamer doctor`")


def web_lives(settings: Settings, *, url: str) -> Iterator[Finding]:
    """Whether a web process answers at all."""
    status, _ = _get(url, "/healthz")
    if status == 200:
        yield ok(f"{url} answers")
    else:
        yield failed(f"{url} does not answer", "see its log; a restart may mend it")


def web_is_ready(settings: Settings, *, url: str) -> Iterator[Finding]:
    """Whether it says that all it needs is there, else what is missing."""
    status, body = _get(url, "/readyz")
    checks = {} if status == 200 else body.get("checks", {"web": "does not answer"})
    missing = {name: words for name, words in checks.items() if words != "ok"}
    for name, words in missing.items():
        yield failed(f"{url}: {name}: {words}", "see `streamer doctor`")
    if not missing:
        yield ok(f"{url} is ready")


def _get(url: str, path: str) -> tuple[int, dict[str, Any]]:
    """The status and the JSON of an answer; 0 where there was none."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_SECONDS)
    with closing(connection), suppress(OSError, http.client.HTTPException, ValueError):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    return 0, {}
