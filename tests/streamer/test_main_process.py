"""What a container runs, from the command line of its process 1."""

import os

import pytest

from streamer.main_process import MainProcess, main_process_of, read_main_process


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/opt/streamer/bin/python /opt/streamer/bin/streamer serve --host 0.0.0.0", MainProcess("serve", host="0.0.0.0")),
        ("streamer serve --processes 4 --port=9000", MainProcess("serve", 4, port=9000)),
        ("/sbin/docker-init -- streamer worker --concurrency 50 --processes 2", MainProcess("worker", 2)),
        ("python3 -P -m streamer up --data /srv/streamer", MainProcess("up", data="/srv/streamer")),
        ("streamer worker --p 4", MainProcess("worker", 4)),
        ("streamer up --p 8001", MainProcess("up", port=8001)),
        ("streamer migrate", None),
        ("sleep streamer", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_command_line_says_what_runs_and_where(line: str, expected: MainProcess | None) -> None:
    assert main_process_of(line.split(" ")) == expected


def test_a_process_that_is_none_of_ours_or_gone_says_nothing() -> None:
    assert read_main_process(os.getpid()) is None
    assert read_main_process(2**22 + 1) is None
