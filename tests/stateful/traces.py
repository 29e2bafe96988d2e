"""For each rule that can be taken out, the shortest way found to the promise that breaks without it."""

from collections.abc import Callable
from typing import Any

from tests.stateful.machine import Protocol


class Play:
    """An example written by hand: rules by their names, with defaults, and a look at the promises after each."""

    def __init__(self, state: Protocol) -> None:
        self._state = state

    def _do(self, rule: Callable[..., None], **arguments: Any) -> None:
        rule(**arguments)
        self._state.holds()

    def begin(self, *, lost: str = "restart", deadline: float = 600.0) -> None:
        """A generation in its first run by worker 0, which nobody watches yet."""
        self._do(self._state.begin, lost=lost, broken="keep_partial", deadline=deadline, kept=2**22, crashes=3)

    def say(self, fault: tuple[str, str] | None = None) -> None:
        self._do(self._state.say, speech=0, pieces=1, fault=fault)

    def end_call(self, fault: tuple[str, str] | None = None) -> None:
        self._do(self._state.end_call, speech=0, broken=False, fault=fault)

    def claim(self, worker: int) -> None:
        self._do(self._state.claim, worker=worker, generation=0, fault=None)

    def lose_worker(self, fault: tuple[str, str] | None = None) -> None:
        """A sweeper finds the lease expired, whatever the worker does."""
        self._do(self._state.sweep, repairer=0, expired=True, generation=0, fault=fault)

    def disturb(self, what: str) -> None:
        self._do(self._state.disturb, what=what, which=0)

    def resume(self) -> None:
        self._do(self._state.resume, actor=0)

    def redis(self, what: str) -> None:
        self._do(self._state.redis, what=what, generation=0, entries=1)

    def connect(self, cut_after: int | None = None) -> None:
        self._do(self._state.connect, viewer=0, generation=0, web=0, cut_after=cut_after, fault=None, forged=None)

    def pass_seconds(self, seconds: float) -> None:
        self._do(self._state.pass_time, seconds=seconds, cut_after=None)


def lost_worker_says_more_while_it_is_ended(play: Play) -> None:
    """The sweeper has read the partial, and not yet taken the next run."""
    play.begin()
    play.disturb("cancel")
    play.lose_worker(("read", "stall after"))
    play.say()
    play.resume()


def finish_without_an_answer(play: Play) -> None:
    play.begin()
    play.say()
    play.end_call(("finish", "no answer"))
    play.pass_seconds(1.0)


def finish_without_an_answer_at_the_deadline(play: Play) -> None:
    play.begin(deadline=5.0)
    play.say(("finish", "no answer"))
    play.pass_seconds(6.0)


def terminal_event_comes_after_the_idle_check(play: Play) -> None:
    play.begin()
    play.say()
    play.connect()
    play.redis("full")
    play.end_call()
    play.pass_seconds(6.0)


def viewer_cut_after_the_snapshot_from_the_row(play: Play) -> None:
    play.begin()
    play.say()
    play.connect(cut_after=1)
    play.end_call(("append", "stall before"))
    play.connect(cut_after=1)
    play.resume()
    play.connect()


def terminal_event_lost_after_it_was_noted(play: Play) -> None:
    play.begin()
    play.say()
    play.end_call()
    play.redis("tail lost")
    play.connect()


def log_lost_between_two_texts(play: Play) -> None:
    play.begin()
    play.say()
    play.redis("lost")
    play.say()


def lost_worker_renews(play: Play) -> None:
    play.begin()
    play.say()
    play.disturb("stall")
    play.lose_worker()
    play.claim(1)
    play.resume()
    play.disturb("nudge")


TRACES: dict[str, Callable[[Play], None]] = {
    "snapshot_only_where_the_log_is_gone": lost_worker_says_more_while_it_is_ended,
    "finish_guarded_by_the_run_alone": finish_without_an_answer,
    "finish_neither_guarded_nor_frozen": finish_without_an_answer,
    "appends_go_on_after_the_first_attempt_to_finish": finish_without_an_answer,
    "terminal_event_from_memory": finish_without_an_answer_at_the_deadline,
    "row_made_snapshot_with_an_id_of_the_log": terminal_event_comes_after_the_idle_check,
    "row_made_snapshot_without_an_id": viewer_cut_after_the_snapshot_from_the_row,
    "finished_row_waits_for_its_log": terminal_event_lost_after_it_was_noted,
    "row_made_snapshot_in_pieces": terminal_event_comes_after_the_idle_check,
    "log_made_without_asking_the_row": log_lost_between_two_texts,
    "append_without_comparing": log_lost_between_two_texts,
    "renewal_guarded_by_the_state_alone": lost_worker_renews,
}
