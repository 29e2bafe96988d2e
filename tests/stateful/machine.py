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
from tests.stateful.web import Web
from tests.stateful.worker import Worker
from tests.stateful.world import World

FAULTS = ("stall before", "stall after", "no answer", "not executed", "die before", "die after")

number = st.integers(0, 3)


def armings(kinds: tuple[str, ...], faults: tuple[str, ...]) -> st.SearchStrategy[tuple[str, str]]:
    return st.tuples(st.sampled_from(kinds), st.sampled_from(faults))


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
        deadline=st.sampled_from([600.0, 15.0]),
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
        settings = replace(self._ground.settings, append_window_seconds=0.0, max_unsent_bytes=kept)
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

    def _generation(self, index: int) -> str:
        return self.world.generations[index % len(self.world.generations)]

    def _worker(self, index: int) -> Worker:
        return self.world.workers[index % len(self.world.workers)]

    def _actor(self, index: int) -> Actor:
        return self.world.actors[index % len(self.world.actors)]

    # Work

    @precondition(lambda self: len(self.world.generations) < 2)
    @rule()
    def post(self) -> None:
        self.world.post()

    @rule(worker=number, generation=number)
    def claim(self, worker: int, generation: int) -> None:
        self.world.claim(self._worker(worker), self._generation(generation))

    @precondition(lambda self: self.world.speeches)
    @rule(speech=number, pieces=st.integers(1, 3))
    def say(self, speech: int, pieces: int) -> None:
        self.world.say(self.world.speeches[speech % len(self.world.speeches)], pieces)

    @precondition(lambda self: self.world.speeches)
    @rule(speech=number, broken=st.booleans())
    def end_call(self, speech: int, broken: bool) -> None:
        self.world.end_call(self.world.speeches[speech % len(self.world.speeches)], broken=broken)

    @rule(worker=number)
    def renew(self, worker: int) -> None:
        self._worker(worker).renew()

    @rule(generation=number, nudged=st.booleans())
    def cancel(self, generation: int, nudged: bool) -> None:
        self.world.cancel(self._generation(generation))
        for worker in self.world.workers if nudged else ():
            worker.renew()

    @rule(repairer=number)
    def sweep(self, repairer: int) -> None:
        found: Repairer = self.world.repairers[repairer % 2]
        found.look()

    # Time

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.5, 6.0, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_seconds(seconds)

    @rule(generation=number)
    def expire_lease(self, generation: int) -> None:
        row = (Generation.id == self._generation(generation)) & (Generation.status == Status.RUNNING)
        Generation.update(lease_until=read_now() - 1).where(row).execute()

    # Faults of processes

    @rule(worker=number)
    def kill(self, worker: int) -> None:
        self.world.kill(self._worker(worker))

    @rule(worker=number, fault=armings(Worker.KINDS, FAULTS))
    def arm_worker(self, worker: int, fault: tuple[str, str]) -> None:
        self._worker(worker).armed = fault

    @rule(repairer=number, fault=armings(Repairer.KINDS, FAULTS[:4]))
    def arm_repairer(self, repairer: int, fault: tuple[str, str]) -> None:
        self.world.repairers[repairer % 2].armed = fault

    @rule(web=number, fault=armings(Web.KINDS, FAULTS[:4]))
    def arm_web(self, web: int, fault: tuple[str, str]) -> None:
        self.world.webs[web % 2].armed = fault

    @rule(actor=st.integers(0, 5))
    def stall(self, actor: int) -> None:
        self._actor(actor).stalled = True

    @precondition(lambda self: any(actor.stalled for actor in self.world.actors))
    @rule(actor=number, steps=st.integers(1, 3))
    def step(self, actor: int, steps: int) -> None:
        stalled = [each for each in self.world.actors if each.stalled]
        for _ in range(steps):
            self.world.step(stalled[actor % len(stalled)])

    @precondition(lambda self: any(actor.stalled for actor in self.world.actors))
    @rule(actor=number)
    def resume(self, actor: int) -> None:
        stalled = [each for each in self.world.actors if each.stalled]
        stalled[actor % len(stalled)].stalled = False

    # Faults of Redis

    @rule(everything=st.booleans(), generation=number)
    def lose(self, everything: bool, generation: int) -> None:
        if everything:
            self.world.flush()
        else:
            self.world.lose_log(self._generation(generation))

    @rule(generation=number, entries=st.integers(1, 3))
    def lose_tail(self, generation: int, entries: int) -> None:
        self.world.lose_tail(self._generation(generation), entries)

    @rule(away=st.booleans())
    def redis_away(self, away: bool) -> None:
        self.world.set_away(away)

    @rule(full=st.booleans())
    def redis_full(self, full: bool) -> None:
        self.world.redis_full = full

    @precondition(lambda self: any(self.world.oracle.has_ended(each) for each in self.world.generations))
    @rule(generation=number)
    def purge(self, generation: int) -> None:
        found = self._generation(generation)
        if self.world.oracle.has_ended(found):
            self.world.lose_log(found)

    @rule(web=number)
    def break_subscription(self, web: int) -> None:
        self.world.break_subscription(self.world.webs[web % 2])

    # Viewers

    @precondition(lambda self: len(self.world.viewers) < 3)
    @rule(generation=number)
    def come(self, generation: int) -> None:
        self.world.watch(self._generation(generation))

    @rule(viewer=number, web=number, cut_after=st.none() | st.integers(1, 4))
    def connect(self, viewer: int, web: int, cut_after: int | None) -> None:
        found = self.world.viewers[viewer % len(self.world.viewers)]
        if found.connection is None:
            found.connect(self.world.webs[web % 2], cut_after)

    @precondition(lambda self: any(viewer.connection for viewer in self.world.viewers))
    @rule(viewer=number)
    def cut(self, viewer: int) -> None:
        connected = [each.connection for each in self.world.viewers if each.connection]
        connected[viewer % len(connected)].cut()

    @precondition(lambda self: len(self.world.viewers) < 3)
    @rule(generation=number, run=st.integers(0, 4), seq=st.integers(0, 5), web=number)
    def forge(self, generation: int, run: int, seq: int, web: int) -> None:
        viewer = self.world.watch(self._generation(generation))
        viewer.cursor, viewer.forged = f"{run}-{seq}", True
        viewer.connect(self.world.webs[web % 2], None)
