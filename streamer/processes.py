"""`serve --processes N` and `worker --processes N`: a supervisor that keeps N processes of one role running."""

import contextlib
from collections.abc import Sequence

from models.settings import Settings
from streamer.part import Part, streamer_command
from streamer.server import listening_socket, prepare
from streamer.supervisor import Supervisor
from tasks.worker import check

#: A process is running as soon as it has been started; /readyz tells when it answers.
START_SECONDS = 30.0

#: What a process gets beyond its drain before it is killed: a web process is gone after 10 s, whatever happens.
WEB_MARGIN_SECONDS, WORKER_MARGIN_SECONDS = 2.0, 5.0


def serve_many(settings: Settings, count: int) -> int:
    """Runs `count` web processes on one socket until SIGTERM or SIGINT, and returns the exit code. Raises SettingInvalid."""
    prepare(settings)  # what is wrong is told once, not by each process again and again
    with listening_socket(settings) as listening:
        number = listening.fileno()
        command = [*streamer_command("serve"), "--data", str(settings.data_path), "--listening", str(number)]
        return _run("web", command, count, settings.web_drain_seconds + WEB_MARGIN_SECONDS, (number,))


def work_many(settings: Settings, count: int) -> int:
    """Runs `count` workers until SIGTERM or SIGINT, and returns the exit code. Raises SettingInvalid."""
    check(settings)
    slots = str(settings.worker_threads)
    command = [*streamer_command("worker"), "--data", str(settings.data_path), "--concurrency", slots]
    return _run("worker", command, count, settings.worker_drain_seconds + WORKER_MARGIN_SECONDS)


def _run(name: str, command: Sequence[str], count: int, stop_seconds: float, open_files: tuple[int, ...] = ()) -> int:
    with contextlib.ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        for number in range(1, count + 1):
            part = Part(
                name=f"{name} {number}",
                command=command,
                open_files=open_files,
                stop_seconds=stop_seconds,
                patience_seconds=0.0,  # all drain at once
            )
            supervisor.start(part, START_SECONDS)
        supervisor.run()
    return 0
