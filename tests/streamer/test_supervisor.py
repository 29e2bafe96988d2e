"""The supervisor with real children: what starts, what starts again, who is stopped when, and that nothing stays behind."""

import json
import os
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.streamer.processes import Running, await_nobody_about

SUPERVISED = str(Path(__file__).with_name("supervised.py"))


def supervisor(*parts: dict[str, Any], ready_seconds: float = 10.0, **constants: float) -> Running:
    given = {"parts": parts, "ready_seconds": ready_seconds, "constants": constants}
    return Running([sys.executable, "-m", "tests.streamer.supervised", "{fd}", json.dumps(given)])


def pid_of(line: str) -> int:
    return int(line.split()[-1])


def what(lines: list[str]) -> list[str]:
    """Lines without their pids."""
    return [" ".join(word for word in line.split() if not word.isdecimal()) for line in lines]


def test_parts_start_in_order_with_no_signal_blocked_each_in_a_session_of_its_own() -> None:
    with supervisor({"name": "redis"}, {"name": "web"}) as running:
        running.told.until("supervisor ready")
        pids = [pid_of(running.told.until(f"{name} started")) for name in ("redis", "web")]
        assert {os.getsid(pid) for pid in pids} == set(pids)
        assert "masked" not in " ".join(running.told.seen)
        assert running.told.seen[0] == "supervisor begins"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_last_part_is_stopped_first_and_each_earlier_one_when_the_later_are_gone(number: signal.Signals) -> None:
    with supervisor({"name": "redis"}, {"name": "worker"}, {"name": "web"}) as running:
        running.told.until("started", count=3)
        running.process.send_signal(number)
        lines = what(running.told.end())
        assert running.exit_code() == 0
    assert lines[-7:] == [
        *("web SIGTERM", "web gone", "worker SIGTERM", "worker gone", "redis SIGTERM", "redis gone"),
        "supervisor stopped",
    ]


def test_ctrl_c_in_a_terminal_reaches_the_supervisor_alone() -> None:
    with supervisor({"name": "redis"}, {"name": "web"}) as running:
        running.told.until("started", count=2)
        running.press_ctrl_c()
        lines = running.told.end()
    assert not [line for line in lines if "SIGINT" in line]
    assert what(lines)[-1] == "supervisor stopped"


def test_a_part_whose_patience_ends_is_stopped_beside_the_later_ones() -> None:
    parts = ({"name": "redis"}, {"name": "worker", "patience_seconds": 0.3}, {"name": "web", "behaviour": "lingers"})
    with supervisor(*parts) as running:
        running.told.until("started", count=3)
        running.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        web = pid_of(running.told.until("web SIGTERM"))
        running.told.until("worker gone")
        assert time.monotonic() - began >= 0.25
        assert "redis SIGTERM" not in " ".join(running.told.seen)  # its patience has no end
        os.kill(web, signal.SIGUSR1)
        running.told.until("redis gone")
        running.told.end()
    assert what(running.told.seen)[-4:] == ["web gone", "redis SIGTERM", "redis gone", "supervisor stopped"]


def test_a_part_that_does_not_stop_in_its_time_is_killed() -> None:
    with supervisor({"name": "redis"}, {"name": "web", "behaviour": "lingers", "stop_seconds": 0.2}) as running:
        running.told.until("started", count=2)
        running.process.send_signal(signal.SIGTERM)
        assert what(running.told.end())[-4:] == ["web SIGTERM", "redis SIGTERM", "redis gone", "supervisor stopped"]
        assert running.err.until("killed") == "web did not stop within 0.2 s: killed"


def test_another_ctrl_c_kills_all_at_once() -> None:
    lingering = {"behaviour": "lingers", "stop_seconds": 60}
    parts = ({"name": "redis", **lingering}, {"name": "web", **lingering})
    with supervisor(*parts, SAME_CTRL_C_SECONDS=0) as running:
        running.told.until("started", count=2)
        running.press_ctrl_c()
        running.told.until("web SIGTERM")
        running.press_ctrl_c()
        assert what(running.told.end(5.0))[-2:] == ["web SIGTERM", "supervisor stopped"]


def test_one_ctrl_c_that_arrives_twice_counts_once() -> None:
    with supervisor({"name": "web", "behaviour": "lingers"}, SAME_CTRL_C_SECONDS=60) as running:
        running.told.until("web started")
        running.press_ctrl_c()
        web = pid_of(running.told.until("web SIGTERM"))
        running.press_ctrl_c()
        os.kill(web, signal.SIGUSR1)
        assert what(running.told.end())[-2:] == ["web gone", "supervisor stopped"]


def test_a_part_that_is_killed_starts_again_at_once_and_the_others_go_on() -> None:
    with supervisor({"name": "redis"}, {"name": "web"}) as running:
        redis = pid_of(running.told.until("redis started"))
        first = pid_of(running.told.until("web started"))
        running.told.until("supervisor ready")
        killed = time.monotonic()
        os.kill(first, signal.SIGKILL)
        second = pid_of(running.told.until("web started", count=2))
        assert 0.15 <= time.monotonic() - killed < 10.0
        assert second != first
        assert os.getsid(redis) == redis
        assert running.err.until("ended") == "web ended (signal SIGKILL); it starts again in 0.2 s"


def test_a_part_that_dies_again_and_again_is_started_after_doubling_delays_up_to_the_longest() -> None:
    # The part is ready at once, so that the supervisor goes on with it.
    times = []
    with supervisor({"name": "web", "behaviour": "dies"}, LONGEST_DELAY_SECONDS=0.5) as running:
        for count in range(1, 6):
            running.told.until("web started", count=count)
            times.append(time.monotonic())
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert all(gap >= delay - 0.05 for gap, delay in zip(gaps, (0.2, 0.4, 0.5, 0.5), strict=True)), gaps
        lines = [running.err.until("ended", count=count) for count in range(1, 5)]
    assert lines == [f"web ended (exit code 3); it starts again in {delay} s" for delay in (0.2, 0.4, 0.5, 0.5)]


def test_the_delays_begin_anew_for_a_part_that_had_lived_steadily() -> None:
    with supervisor({"name": "web"}, STEADY_SECONDS=0) as running:
        for count in range(1, 4):
            os.kill(pid_of(running.told.until("web started", count=count)), signal.SIGKILL)
            assert running.err.until("ended", count=count).endswith("in 0.2 s")


def test_a_part_that_never_gets_ready_is_told_and_all_are_stopped() -> None:
    with supervisor({"name": "redis"}, {"name": "web", "ready": False}, ready_seconds=0.3) as running:
        lines = running.told.end()
        assert running.exit_code() == 0
    assert lines[-1] == "supervisor refused: web is not ready after 0.3 s"
    assert "redis gone" in what(lines)


def test_a_part_that_keeps_dying_before_all_are_ready_is_told_by_name() -> None:
    with supervisor({"name": "worker", "behaviour": "dies"}, {"name": "web", "ready": False}) as running:
        assert running.told.end()[-1] == (
            "supervisor refused: worker ends again and again (exit code 3); its own lines say why"
        )


def test_a_program_that_is_not_there_is_told() -> None:
    with supervisor({"name": "redis", "behaviour": "/nowhere/redis-server"}) as running:
        assert "No such file" in running.told.end()[-1]


def test_a_stop_while_parts_are_starting_stops_those_that_have() -> None:
    with supervisor({"name": "redis"}, {"name": "web", "ready": False}, ready_seconds=60) as running:
        running.told.until("started", count=2)
        running.process.send_signal(signal.SIGTERM)
        assert what(running.told.end())[-2:] == ["redis gone", "supervisor stopped"]
        assert running.exit_code() == 0


def test_what_a_part_has_forked_goes_with_it() -> None:
    with supervisor({"name": "web", "behaviour": "forks"}) as running:
        running.told.until("web forked")
        web = pid_of(running.told.until("web started"))
        os.kill(web, signal.SIGKILL)
        running.told.until("web started", count=2)
        running.told.until("web forked", count=2)
        running.process.send_signal(signal.SIGTERM)
        running.told.end()  # nobody holds the pipe any more, the forked ones neither


def test_a_supervisor_that_is_killed_takes_its_parts_with_it() -> None:
    parts = ({"name": "redis", "death_signal": signal.SIGTERM}, {"name": "web", "behaviour": "lingers"})
    with supervisor(*parts) as running:
        running.told.until("started", count=2)
        running.process.kill()
        lines = what(running.told.end(5.0))
    assert "redis SIGTERM" in lines  # it may write its last bytes
    assert "web SIGTERM" not in lines


def test_a_supervisor_that_is_killed_at_any_moment_of_its_start_leaves_nothing(tmp_path: Path) -> None:
    for turn in range(12):
        name = f"part-{tmp_path.name}-{os.getpid()}"
        with supervisor({"name": f"{name}-a"}, {"name": f"{name}-b"}) as running:
            running.told.until("supervisor begins")
            time.sleep(turn * 0.002)  # not to wait for something: to strike at another moment
            running.process.kill()
            running.told.end(5.0)
        await_nobody_about(name)
