"""A worker process: Dramatiq's threads in front, one event loop in which all generations of the process run."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Coroutine, Mapping

import dramatiq
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import Middleware

from models.database import connect
from models.database_threads import DatabaseThreads
from models.event_log import EventLog, connect_redis
from models.host_claim import check_host
from models.kill_point import check_kill_point
from models.redis_address import broker_url, redis_url
from models.route import Route, split
from models.secret import load_secret
from models.settings import Settings
from tasks.answer_cache import AnswerCache
from tasks.breaker import Breaker
from tasks.broker import QUEUE, Queue, UvloopAsyncIO, declare_actor, make_broker
from tasks.dispatcher import Dispatcher
from tasks.end_tasks import end_tasks
from tasks.generate import Generator
from tasks.holdings import Holdings, Stop
from tasks.log_writer import LogWriter
from tasks.providers.registry import Registry
from tasks.route_checks import load_checked_routes
from tasks.sweeper import Sweeper
from tasks.tokenizer import encoder
from tasks.wake_consumer import WakeBroker

logger = logging.getLogger(__name__)

#: How long an idle consumer sleeps at most, in ms. It is woken by what comes; this is its heartbeat.
IDLE_MS = 1000

#: Seconds in which a second SIGINT is the same Ctrl-C, sent on by whatever started us.
SAME_CTRL_C_SECONDS = 0.1

#: Seconds beyond the drain after which a worker that hangs ends itself.
LAST_SECONDS = 3.0


class WorkerState(Middleware):
    """What lives in the worker's event loop: made before the first message is taken, taken down after the last."""

    def __init__(self, settings: Settings, threads: DatabaseThreads, queue: Queue) -> None:
        self.settings = settings
        self.threads = threads
        self.routes = load_checked_routes(settings)
        self.registry = registry_of(self.routes, settings)
        self.holdings = Holdings(settings, threads)
        self._client = connect_redis(redis_url(settings))
        self._listening = connect_redis(redis_url(settings), timeout_seconds=None, connections=2)
        self._writer = LogWriter(EventLog(self._client))
        cache = AnswerCache(settings, load_secret(settings))
        breaker = Breaker(self._client, settings)
        self._generator = Generator(
            settings, threads, self.routes, self.registry, self.holdings, self._writer, cache, breaker
        )
        self._dispatcher = Dispatcher(settings, threads, queue)
        self._tasks: list[asyncio.Task[None]] = []

    async def generate(self, generation_id: str) -> None:
        """The actor. What goes wrong here is a defect: the generation is left to the sweeper, the message is done."""
        try:
            await self._generator.generate(generation_id)
        except Exception:
            logger.exception("generation %s broke off", generation_id)
        self._dispatcher.wake()

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        run_in_loop(self._start())

    async def _start(self) -> None:
        work: list[Coroutine[object, object, None]] = [
            self._writer.run(),
            self.holdings.renew_forever(),
            self.holdings.listen_forever(self._listening),
            self._dispatcher.run(),
            self._load_encodings(),
        ]
        self._tasks = [asyncio.create_task(each) for each in work]

    async def _load_encodings(self) -> None:
        """Reads what counts the tokens of the routes' models now, so that no first answer waits for it."""
        for route in self.routes.values():
            for model in route.all_models:
                await asyncio.to_thread(encoder, split(model)[1])

    async def drain(self) -> None:
        """Lets what runs come to its end within the drain time, then hands the rest on. A claim under way counts as running."""
        self.holdings.retire()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.worker_drain_seconds):
                await self._generator.wait_idle()
        await self.hand_on()
        await self._generator.wait_idle()

    async def hand_on(self) -> None:
        """Stops what runs, for another worker to take up."""
        self.holdings.stop_all(Stop.DRAINING)

    async def close(self) -> None:
        """Ends the process's own tasks and connections."""
        await end_tasks(*self._tasks)
        await self.holdings.forget()
        await self.registry.aclose()
        await self._client.aclose()
        await self._listening.aclose()


def registry_of(routes: Mapping[str, Route], settings: Settings) -> Registry:
    """The providers of all routes. Raises SettingInvalid: a wrong setting is told now, not to a visitor."""
    registry = Registry(settings)
    for route in routes.values():
        for name in sorted(route.providers):
            registry.provider(name)
    return registry


def check(settings: Settings) -> None:
    """Raises SettingInvalid for whatever would keep a worker from starting."""
    check_kill_point(settings)
    connect(settings)
    check_host()
    for each in (redis_url, broker_url, load_secret):
        each(settings)
    registry_of(load_checked_routes(settings), settings)


def run_in_loop(work: Coroutine[object, object, None]) -> None:
    """Runs `work` in the worker's event loop and waits for it."""
    thread = get_event_loop_thread()
    assert thread is not None, "the AsyncIO middleware starts the loop first"
    asyncio.run_coroutine_threadsafe(work, thread.loop).result()


def work(settings: Settings) -> int:
    """Runs a worker until SIGTERM or SIGINT, and returns the exit code. Raises SettingInvalid."""
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before any thread starts: they inherit it
    check_kill_point(settings)
    connect(settings)
    check_host()
    threads = DatabaseThreads(settings.database_threads)
    queue = Queue(broker_url(settings))
    state = WorkerState(settings, threads, queue)
    broker = make_broker(
        broker_url(settings), connections=settings.worker_threads + 50, middleware=[UvloopAsyncIO(), state]
    )
    declare_actor(broker, state.generate)
    worker = dramatiq.Worker(broker, queues={QUEUE}, worker_timeout=IDLE_MS, worker_threads=settings.worker_threads)
    worker.queue_prefetch = settings.worker_threads  # no more than it can start now
    sweeper = Sweeper(settings, threads, queue, redis_url(settings))
    worker.start()
    sweeper.start()
    logger.info("worker %s is ready for %d generations at once", state.holdings.worker, settings.worker_threads)
    signal.sigwait(signals)
    _stop(settings, broker, worker, state, sweeper)
    queue.close()
    threads.close()
    logger.info("worker %s has stopped", state.holdings.worker)
    return 0


def _stop(
    settings: Settings, broker: WakeBroker, worker: dramatiq.Worker, state: WorkerState, sweeper: Sweeper
) -> None:
    """Takes nothing new, drains, hands on; a hanging part ends with the process."""
    watchdog = threading.Timer(settings.worker_drain_seconds + LAST_SECONDS, os._exit, (1,))
    watchdog.daemon = True
    watchdog.start()
    drained = threading.Event()
    threading.Thread(target=_await_another_ctrl_c, args=(state, drained), daemon=True).start()
    sweeper.stop()
    broker.drain()
    logger.info("stopping: %d generations have %g s", len(state.holdings), settings.worker_drain_seconds)
    run_in_loop(state.drain())
    drained.set()
    run_in_loop(state.close())
    worker.stop()
    broker.give_everything_back()
    sweeper.join()
    watchdog.cancel()


def _await_another_ctrl_c(state: WorkerState, drained: threading.Event) -> None:
    """Who presses Ctrl-C again waits for no answer: what runs is handed on now."""
    began = time.monotonic()
    while True:
        signal.sigwait({signal.SIGINT})
        if time.monotonic() - began >= SAME_CTRL_C_SECONDS and not drained.is_set():
            run_in_loop(state.hand_on())
