"""Keeps the parts of the service running, and stops them in order. It sleeps until a signal or a deadline comes."""

import logging
import math
import signal
import time
from types import TracebackType
from typing import Self

from models.errors import SettingInvalid
from streamer.part import Part, PartProcess

logger = logging.getLogger(__name__)

#: Seconds between two looks at whether a part that is starting is ready.
READY_LOOK_SECONDS = 0.025

#: A part that ends so often before all are ready won't get ready.
GIVE_UP_AFTER = 3

#: Seconds in which a second SIGINT is the same Ctrl-C, sent on by whatever started us.
SAME_CTRL_C_SECONDS = 0.1

_LONGEST_SLEEP_SECONDS = 3600.0


class StopRequested(Exception):
    """SIGTERM, SIGINT or SIGHUP came: raised out of `start` and `run`, and caught where the supervisor's block ends."""


class Supervisor:
    """`with Supervisor() as supervisor:` start each part, then `run`. The block's end stops them, the last one first.

    Of one thread, the main one: the kernel ties a child's death signal to the thread that made it.
    """

    def __init__(self) -> None:
        self._children: list[PartProcess] = []
        self._stops = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
        if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # started by nohup
            self._stops.discard(signal.SIGHUP)
        self._waited = {signal.SIGCHLD, *self._stops}
        self._mask: set[int] = set()

    def __enter__(self) -> Self:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an inherited SIG_IGN would take the children's exit codes
        self._mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, self._waited))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        try:
            self._stop()
        finally:
            while signal.sigtimedwait(self._waited, 0):
                pass
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        return kind is StopRequested

    def start(self, part: Part, ready_seconds: float) -> None:
        """Starts `part`, keeps it running from now on, and returns when it is ready.

        Raises SettingInvalid if it isn't in time or some part ends again and again; StopRequested.
        """
        child = PartProcess(part)
        self._children.append(child)
        self._start(child)
        deadline = time.monotonic() + ready_seconds
        while not (child.alive and part.ready()):
            for each in self._children:
                if each.ended >= GIVE_UP_AFTER:
                    raise SettingInvalid(f"{each.part.name} ends again and again ({each.end}); its own lines say why")
            if time.monotonic() >= deadline:
                raise SettingInvalid(f"{part.name} is not ready after {ready_seconds:g} s")
            self._step(time.monotonic() + READY_LOOK_SECONDS)

    def run(self) -> None:
        """Starts again what dies, until StopRequested is raised."""
        while True:
            self._step(math.inf)

    def _step(self, until: float) -> None:
        """Sleeps until a signal, a start that is due, or `until` (time.monotonic()); does what is due."""
        due = [each.next_start for each in self._children if not each.alive]
        number = self._sleep(min(until, *due, math.inf))
        if number in self._stops:
            raise StopRequested
        for child in self._children:
            if child.reap():
                _tell_end(child)
            if not child.alive and time.monotonic() >= child.next_start:
                self._start(child)

    def _start(self, child: PartProcess) -> None:
        child.start()
        if not child.alive:
            _tell_end(child)

    def _stop(self) -> None:
        """Stops the last part first; each is killed when its time is over, all at once on another Ctrl-C."""
        began = time.monotonic()
        while any(each.alive for each in self._children):
            number = self._sleep(min(self._stop_one_by_one(began), math.inf))
            for child in self._children:
                child.reap()
                if number == signal.SIGINT and time.monotonic() - began >= SAME_CTRL_C_SECONDS:
                    child.kill()

    def _stop_one_by_one(self, began: float) -> float:
        """Sends each part what it is time for; when to look again (time.monotonic())."""
        next_look = math.inf
        none_later = True
        for child in reversed(self._children):
            if not child.alive:
                continue
            now = time.monotonic()
            wait_until = -math.inf if none_later else began + child.part.patience_seconds
            none_later = False
            if now >= wait_until:
                child.send_stop()
            due = wait_until if child.stop_sent_at is None else child.stop_sent_at + child.part.stop_seconds
            if now >= due:
                logger.warning("%s did not stop within %g s: killed", child.part.name, child.part.stop_seconds)
                child.kill()
                child.stop_sent_at = math.inf  # no more looks: its end comes as SIGCHLD
            else:
                next_look = min(next_look, due)
        return next_look

    def _sleep(self, until: float) -> int | None:
        """The signal that came before `until`, if any."""
        seconds = min(max(0.0, until - time.monotonic()), _LONGEST_SLEEP_SECONDS)
        found = signal.sigtimedwait(self._waited, seconds)
        return found.si_signo if found else None


def _tell_end(child: PartProcess) -> None:
    delay = max(0.0, child.next_start - time.monotonic())
    logger.warning("%s ended (%s); it starts again in %.1f s", child.part.name, child.end, delay)
