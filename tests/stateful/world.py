"""All that takes part, the faults that strike it, and how everything heals in the end."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import redis
from redis.exceptions import ConnectionError as RedisAway

from models.admission import Request, admit
from models.database import read_now
from models.errors import ProviderOverloaded
from models.event_log import log_key
from models.generation import Generation
from models.periodic import Worker as WorkerRow
from models.provider_call import ProviderCall
from models.route import Route
from models.settings import Settings
from streamer.chat import _cancel
from tasks.holdings import Stop
from tasks.providers.base import FinishPiece, TextPiece
from tests.stateful.actors import Actor, Call
from tests.stateful.oracle import Oracle
from tests.stateful.sweeper import Queue, Repairer
from tests.stateful.viewer import Viewer
from tests.stateful.virtual_loop import VirtualLoop
from tests.stateful.web import Web
from tests.stateful.worker import Speech, Worker

VISITOR = "visitor"

#: Seconds after the last fault in which everything must have ended, and in which who watches must know it.
HEAL_SECONDS, TELL_SECONDS = 60, 10

#: What a call takes, so that nothing happens at exactly the same time.
CALL_SECONDS = 0.001

#: Calls that one step may execute: beyond it, something turns in a circle.
MAX_CALLS = 5000

#: Timers that may be due within one passing of time.
MAX_TIMERS = 100_000


class World:
    """One example's processes around one Redis and one database."""

    def __init__(
        self, client: redis.Redis, settings: Settings, route: Route, tenant_id: int, use_clock: Callable[[Any], None]
    ) -> None:
        self.client = client
        self.loop = VirtualLoop()
        use_clock(lambda: self.loop.now)
        self.settings = settings
        self.routes = {"chat": route}
        self.tenant_id = tenant_id
        self.oracle = Oracle(client)
        self.queue = Queue()
        self.generations: list[str] = []
        self.redis_away = False
        self.redis_full = False
        """Out of memory: Redis refuses every append, reads go on."""
        self._empty()
        self.viewers: list[Viewer] = []
        self._born = 0
        self.workers = [self._new_worker() for _ in range(2)]
        self._leaving: list[Worker] = []
        self.repairers = [
            Repairer(f"sweeper {n}", self.loop, client, settings, self.queue, periodic=n == 0) for n in range(2)
        ]
        self.webs = [Web(f"web {n}", self.loop, client, settings, tenant_id, VISITOR) for n in range(2)]
        self._graveyard: list[Actor] = []
        self.loop.set_exception_handler(self._broke_off)
        self._listener = _Errors(self.oracle)
        logging.getLogger().addHandler(self._listener)
        self.run()

    def _empty(self) -> None:
        self.client.flushall()
        for table in (ProviderCall, Generation, WorkerRow):
            table.delete().execute()

    def _broke_off(self, _loop: object, context: dict[str, Any]) -> None:
        self.oracle.fail(f"a task broke off: {context.get('message')} {context.get('exception')!r}")

    def _new_worker(self) -> Worker:
        self._born += 1
        return Worker(f"worker {self._born}", self.loop, self.client, self.settings, self.routes, self.oracle.say)

    @property
    def actors(self) -> list[Actor]:
        return [*self.workers, *self.repairers, *self.webs, *self._leaving]

    @property
    def speeches(self) -> list[Speech]:
        """The provider calls under way that have not come to their end."""
        return [speech for worker in self.workers for speech in worker.mouth.open_speeches]

    @property
    def open_generations(self) -> list[str]:
        """Those that have not ended."""
        return [each for each in self.generations if not self.oracle.has_ended(each)]

    @property
    def leavers(self) -> list[Viewer]:
        """The last of those who watched and may come again."""
        return [viewer for viewer in self.viewers if viewer.connection is None][-3:]

    # What moves

    def run(self) -> None:
        """Serves every prompt actor until nothing is left to do at this time."""
        self.loop.settle()
        for _ in range(MAX_CALLS):
            if not any(not actor.stalled and not actor.dead and self.step(actor) for actor in self.actors):
                return
        self.oracle.fail("no end of calls at one time")

    def step(self, actor: Actor, outcome: str = "") -> bool:
        """The oldest call of an actor, with a certain outcome, or the oldest message for it. Whether there was anything."""
        if actor.calls:
            self._serve(actor, actor.calls[0], outcome)
        elif isinstance(actor, Web) and actor.subscription is not None and actor.subscription.inbox:
            self._deliver(actor)
        else:
            return False
        self.loop.settle()
        self._fetch()
        return True

    def _serve(self, actor: Actor, call: Call, outcome: str) -> None:
        fault = outcome or (self._fault(actor, call.kind) if not call.executed else "")
        if isinstance(actor, Web) and fault in ("no answer", "not executed"):
            self.oracle.disturbed = True
        match fault:
            case "stall before":
                actor.stalled = True
            case "stall after":
                self._execute(actor, call)
                actor.stalled = True
            case "die before":
                self.kill(actor)
            case "die after":
                self._execute(actor, call)
                self.kill(actor)
            case "no answer":
                self._execute(actor, call)
                self._answer(call, call.lost)
            case "not executed":
                self._answer(call, call.lost)
            case _:
                self._execute(actor, call)
                self._answer(call, call.error)

    def _fault(self, actor: Actor, kind: str) -> str:
        if actor.armed is None or actor.armed[0] != kind:
            return ""
        fault, actor.armed = actor.armed[1], None
        return fault

    def _execute(self, actor: Actor, call: Call) -> None:
        if call.executed:
            return
        call.executed = True
        self.loop.now += CALL_SECONDS
        try:
            if call.to_redis and self.redis_away:
                raise RedisAway("away")
            call.result = self._work(call)
        except Exception as error:
            call.error = error
        self.oracle.after(actor, call)

    def _work(self, call: Call) -> Any:
        if call.kind != "append" or not self.redis_full:
            return call.work()
        self.client.config_set("maxmemory", "1")
        try:
            return call.work()
        finally:
            self.client.config_set("maxmemory", "0")

    def _answer(self, call: Call, error: Exception | None) -> None:
        if call.answer.done():
            return
        if error is not None:
            call.answer.set_exception(error)
        else:
            call.answer.set_result(call.result)

    def _deliver(self, web: Web) -> None:
        assert web.subscription is not None
        fault = self._fault(web, "message")
        if fault in ("no answer", "not executed"):
            web.subscription.inbox.popleft()
        elif fault in ("stall before", "stall after"):
            web.stalled = True
        else:
            web.subscription.deliver()

    def _fetch(self) -> None:
        for web in self.webs:
            if web.subscription is not None:
                web.subscription.fetch()

    def pass_seconds(self, seconds: float) -> None:
        """Lets time pass, timer by timer."""
        if any(web.stalled for web in self.webs):
            self.oracle.disturbed = True
        until = self.loop.now + seconds
        for _ in range(MAX_TIMERS):
            self.run()
            due = self.loop.next_timer()
            if due is None or due > until:
                break
            self.loop.now = due
        else:
            self.oracle.fail(f"more than {MAX_TIMERS} timers in {seconds} s")
        self.loop.now = until
        self.run()
        self.oracle.check_rows()

    # Who comes and goes

    def post(self) -> str:
        name = f"g{len(self.generations)}"
        request = Request(
            tenant_id=self.tenant_id,
            visitor=VISITOR,
            conversation=None,
            message=name,
            route_name="chat",
            route=self.routes["chat"],
            idempotency_key=None,
            body_hash="",
        )
        row = admit(request, self.settings).generation
        self.generations.append(row.id)
        self.oracle.know(row.id, name)
        self.queue.enqueue(row.id)
        return str(row.id)

    def claim(self, worker: Worker, generation_id: str) -> None:
        if generation_id in self.queue.ids:
            self.queue.ids.remove(generation_id)
        worker.claim(generation_id)

    def say(self, speech: Speech, pieces: int) -> None:
        for _ in range(pieces):
            self._said = getattr(self, "_said", 0) + 1
            speech.give(TextPiece(f"{self.generations.index(speech.id)}.{speech.run}.{self._said} "))

    def end_call(self, speech: Speech, *, broken: bool) -> None:
        speech.give(ProviderOverloaded() if broken else FinishPiece("stop"))

    def drain(self, worker: Worker) -> None:
        """It hands on what it holds, and another takes its place."""
        worker.holdings.stop_all(Stop.DRAINING)
        self._replace(worker)
        self._leaving.append(worker)

    def kill(self, actor: Actor) -> None:
        """Nothing of it ever moves again; another process takes its place."""
        actor.dead = True
        self._graveyard.append(actor)
        for call in actor.calls:
            call.executed = True
        self._replace(actor)

    def _replace(self, actor: Actor) -> None:
        self.workers = [self._new_worker() if each is actor else each for each in self.workers]

    def cancel(self, generation_id: str) -> None:
        _cancel(generation_id, self.tenant_id, VISITOR)
        self.oracle.check_rows()

    def watch(self, generation_id: str) -> Viewer:
        viewer = Viewer(f"viewer {len(self.viewers)}", generation_id, self.oracle.taken)
        self.viewers.append(viewer)
        return viewer

    def come_back(self, cut_after: int | None) -> None:
        """Who was cut off asks again, at another process."""
        for number, viewer in enumerate(self.viewers):
            if viewer.connection is None and not viewer.ended:
                viewer.connect(self.webs[number % len(self.webs)], cut_after)

    # What Redis may do

    def flush(self) -> None:
        """Redis comes back without anything."""
        self.oracle.disturbed = True
        self.client.flushall()
        self.client.script_flush()
        self.queue.ids.clear()
        self.break_subscriptions()

    def lose_log(self, generation_id: str) -> None:
        self.oracle.disturbed = True
        self.client.delete(log_key(generation_id))

    def lose_tail(self, generation_id: str, entries: int) -> None:
        """What a replica has that lacks the last entries: it has never seen their ids."""
        self.oracle.disturbed = True
        key = log_key(generation_id)
        kept: Any = self.client.xrange(key)[:-entries]  # type: ignore[index]
        self.client.delete(key)
        for event_id, fields in kept:
            self.client.xadd(key, fields, id=event_id)

    def break_subscriptions(self) -> None:
        for web in self.webs:
            self.break_subscription(web)

    def break_subscription(self, web: Web) -> None:
        if web.subscription is not None:
            self.oracle.disturbed = True
            web.subscription.break_off()

    def set_away(self, away: bool) -> None:
        self.redis_away = away
        for web in self.webs:
            web.redis_away = away
        if away:
            self.oracle.disturbed = True
            self.break_subscriptions()

    # The end

    def heal(self) -> None:
        """No more faults: everything must come to its one end, and everybody must learn it."""
        self.set_away(False)
        self.redis_full = False
        for actor in self.actors:
            actor.stalled, actor.armed = False, None
        self._help_until(lambda: not self.open_generations, HEAL_SECONDS)
        self._help_until(lambda: all(viewer.ended for viewer in self.viewers), TELL_SECONDS)
        if not self.oracle.violations:
            self._find_what_waits()
        for generation_id in self.generations:
            self.oracle.check_log(generation_id)

    def _find_what_waits(self) -> None:
        for generation_id in self.open_generations:
            row = Generation.get_by_id(generation_id)
            kept = {
                name: row.__data__[name] for name in ("status", "run", "crashes", "calls", "enqueues", "enqueue_at")
            }
            self.oracle.fail(f"{generation_id}: still open after {HEAL_SECONDS} s of health: {kept} at {read_now()}")
        for viewer in self.viewers:
            if not viewer.ended:
                self.oracle.fail(f"{viewer.name} of {viewer.id}: not ended after {TELL_SECONDS} s, at {viewer.cursor}")

    def _help_until(self, done: Callable[[], bool], seconds: int) -> None:
        for _ in range(seconds):
            if done() or self.oracle.violations:
                return
            self._help()
            self.pass_seconds(1.0)

    def _help(self) -> None:
        for speech in self.speeches:
            self.say(speech, 1)
            self.end_call(speech, broken=False)
        waiting, self.queue.ids = self.queue.ids, []
        for number, generation_id in enumerate(waiting):
            self.workers[number % len(self.workers)].claim(generation_id)
        self.come_back(None)

    def close(self) -> None:
        logging.getLogger().removeHandler(self._listener)
        everybody = [*self.actors, *self._graveyard]
        for actor in everybody:
            actor.dead = True
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.set_exception_handler(lambda _loop, _context: None)
        self.loop.settle()
        for web in self.webs:
            if web.subscription is not None:
                web.subscription.break_off()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


class _Errors(logging.Handler):
    """What the product logs as a defect is one."""

    def __init__(self, oracle: Oracle) -> None:
        super().__init__(logging.ERROR)
        self._oracle = oracle

    def emit(self, record: logging.LogRecord) -> None:
        self._oracle.fail(
            f"logged: {record.getMessage()} {record.exc_info[1]!r}" if record.exc_info else record.getMessage()
        )
