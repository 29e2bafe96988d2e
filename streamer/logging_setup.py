"""One format for every process's log, one line a record, and none of it tells a prompt, an output, a key or an address.

An exception is told by its type and the places it passed, never by its words: those often quote what it choked on.
"""

import logging
import re
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

from models.errors import SettingInvalid, StreamerError
from models.settings import Settings, env_name

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

#: Our own loggers have the level of the settings. All others warn at most: httpx and uvicorn tell whole addresses with
#: INFO, peewee a statement's values, httpcore headers and sse_starlette chunks with DEBUG.
OURS = ("models", "tasks", "streamer")

#: Places of an exception that are told, the innermost.
PLACES = 6

_TRACEBACK = re.compile(r"Traceback \(most recent call last\).*", re.DOTALL)


def configure_logging(settings: Settings, part: str, out: TextIO | None = None) -> None:
    """Logs to `out`, stderr if not given, as `part`: up, web, worker. Raises SettingInvalid where the level is none."""
    level = settings.log_level.upper()
    if level not in LEVELS:
        raise SettingInvalid(f"{env_name('log_level')} must be one of {', '.join(LEVELS)}")
    handler = _Handler(out)
    handler.setFormatter(_Formatter(part))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
    sys.excepthook = _excepthook
    sys.unraisablehook = _unraisablehook
    threading.excepthook = _threading_hook


def described(error: BaseException | None) -> str:
    """An exception without its words: `ValueError at tasks/run.py:31 in finish < tasks/run.py:12 in work, after KeyError …`."""
    if error is None:
        return "no exception"
    places = [
        f"{'/'.join(frame.filename.rsplit('/', 2)[-2:])}:{frame.lineno} in {frame.name}"
        for frame in reversed(traceback.extract_tb(error.__traceback__)[-PLACES:])
    ]
    # The product's own errors are written to be told.
    name = type(error).__name__ + (f" ({error.message})" if isinstance(error, StreamerError) else "")
    told = name + (f" at {' < '.join(places)}" if places else "")
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return told if cause is None else f"{told}, after {described(cause)}"


class _Formatter(logging.Formatter):
    def __init__(self, part: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {part} %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    def format(self, record: logging.LogRecord) -> str:
        record = logging.makeLogRecord(record.__dict__)
        text = record.getMessage()
        if record.name == "asyncio":
            text = text.partition("\n")[0]  # what follows is the repr of the task, with its exception's words
        text = _TRACEBACK.sub(_last_type, text)
        if record.exc_info:
            text = f"{text}: {described(record.exc_info[1])}"
        record.msg, record.args, record.exc_info, record.exc_text, record.stack_info = text, (), None, None, None
        return super().format(record).replace("\r", "\\r").replace("\n", "\\n")


def _last_type(traceback_text: re.Match[str]) -> str:
    """What is left of a traceback that a library put into its message: the exception's type."""
    last_line = traceback_text[0].rstrip().rpartition("\n")[2]
    found = re.match(r"[\w.]+(?=:|$)", last_line)
    return found[0] if found else "an exception"


class _Handler(logging.StreamHandler[Any]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A record that can't be formatted or written: says where it came from, not what it holds."""
        error = sys.exc_info()[1]
        if not isinstance(error, BrokenPipeError | ValueError):
            self.stream.write(f"a log record of {record.pathname}:{record.lineno} is broken ({type(error).__name__})\n")


def _excepthook(kind: type[BaseException], value: BaseException, tb: TracebackType | None) -> None:
    logging.getLogger("streamer").critical("ended by a defect: %s", described(value))


def _unraisablehook(unraisable: Any) -> None:
    logging.getLogger("streamer").error("an exception could not be raised: %s", described(unraisable.exc_value))


def _threading_hook(args: Any) -> None:
    logging.getLogger("streamer").critical("a thread ended by a defect: %s", described(args.exc_value))
