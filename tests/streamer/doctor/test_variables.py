"""What the doctor sees of the settings."""

from typing import Any

import pytest

from models.settings import Settings
from streamer.doctor import variables
from streamer.doctor.check import Verdict
from tests.streamer.doctor.finding import found, only


def test_the_defaults_agree_with_each_other() -> None:
    assert only(variables.durations, Settings()).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("values", "verdict", "named"),
    [
        ({"renew_seconds": 9.0, "heartbeat_seconds": 30.0}, "failed", "STREAMER_LEASE_SECONDS"),
        ({"renew_seconds": 6.0}, "warning", "STREAMER_RENEW_SECONDS"),
        ({"heartbeat_seconds": 2.0}, "failed", "STREAMER_HEARTBEAT_SECONDS"),
        ({"lease_seconds": 14.0}, "warning", "STREAMER_SWEEP_SECONDS"),
        ({"keepalive_seconds": 15.0}, "failed", "STREAMER_KEEPALIVE_SECONDS"),
        ({"max_body_bytes": 1000}, "failed", "STREAMER_MAX_BODY_BYTES"),
        ({"session_seconds": 90000}, "warning", "STREAMER_MAX_SESSION_SECONDS"),
        ({"max_wait_seconds": 60.0}, "warning", "STREAMER_MAX_WAIT_SECONDS"),
        ({"web_drain_seconds": 10.0}, "warning", "STREAMER_WEB_DRAIN_SECONDS"),
        ({"max_open_per_visitor": 3000}, "warning", "STREAMER_MAX_OPEN_PER_TENANT"),
    ],
)
def test_numbers_that_contradict_each_other_are_named(values: dict[str, Any], verdict: str, named: str) -> None:
    finding = only(variables.durations, Settings(**values))
    assert (finding.verdict, named in finding.found + finding.change) == (verdict, True)


def test_every_wrong_or_unknown_variable_is_a_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMER_PORT", "eighty")
    monkeypatch.setenv("STREAMER_LAESE_SECONDS", "9")
    monkeypatch.setenv("STREAMER_ZZZ", "9")
    assert found(variables.variables, settings) == [
        ("failed", "STREAMER_PORT must be a whole number, not 'eighty'"),
        ("warning", "STREAMER_LAESE_SECONDS is no setting"),
        ("warning", "STREAMER_ZZZ is no setting"),
    ]
    assert [each.change for each in variables.variables(settings)][1] == "do you mean STREAMER_LEASE_SECONDS?"
