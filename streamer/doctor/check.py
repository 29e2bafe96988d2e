"""What a check is, and how it is carried out: whatever goes wrong in it becomes a line, and it has its time."""

import threading
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from models.errors import StreamerError
from models.settings import Settings
from streamer.logging_setup import described

#: Seconds that one check gets: more than a locked database is waited for, or a busy machine takes to read the ranks.
LIMIT_SECONDS = 15.0


class Verdict(StrEnum):
    """Only what failed keeps the service from working as promised."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(NamedTuple):
    """What was found, in words, and what to change; the latter is empty where all is well."""

    verdict: Verdict
    found: str
    change: str = ""


class Check(NamedTuple):
    """`look` yields a finding or several. It changes nothing, raises what it likes and prints no secret."""

    name: str
    look: Callable[[Settings], Iterator[Finding]]


class Line(NamedTuple):
    """One finding of one check."""

    name: str
    finding: Finding


def ok(found: str) -> Finding:
    return Finding(Verdict.OK, found)


def warning(found: str, change: str) -> Finding:
    return Finding(Verdict.WARNING, found, change)


def failed(found: str, change: str) -> Finding:
    return Finding(Verdict.FAILED, found, change)


def carry_out(checks: Sequence[Check], settings: Settings, limit_seconds: float = LIMIT_SECONDS) -> Iterator[Line]:
    """One line or more for each check, one check after the other, each within the limit."""
    for check in checks:
        yield from (Line(check.name, each) for each in _findings(check, settings, limit_seconds))


def _findings(check: Check, settings: Settings, limit_seconds: float) -> list[Finding]:
    found: list[Finding] = []

    def look() -> None:
        try:
            found.extend(check.look(settings))
        except StreamerError as error:
            found.append(failed(error.message, "as the line says"))
        except Exception as error:
            found.append(
                failed(f"the check broke off: {described(error)}", "see what stands above; else it is a defect")
            )

    # A daemon: what hangs in the kernel or in a resolver ends with the process.
    thread = threading.Thread(target=look, name=check.name, daemon=True)
    thread.start()
    thread.join(limit_seconds)
    if thread.is_alive():
        return [*found, failed(f"no answer within {limit_seconds:g} s", "see what stands above; else run it again")]
    return found
