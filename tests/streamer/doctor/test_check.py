"""Whatever goes wrong in a check becomes a line, within its time; the next check is carried out all the same."""

import threading
from collections.abc import Iterator

from models.errors import SettingInvalid
from models.settings import Settings
from streamer.doctor.check import Check, Finding, Verdict, carry_out, ok


def well(settings: Settings) -> Iterator[Finding]:
    yield ok("all is well")


def wrong(settings: Settings) -> Iterator[Finding]:
    yield ok("so far so good")
    raise SettingInvalid("STREAMER_PORT is wrong")


def defect(settings: Settings) -> Iterator[Finding]:
    yield ok(str(int("words that may quote a secret")))


def test_a_check_that_breaks_off_is_a_line_and_the_next_goes_on() -> None:
    checks = [Check("wrong", wrong), Check("defect", defect), Check("well", well)]
    lines = list(carry_out(checks, Settings()))

    assert [(line.name, line.finding.verdict) for line in lines] == [
        ("wrong", Verdict.OK),
        ("wrong", Verdict.FAILED),
        ("defect", Verdict.FAILED),
        ("well", Verdict.OK),
    ]
    assert lines[1].finding.found == "STREAMER_PORT is wrong"
    assert lines[2].finding.found.startswith("the check broke off: ValueError at doctor/test_check.py")
    assert "secret" not in lines[2].finding.found


def test_a_check_that_hangs_is_left_when_its_time_is_over() -> None:
    released = threading.Event()

    def hangs(settings: Settings) -> Iterator[Finding]:
        yield ok("begun")
        released.wait(60)

    lines = list(carry_out([Check("hangs", hangs), Check("well", well)], Settings(), limit_seconds=0.05))
    released.set()

    assert [line.finding.found for line in lines] == ["begun", "no answer within 0.05 s", "all is well"]
