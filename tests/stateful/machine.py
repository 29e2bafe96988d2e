"""The rules from which examples are made."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from models.database import read_now
from models.generation import Generation, Status
from models.route import Route
from models.settings import Settings
from tests.stateful.actors import Actor
from tests.stateful.sweeper import Repairer
from tests.stateful.viewer import Viewer
from tests.stateful.worker import Speech, Worker
from tests.stateful.world import World

#: What can happen at a call, the likelier the more often it stands here; only workers die.
FAULTS = ("stall before", "no answer", "stall after", "stall before", "no answer", "not executed")
DEATHS = ("die before", "die after")

#: Rules that an example has at most.
STEPS = 40

#: Generations and viewers that an example has at most, and how many viewers watch at a time.
GENERATIONS, VIEWERS, WATCHING = 5, 8, 3

number = st.integers(0, 3)

#: After how many events a connection breaks.
cuts = st.sampled_from([None, 1, 2, 1, 3])


Fault = tuple[str, str] | None


def faults(*kinds: str, deadly: bool = False) -> st.SearchStrategy[Fault]:
    """Perhaps something that happens at the actor's next call of one of these kinds."""
    some = st.tuples(st.sampled_from(kinds), st.sampled_from(FAULTS + DEATHS if deadly else FAULTS))
    return st.none() | some | some


@dataclass(frozen=True)
class Ground:
    """What all examples share: a Redis and a database, emptied for each, and the clock."""

    client: redis.Redis
    settings: Settings
    tenant_id: int
    use_clock: Callable[[Any], None]


class Protocol(RuleBasedStateMachine):
    """Generations, workers, sweepers, web processes and viewers; a rule is something that one of them does or suffers."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self._ground = ground
        self.world: World

    @initialize(
        lost=st.sampled_from(["restart", "keep_partial"]),
        broken=st.sampled_from(["keep_partial", "restart"]),
        deadline=st.sampled_from([600.0, 5.0]),
        kept=st.sampled_from([4 * 1024 * 1024, 500]),
        crashes=st.integers(2, 3),
    )
    def begin(self, lost: Any, broken: Any, deadline: float, kept: int, crashes: int) -> None:
        route = Route(
            model="mouth:m",
            on_worker_lost=lost,
            on_provider_broken=broken,
            deadline_seconds=deadline,
            max_crashes=crashes,
            max_calls=4,
        )
        settings = replace(
            self._ground.settings,
            append_window_seconds=0.0,
            max_unsent_bytes=kept,
            sweep_seconds=3.0,
            renew_seconds=4.0,
            max_open_per_visitor=1000,
            cache_seconds=0.0,
        )
        self.world = World(self._ground.client, settings, route, self._ground.tenant_id, self._ground.use_clock)
        self.world.post()
        self.world.claim(self.world.workers[0], self.world.generations[0])
        self.world.watch(self.world.generations[0])

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.world.run()
            self._raise()

    def _raise(self) -> None:
        assert not self.world.oracle.violations, "\n".join(self.world.oracle.violations)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            if not self.world.oracle.violations:
                self.world.heal()
                self._raise()
        finally:
            self.world.close()

    @property
    def _stalled(self) -> list[Actor]:
        return [each for each in self.world.actors if each.stalled]

    @property
    def _may_come(self) -> bool:
        return len(self.world.viewers) < VIEWERS and sum(not each.ended for each in self.world.viewers) < WATCHING

    def _arm(self, actor: Actor, fault: Fault) -> None:
        actor.armed = fault or actor.armed

    def _generation(self, index: int) -> str:
        """The newest first: what has ended early makes room for more."""
        return self.world.generations[-1 - index % len(self.world.generations)]

    def _worker(self, index: int) -> Worker:
        return self.world.workers[index % len(self.world.workers)]

    def _speech(self, index: int) -> tuple[Worker, Speech]:
        found = [(worker, speech) for worker in self.world.workers for speech in worker.mouth.open_speeches]
        return found[index % len(found)]

    # What goes on. Rules are chosen alike often, so what is to be rare is one of many ways of one rule

    @precondition(lambda self: self.world.speeches)
    @rule(speech=number, pieces=st.integers(1, 3), fault=faults("append", "append", "finish", deadly=True))
    def say(self, speech: int, pieces: int, fault: Fault) -> None:
        worker, found = self._speech(speech)
        self._arm(worker, fault)
        self.world.say(found, pieces)

    @precondition(lambda self: self.world.speeches)
    @rule(
        speech=number,
        broken=st.sampled_from([False, False, True]),
        fault=faults("finish", "append", "finish", "append", "mark_published", "restart_run", deadly=True),
    )
    def end_call(self, speech: int, broken: bool, fault: Fault) -> None:
        worker, found = self._speech(speech)
        self._arm(worker, fault)
        self.world.end_call(found, broken=broken)

    @precondition(lambda self: self.world.open_generations or len(self.world.generations) < GENERATIONS)
    @rule(worker=number, generation=number, fault=faults("_claim", "append", "still_holds", deadly=True))
    def claim(self, worker: int, generation: int, fault: Fault) -> None:
        self._arm(self._worker(worker), fault)
        found = self.world.open_generations or [self.world.post()]
        self.world.claim(self._worker(worker), found[generation % len(found)])

    @rule(repairer=number, expired=st.booleans(), generation=number, fault=faults(*Repairer.KINDS))
    def sweep(self, repairer: int, expired: bool, generation: int, fault: Fault) -> None:
        if expired:
            row = (Generation.id == self._generation(generation)) & (Generation.status == Status.RUNNING)
            Generation.update(lease_until=read_now() - 1).where(row).execute()
        found: Repairer = self.world.repairers[repairer % 2]
        self._arm(found, fault)
        found.look()

    @rule(seconds=st.sampled_from([1.0, 6.0, 0.1, 2.5, 10.0]), cut_after=cuts)
    def pass_time(self, seconds: float, cut_after: int | None) -> None:
        self.world.pass_seconds(seconds)
        self.world.come_back(cut_after)

    @precondition(lambda self: self._stalled)
    @rule(
        actor=number, outcomes=st.lists(st.sampled_from(["", "", "no answer", "not executed"]), min_size=1, max_size=3)
    )
    def step(self, actor: int, outcomes: list[str]) -> None:
        found = self._stalled[actor % len(self._stalled)]
        for outcome in outcomes:
            self.world.step(found, outcome)

    @precondition(lambda self: self._stalled)
    @rule(actor=number)
    def resume(self, actor: int) -> None:
        self._stalled[actor % len(self._stalled)].stalled = False

    @rule(
        what=st.sampled_from(["lost", "tail lost", "lost", "tail lost", "empty", "full", "away", "back", "back"]),
        generation=number,
        entries=st.integers(1, 3),
    )
    def redis(self, what: str, generation: int, entries: int) -> None:
        match what:
            case "lost":
                self.world.lose_log(self._generation(generation))
            case "tail lost":
                self.world.lose_tail(self._generation(generation), entries)
            case "empty":
                self.world.flush()
            case "full":
                self.world.redis_full = True
            case "away":
                self.world.set_away(True)
            case "back":
                self.world.redis_full = False
                self.world.set_away(False)

    @rule(what=st.sampled_from(["cancel", "nudge", "post", "stall", "stall", "kill", "drain"]), which=st.integers(0, 7))
    def disturb(self, what: str, which: int) -> None:
        match what:
            case "cancel":
                self.world.cancel(self._generation(which))
            case "nudge":
                self._worker(which).renew()
            case "post" if len(self.world.generations) < GENERATIONS:
                self.world.post()
            case "stall":
                self.world.actors[which % len(self.world.actors)].stalled = True
            case "kill":
                self.world.kill(self._worker(which))
            case "drain":
                self.world.drain(self._worker(which))

    # Viewers

    @precondition(lambda self: self._may_come or self.world.leavers)
    @rule(
        viewer=number,
        generation=number,
        web=number,
        cut_after=cuts,
        fault=faults("message", "message", "find_owned", "find", "read", "subscribe", "_ended", "tails"),
        forged=st.none() | st.none() | st.none() | st.tuples(st.integers(0, 4), st.integers(0, 5)),
    )
    def connect(
        self,
        viewer: int,
        generation: int,
        web: int,
        cut_after: int | None,
        fault: Fault,
        forged: tuple[int, int] | None,
    ) -> None:
        found: list[Viewer | None] = [*self.world.leavers]
        if self._may_come:
            found.append(None)
        chosen = found[viewer % len(found)] or self.world.watch(self._generation(generation))
        if forged is not None and not chosen.ended:
            chosen.cursor, chosen.forged = f"{forged[0]}-{forged[1]}", True
        self._arm(self.world.webs[web % 2], fault)
        chosen.connect(self.world.webs[web % 2], cut_after)

    @precondition(lambda self: any(viewer.connection for viewer in self.world.viewers))
    @rule(
        viewer=number,
        how=st.sampled_from(["cut", "cut", "subscription", "fault", "fault"]),
        fault=faults("message", "_ended", "tails", "read"),
    )
    def interfere(self, viewer: int, how: str, fault: Fault) -> None:
        connected = [each.connection for each in self.world.viewers if each.connection]
        connection = connected[viewer % len(connected)]
        match how:
            case "cut":
                connection.cut()
            case "subscription":
                self.world.break_subscription(connection.web)
            case "fault":
                self._arm(connection.web, fault)
