"""Several processes of one role under one command, as an operator runs them."""

import contextlib
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.errors import SettingInvalid
from models.settings import Settings
from streamer.processes import serve_many, work_many
from tests.streamer.processes import PATIENCE_SECONDS, Running


@pytest.fixture
def env(settings: Settings, database: Any, redis_url: str) -> dict[str, str]:
    drains = {"STREAMER_WORKER_DRAIN_SECONDS": "1", "STREAMER_WEB_DRAIN_SECONDS": "1"}
    return {"STREAMER_DATA": settings.data, "REDIS_URL": redis_url, **drains}


@contextlib.contextmanager
def streamer(env: dict[str, str], *words: str) -> Iterator[Running]:
    with Running([sys.executable, "-m", "streamer", *words], env) as running:
        yield running


def children(running: Running) -> list[int]:
    pid = running.process.pid
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def stopped(running: Running) -> int:
    running.process.send_signal(signal.SIGTERM)
    return running.process.wait(PATIENCE_SECONDS)


def test_workers_are_started_again_when_one_is_killed_and_stop_together(env: dict[str, str]) -> None:
    with streamer(env, "worker", "--processes", "2", "--concurrency", "3") as running:
        running.err.until("is ready for 3 generations", count=2)
        os.kill(children(running)[0], signal.SIGKILL)
        running.err.until("signal SIGKILL")
        running.err.until("is ready for 3 generations", count=3)
        assert len(children(running)) == 2

        running.process.send_signal(signal.SIGTERM)
        running.err.until("stopping: 0 generations", count=2)
        assert stopped(running) == 0  # another SIGTERM changes nothing
        running.err.until("has stopped", count=2)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/healthz", headers={"connection": "close"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(answer.status == 200)
    return False


def test_web_processes_share_one_socket_a_killed_one_comes_back_and_one_that_hangs_holds_up_no_stop(
    env: dict[str, str],
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with streamer(env, "serve", "--processes", "2", "--port", str(port)) as running:
        soon(lambda: answers(port))
        assert len(children(running)) == 2
        killed, left = children(running)
        os.kill(killed, signal.SIGKILL)
        running.err.until("signal SIGKILL")
        soon(lambda: len(children(running)) == 2)
        os.kill(left, signal.SIGSTOP)  # so that the new one answers, or nobody does
        soon(lambda: answers(port))
        with socket.create_connection(("127.0.0.1", port)) as stalled:
            stalled.sendall(b"POST /ai/v1/chat HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
            running.press_ctrl_c()
            assert running.exit_code() == 0
        assert "did not stop within 3 s: killed" in " ".join(running.err.end())
    assert not answers(port)


def soon(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("run", [serve_many, work_many])
def test_what_is_wrong_is_told_once_before_any_process_starts(
    run: Callable[[Settings, int], int], settings: Settings, redis_url: str
) -> None:
    with pytest.raises(SettingInvalid, match="run `streamer migrate`"):
        run(replace(settings, redis_url=redis_url), 2)


def test_a_provider_that_workers_can_not_use_is_told_as_well(settings: Settings, database: Any, redis_url: str) -> None:
    with pytest.raises(SettingInvalid, match="must hold a key"):
        work_many(replace(settings, redis_url=redis_url, model="openai:gpt-4o-mini"), 2)


@pytest.mark.parametrize("role", ["serve", "worker"])
def test_no_process_at_all_is_a_wrong_command_line(env: dict[str, str], role: str) -> None:
    with streamer(env, role, "--processes", "0") as running:
        assert running.process.wait(PATIENCE_SECONDS) == 2
        running.err.until("at least 1")
