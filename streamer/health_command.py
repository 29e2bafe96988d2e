"""`streamer health`: whether what runs on this machine lives, for who restarts it; or is ready, for who sends it work.

A process lives as long as a restart would mend nothing. So a database or a Redis that is away makes nobody dead: what runs has
its answers yet, and goes on when they are back. It is asked every few seconds, so that only what is asked for is imported.
"""

import sys
from collections.abc import Iterator
from functools import partial

from models.settings import Settings
from streamer.data_folder import running_url
from streamer.doctor.check import Check, Verdict, carry_out
from streamer.doctor.report import Scrubber, as_json, print_line, worst
from streamer.listen_address import public_url
from streamer.main_process import MainProcess


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
    from streamer.worker_life import log_answers, queue_answers, workers

    yield Check("worker", partial(workers, processes=asked.processes, ready=ready))
    if ready:
        yield Check("redis", log_answers)
        yield Check("queue", queue_answers)


def _web_checks(asked: MainProcess, ready: bool, settings: Settings) -> Iterator[Check]:
    if asked.role == "worker":
        return
    from streamer.web_life import is_ready, lives

    running = running_url(settings) if asked.role == "up" else None  # it may have chosen its port
    url = running or public_url(settings.host, settings.port)
    yield Check("web", partial(is_ready if ready else lives, url=url))
