"""`streamer doctor`: looks at everything that the service needs, and says what to change."""

import sys

from models.settings import Settings
from streamer.doctor import answers, files, machine, redis_servers, store, variables
from streamer.doctor.check import Check, Line, Verdict, carry_out
from streamer.doctor.report import Scrubber, as_json, print_line, print_sum, worst

#: In the order in which things are built on each other.
CHECKS = (
    Check("python", machine.python),
    Check("packages", machine.packages),
    Check("tokenizer", machine.ranks),
    Check("clock", machine.clock),
    Check("open-files", machine.open_files),
    Check("settings", variables.variables),
    Check("durations", variables.durations),
    Check("data-folder", files.data_folder),
    Check("disk-space", files.disk_space),
    Check("secret", files.secret),
    Check("database", store.store),
    Check("migrations", store.migrations),
    Check("api-key", files.api_key),
    Check("redis-server", redis_servers.program),
    Check("redis", redis_servers.event_log),
    Check("queue", redis_servers.queue),
    Check("workers", store.workers),
    Check("port", machine.port),
    Check("routes", answers.routes),
    Check("providers", answers.providers),
)

#: What goes to the network, and so only on request.
ONLINE = (Check("provider-hosts", answers.hosts),)


def doctor(settings: Settings, *, online: bool, in_json: bool) -> int:
    """Prints what was found; 1 where something failed. Never raises for what is wrong with the installation."""
    checks = (*CHECKS, *ONLINE) if online else CHECKS
    scrubber = Scrubber(settings, answers.keys(settings))
    width = max(len(check.name) for check in checks)
    coloured = sys.stdout.isatty() and not settings.no_color
    lines: list[Line] = []
    for line in map(scrubber.line, carry_out(checks, settings)):
        lines.append(line)
        if not in_json:
            print_line(line, width, sys.stdout, coloured=coloured)
    if in_json:
        print(as_json(lines))
    else:
        print_sum(lines, sys.stdout)
    return 1 if worst(lines) is Verdict.FAILED else 0
