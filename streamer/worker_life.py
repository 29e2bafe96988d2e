"""Whether the workers of this host live, and have what they need."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

from redis.exceptions import RedisError

from models.database import AWAY, connect, database
from models.errors import SettingInvalid
from models.periodic import worker_ages
from models.redis_address import broker_url, redis_url
from models.settings import Settings
from streamer.doctor.check import Finding, failed, ok, warning
from streamer.redis_answer import address, connected, reason

#: Seconds that the database gets to answer.
ANSWER_SECONDS = 2.0


def workers(settings: Settings, *, processes: int, ready: bool) -> Iterator[Finding]:
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


def log_answers(settings: Settings) -> Iterator[Finding]:
    """Whether the event log's Redis answers."""
    yield _answer(redis_url(settings))


def queue_answers(settings: Settings) -> Iterator[Finding]:
    """Whether the queue's does."""
    yield _answer(broker_url(settings))


def _answer(url: str) -> Finding:
    try:
        with connected(url) as client:
            client.ping()
    except RedisError as error:
        return failed(f"{address(url)}: {reason(error)}", "see `streamer doctor`")
    return ok(f"{address(url)} answers")
