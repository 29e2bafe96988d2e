"""Places at which a process can be made to die: only the one that is named, and by default none."""

import os
import signal
from collections.abc import Callable

import pytest

from models.errors import SettingInvalid
from models.kill_point import check_kill_point, reach
from models.settings import Settings


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The signals that would have been sent."""
    found: list[tuple[int, int]] = []
    note: Callable[[int, int], None] = lambda process, by: found.append((process, by))  # noqa: E731
    monkeypatch.setattr(os, "kill", note)
    return found


def test_by_default_nothing_dies(killed: list[tuple[int, int]]) -> None:
    reach("after_claim", Settings())

    assert killed == []


def test_the_named_place_kills_as_kill_9_does(killed: list[tuple[int, int]]) -> None:
    settings = Settings(kill_point="after_claim")
    reach("before_claim", settings)
    assert killed == []

    reach("after_claim", settings)
    assert killed == [(os.getpid(), signal.SIGKILL)]


def test_a_place_can_be_meant_for_one_message_alone(killed: list[tuple[int, int]]) -> None:
    settings = Settings(kill_point="after_claim=die = here")
    reach("after_claim", settings, "live")
    reach("after_claim", settings)
    assert killed == []

    reach("after_claim", settings, "die = here")
    assert len(killed) == 1


@pytest.mark.parametrize("named", ["", "after_claim", "after_finish=some text"])
def test_places_that_there_are_may_be_named(named: str) -> None:
    check_kill_point(Settings(kill_point=named))


@pytest.mark.parametrize("named", ["nowhere", "=text", "after claim"])
def test_a_place_that_there_is_not_is_refused_by_the_variable(named: str) -> None:
    with pytest.raises(SettingInvalid, match="STREAMER_KILL_POINT must be one of after_commit, "):
        check_kill_point(Settings(kill_point=named))
