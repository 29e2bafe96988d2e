"""`serve --processes N` and `worker --processes N`: a supervisor that keeps N processes of one role running."""

import contextlib
from collections.abc import Sequence

from models.settings import Settings
from streamer.part import Part, streamer_command
from streamer.server import listening_socket
from streamer.supervisor import Supervisor
from tasks.route_checks import load_checked_routes

#: A process is running as soon as it has been started; /readyz tells when it answers.
START_SECONDS = 30.0

#: What a process gets beyond its drain before it is killed.
MARGIN_SECONDS = 5.0


def serve_many(settings: Settings, count: int) -> int:
    """Runs `count` web processes on one socket until SIGTERM or SIGINT, and returns the exit code. Raises SettingInvalid."""
    load_checked_routes(settings)  # a wrong file is told once, not by each process again and again
    with listening_socket(settings) as listening:
        number = listening.fileno()
        command = [*streamer_command("serve"), "--data", str(settings.data_path), "--listening", str(number)]
        return _run("web", command, count, settings.web_drain_seconds, (number,))


def work_many(settings: Settings, count: int) -> int:
    """Runs `count` workers until SIGTERM or SIGINT, and returns the exit code. Raises SettingInvalid."""
    load_checked_routes(settings)
    slots = str(settings.worker_threads)
    command = [*streamer_command("worker"), "--data", str(settings.data_path), "--concurrency", slots]
    return _run("worker", command, count, settings.worker_drain_seconds)


def _run(name: str, command: Sequence[str], count: int, drain_seconds: float, open_files: tuple[int, ...] = ()) -> int:
    with contextlib.ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        for number in range(1, count + 1):
            part = Part(
                name=f"{name} {number}",
                command=command,
                open_files=open_files,
                stop_seconds=drain_seconds + MARGIN_SECONDS,
                patience_seconds=0.0,  # all drain at once
            )
            supervisor.start(part, START_SECONDS)
        supervisor.run()
    return 0
