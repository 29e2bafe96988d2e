"""The log tells where things went wrong, and never with which words."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from io import StringIO
from types import TracebackType
from typing import Any

import pytest

from models.errors import ProviderTimeout, SettingInvalid
from models.settings import Settings
from streamer.logging_setup import OURS, configure_logging, described
from tests.streamer.processes import ROOT

PROMPT = "a prompt that nobody may read"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[StringIO]:
    """What is logged, with everything put back afterwards."""
    text = StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in OURS}
    for owner, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    configure_logging(Settings(), "web", text)
    yield text
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def fail() -> None:
    json.loads(json.dumps({}))[PROMPT]


def failure() -> KeyError:
    try:
        fail()
    except KeyError as error:
        return error
    raise AssertionError


def is_safe(text: str) -> bool:
    return PROMPT not in text and "Traceback" not in text and "def fail" not in text


def test_a_record_is_one_line_with_time_level_part_and_logger(log: StringIO) -> None:
    logging.getLogger("tasks.worker").info("two\nlines of %s", "text")
    line = log.getvalue()
    assert line.count("\n") == 1
    time, level, part, logger, *words = line.split()
    assert (time[10], time[-6:]) == ("T", "+00:00")
    assert (level, part, logger, " ".join(words)) == ("INFO", "web", "tasks.worker:", r"two\nlines of text")


def test_an_exception_is_told_by_type_and_places_without_its_words(log: StringIO) -> None:
    try:
        fail()
    except KeyError:
        logging.getLogger("streamer.chat").exception("it failed", stack_info=True)
    line = log.getvalue()
    assert is_safe(line)
    assert line.count("\n") == 1
    assert "it failed: KeyError at streamer/test_logging_setup.py:" in line
    assert "in fail < streamer/test_logging_setup.py:" in line


def test_the_product_s_own_errors_are_told_in_full_and_what_was_before_them_is_not(log: StringIO) -> None:
    try:
        raise ProviderTimeout("no byte in 60 s") from failure()
    except ProviderTimeout as error:
        text = described(error)
    assert text.startswith("ProviderTimeout (no byte in 60 s) at streamer/test_logging_setup.py:")
    assert ", after KeyError at " in text
    assert is_safe(text)


def test_what_nobody_caught_is_one_safe_line_each(log: StringIO) -> None:
    error = failure()
    sys.excepthook(KeyError, error, error.__traceback__)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    lines = log.getvalue().splitlines()
    assert [line.split("streamer: ")[1].partition(":")[0] for line in lines] == [
        "ended by a defect",
        "a thread ended by a defect",
    ]
    assert is_safe(log.getvalue())


def test_a_traceback_inside_a_library_s_message_is_cut_down_to_its_type(log: StringIO) -> None:
    error = failure()
    text = "".join(traceback.format_exception(error))
    logging.getLogger("uvicorn.error").error("startup failed: %s", text)
    assert log.getvalue().endswith("uvicorn.error: startup failed: KeyError\n")
    assert is_safe(log.getvalue())


async def test_a_task_s_lost_exception_is_told_without_the_task_s_repr(log: StringIO) -> None:
    asyncio.get_running_loop().call_exception_handler(
        {"message": "Task exception was never retrieved", "exception": failure(), "future": PROMPT}
    )
    assert "Task exception was never retrieved: KeyError at" in log.getvalue()
    assert is_safe(log.getvalue())


def test_a_record_that_can_t_be_formatted_says_where_it_is_and_not_what_it_holds(log: StringIO) -> None:
    record = logging.LogRecord("streamer", logging.INFO, __file__, 1, "%d", (PROMPT,), None)
    logging.getLogger().handlers[0].handle(record)  # ours alone: pytest has one that raises
    assert log.getvalue().startswith("a log record of ")
    assert is_safe(log.getvalue())


NOISE: list[tuple[str, Callable[..., Any]]] = [
    ("httpx", logging.Logger.info),
    ("httpcore.http11", logging.Logger.debug),
    ("peewee", logging.Logger.debug),
    ("sse_starlette.sse", logging.Logger.debug),
    ("uvicorn.access", logging.Logger.info),
    ("dramatiq.worker.WorkerThread", logging.Logger.info),
]


@pytest.mark.parametrize(("name", "method"), NOISE)
def test_libraries_that_tell_addresses_and_values_stay_silent_even_at_debug(
    log: StringIO, name: str, method: Callable[..., Any]
) -> None:
    configure_logging(Settings(log_level="debug"), "web", log)
    method(logging.getLogger(name), PROMPT)
    logging.getLogger("streamer.chat").debug("ours")
    assert "ours" in log.getvalue()
    assert is_safe(log.getvalue())


def test_a_level_that_is_none_is_refused(log: StringIO) -> None:
    with pytest.raises(SettingInvalid, match="STREAMER_LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR"):
        configure_logging(Settings(log_level="loud"), "web")


def test_a_process_that_fails_writes_no_traceback() -> None:
    program = (
        "from models.settings import Settings; from streamer.logging_setup import configure_logging;"
        f"configure_logging(Settings(), 'worker'); {{}}[{PROMPT!r}]"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ended by a defect: KeyError at" in done.stderr
    assert is_safe(done.stderr)


def test_the_hooks_take_what_the_interpreter_gives(log: StringIO) -> None:
    hook: Callable[[type[BaseException], BaseException, TracebackType | None], object] = sys.excepthook
    hook(ValueError, ValueError(PROMPT), None)
    assert log.getvalue().endswith("ended by a defect: ValueError\n")
