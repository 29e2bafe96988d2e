"""Faults in which processes begin anew: by the parent that keeps them, by whoever stops them, or all of them in turn."""

import asyncio
import contextlib
import http.client
import itertools
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.worker import LAST_SECONDS
from tests.fakes.openai_server import Answer
from tests.faults.installation import READY, Installation, Process
from tests.faults.oracle import check_end, check_log, check_quiet, finish
from tests.faults.rows import Context, Figures, row
from tests.faults.viewer import Viewer
from tests.system.product import alive, descendants

#: How a request ends that meets a server which goes away.
BROKEN = (OSError, http.client.HTTPException)

#: Tokens of a short answer, and seconds from one token to the next.
SHORT, TOKEN_SECONDS = 15, 0.05

#: Slots of each of two workers, which half as many requests as both have fill.
SLOTS = 3


@row("F6", "kill -9 one of two worker processes under one parent")
async def f06(context: Context) -> Figures:
    async with Installation(context.folder, context.durations, {"STREAMER_WORKER_THREADS": str(SLOTS)}) as it:
        (_, port), parent = await asyncio.gather(it.start_web(), it.start_worker(processes=2))
        it.provider.usually = Answer(tokens=150, delay_seconds=0.02)
        routes = {f"f6 {number}": ("chat", "keep")[number % 2] for number in range(2 * SLOTS)}
        chats = {message: await it.ask(port, message, route=route) for message, route in routes.items()}
        viewers = {message: await it.watch(port, chat, message) for message, chat in chats.items()}
        following = [asyncio.create_task(viewer.follow()) for viewer in viewers.values()]
        for viewer in viewers.values():
            await viewer.reach(context.random.randrange(100, 400))
        seen = {message: len(viewer.text) for message, viewer in viewers.items()}
        lost = _kill_worker_of(it, chats["f6 0"]["id"])
        killed = time.monotonic()
        await it.until(lambda: parent.said().count(READY) == 3, it.durations.bound(15))
        back = round(time.monotonic() - killed, 2)
        await asyncio.gather(*following)
        for message, chat in chats.items():
            ended = await finish(it, port, chat, viewers[message])
            kept = chat["id"] in lost and routes[message] == "keep"
            assert ended["status"] == ("incomplete" if kept else "done"), (message, ended["status"])
            assert viewers[message].runs == ([1, 2] if chat["id"] in lost and not kept else [1]), viewers[message].runs
            assert len(ended["text"]) >= seen[message], "what was seen was not kept"
        assert parent.running, parent.said()
        processes = descendants(parent.pid)
        parent.kill()
        await it.until(lambda: not any(map(alive, processes)), 30)  # nobody is left without a parent
        return {"in flight": len(chats), "of them lost": len(lost), "worker back after s": back}


def _kill_worker_of(it: Installation, generation_id: str) -> set[str]:
    """Kills the worker process that works on this generation, and returns the ids of all that it works on."""
    sql = "SELECT worker.pid, worker.id FROM worker JOIN generation ON generation.worker = worker.id WHERE generation.id = ?"
    ((pid, worker),) = it.rows(sql, generation_id)
    os.kill(pid, signal.SIGKILL)
    return {each for (each,) in it.rows("SELECT id FROM generation WHERE worker = ? AND status = 'running'", worker)}


@row("F10", "SIGTERM a worker mid-stream")
async def f10(context: Context) -> Figures:
    drain_seconds = 60.0 if context.durations.real else 5.0
    drains = {"STREAMER_WORKER_DRAIN_SECONDS": str(drain_seconds)}
    patient = {"STREAMER_PROVIDER_IDLE_SECONDS": "300"}  # what hangs does so to the end of the drain
    async with Installation(context.folder, context.durations, drains | patient) as it:
        (_, port), stopped = await asyncio.gather(it.start_web(), it.start_worker())
        it.provider.script_for("f10 brief", Answer(tokens=60, fault="hold", at=20))
        for message in ("f10 long", "f10 keep"):
            it.provider.script_for(message, Answer(tokens=60, fault="hang", at=20))
        routes = {"f10 brief": "chat", "f10 long": "chat", "f10 keep": "keep"}
        chats = {message: await it.ask(port, message, route=route) for message, route in routes.items()}
        viewers = {message: await it.watch(port, chat, message) for message, chat in chats.items()}
        following = [asyncio.create_task(viewer.follow(drain_seconds + 60)) for viewer in viewers.values()]
        for viewer in viewers.values():
            await viewer.reach(200)
        await it.start_worker()
        stopped.send(signal.SIGTERM)
        asked = time.monotonic()
        await it.until(lambda: "stopping: 3 generations" in stopped.said(), 30)
        it.provider.release()
        new = await asyncio.gather(*(_started_elsewhere(it, port, f"f10 new {each}", stopped) for each in range(3)))
        assert stopped.running, "it was gone before they came"
        code = await stopped.wait(drain_seconds + 30)
        drained = round(time.monotonic() - asked, 1)
        assert drained <= drain_seconds + max(LAST_SECONDS, it.durations.bound(3)), f"it went after {drained} s"
        assert code == 0 or not it.durations.strict, stopped.said()  # a busy machine ends it before it has tidied up
        brief, long = it.row(chats["f10 brief"]["id"]), chats["f10 long"]
        await it.until(lambda: it.row(long["id"])["run"] == 2, it.durations.bound(15))
        handed_on = max(0.0, round(time.monotonic() - asked - drained, 2))
        await asyncio.gather(*following)
        ended = {message: await finish(it, port, chat, viewers[message]) for message, chat in chats.items()}
        assert (brief["status"], brief["run"]) == ("done", 1), "what could end in time was not let"
        assert (ended["f10 long"]["status"], viewers["f10 long"].runs) == ("done", [1, 2])
        assert (ended["f10 keep"]["finish_reason"], len(ended["f10 keep"]["text"])) == ("interrupted", 20 * 12)
        assert it.rows("SELECT count(*) FROM generation WHERE crashes > 0") == [(0,)]
        for generation_id, _ in new:
            assert (await it.until_ended(generation_id, 30))["status"] == "done"
            await check_log(it, generation_id)
        slowest = max(seconds for _, seconds in new)
        return {"new ones start elsewhere after s": slowest, "drained in s": drained, "run 2 after s": handed_on}


async def _started_elsewhere(it: Installation, port: int, message: str, stopped: Process) -> tuple[str, float]:
    """The id of a new request, and the seconds from its POST to its claim, by another worker than the one that is stopping."""
    began = time.monotonic()
    chat = await it.ask(port, message)
    await it.until(lambda: it.row(chat["id"])["run"] == 1, it.durations.bound(2))
    seconds = round(time.monotonic() - began, 2)
    ((pid,),) = it.rows("SELECT pid FROM worker WHERE id = ?", it.row(chat["id"])["worker"])
    assert pid != stopped.pid
    return chat["id"], seconds


@dataclass(slots=True)
class Load:
    """Visitors who ask for one thing after another, whichever web process answers, and follow each answer to its end.

    A POST that meets a server which goes away is sent again, with the same idempotency key.
    """

    it: Installation
    ports: Sequence[int]
    over: asyncio.Event = field(default_factory=asyncio.Event)
    viewers: dict[str, Viewer] = field(default_factory=dict)
    """Those of each generation, by its id."""
    posts: int = 0
    repeated: int = 0
    slowest_post_seconds: float = 0.0

    async def visit(self, user: str, tokens: int) -> None:
        """Asks until it is over, for answers of that length."""
        for number in itertools.count():
            if self.over.is_set():
                return
            message = f"{user}-{number}"
            self.it.provider.script_for(message, *[Answer(tokens=tokens, delay_seconds=TOKEN_SECONDS)] * 9)
            chat = await self._post(message, user)
            viewer = await self.it.watch(self.ports[0], chat, message, user)
            viewer.oracle = self.it.oracle(message, tokens)
            self.viewers[chat["id"]] = viewer
            await follow_anywhere(viewer, self.ports, self.it.durations.bound(60))

    async def _post(self, message: str, user: str) -> dict[str, Any]:
        began = time.monotonic()
        self.posts += 1
        for port in itertools.cycle(self.ports):
            body, given = {"message": message}, {"idempotency-key": message}
            token = await self.it.visitor(port, user)
            with contextlib.suppress(*BROKEN):
                status, found, _ = await self.it.call(port, "POST", "/ai/v1/chat", body, token, given)
                assert status in (202, 503), (status, found)
                if status == 202:
                    break
            self.repeated += 1
            assert time.monotonic() - began < self.it.durations.bound(30), "nobody takes it"
            await asyncio.sleep(0.05)
        self.slowest_post_seconds = max(self.slowest_post_seconds, round(time.monotonic() - began, 2))
        return dict(found)


async def follow_anywhere(viewer: Viewer, ports: Sequence[int], seconds: float) -> None:
    """Reads to the terminal event, coming back to one process after the other. TimeoutError after that time."""
    async with asyncio.timeout(seconds):
        for viewer.port in itertools.cycle(ports):
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await viewer.connect_once()
            if viewer.end is not None or viewer.finished_204:
                return
            await asyncio.sleep(0.05)


@row("F12", "rolling restart of everything under load")
async def f12(context: Context) -> Figures:
    visitors, rounds = (10, 3) if context.durations.strict else (3, 1)
    # With those of a worker alone, 60 s, no answer would be handed on; `up` has 5 s. A long answer takes longer than a drain, and
    # less than from one worker's stop to the next's: each start anew is a call, and calls are counted.
    real = {"STREAMER_WORKER_DRAIN_SECONDS": "5"}
    short = {"STREAMER_WORKER_DRAIN_SECONDS": "1", "STREAMER_WEB_DRAIN_SECONDS": "2"}
    drains, long = (real, 160) if context.durations.real else (short, 80)
    users = {f"long{each}" if each % 3 else f"short{each}": long if each % 3 else SHORT for each in range(visitors)}
    async with Installation(context.folder, context.durations, drains) as it:
        first, second, *workers = await asyncio.gather(
            it.start_web(), it.start_web(), it.start_worker(), it.start_worker()
        )
        webs = {port: web for web, port in (first, second)}
        load = Load(it, list(webs))
        for user in users:
            await it.visitor(first[1], user)
        visiting = [asyncio.create_task(load.visit(user, tokens)) for user, tokens in users.items()]
        slowest = 0.0
        for _ in range(rounds):
            for port, index in zip(webs, range(2), strict=True):
                slowest = max(slowest, await _stop(webs[port]))
                webs[port], _ = await it.start_web(port=port)
                await it.until(lambda worker=workers[index]: _is_busy_for_long(it, worker, long), 60)  # type: ignore[misc]
                slowest = max(slowest, await _stop(workers[index]))
                workers[index] = await it.start_worker()
        load.over.set()
        await asyncio.gather(*visiting)
        figures = await _nothing_lost(it, load)
        await asyncio.gather(*(check_quiet(it, port) for port in webs))
        return figures | {"processes restarted": 4 * rounds, "slowest stop s": slowest}


def _is_busy_for_long(it: Installation, worker: Process, tokens: int) -> bool:
    """Whether it is at the beginning of a long answer, which will outlive its drain."""
    of_worker = "JOIN worker ON generation.worker = worker.id WHERE worker.pid = ? AND generation.status = 'running'"
    begun = "generation.message LIKE 'long%' AND length(generation.text) BETWEEN 1 AND ?"
    return bool(it.rows(f"SELECT 1 FROM generation {of_worker} AND {begun}", worker.pid, tokens * 12 // 4))


async def _stop(process: Process) -> float:
    """Asks it to end, and returns the seconds that it takes."""
    process.send(signal.SIGTERM)
    began = time.monotonic()
    code = await process.wait(120)
    assert code == 0, f"{process.name} ended with {code}: {process.said()}"
    return round(time.monotonic() - began, 2)


async def _nothing_lost(it: Installation, load: Load) -> Figures:
    """Every POST is one generation, each has ended as asked for, log == row == viewer, and each call is in the ledger."""
    assert it.rows("SELECT count(*) FROM generation") == [(load.posts,)] == [(len(load.viewers),)]
    told = "message, status, run, crashes, calls, finish_reason, error_code"
    wrong = it.rows(f"SELECT {told} FROM generation WHERE status <> 'done' OR crashes > 0")
    assert not wrong, wrong
    for generation_id, viewer in load.viewers.items():
        check_end(it, generation_id, viewer)
        await check_log(it, generation_id)
        assert viewer.text == viewer.oracle, "an answer is not whole"
        assert not viewer.refusals, viewer.refusals
    assert it.rows("SELECT count(*) FROM provider_call") == [(it.provider.calls,)]
    ((handed_on,),) = it.rows("SELECT count(*) FROM generation WHERE run > 1")
    moved = sum(viewer.connections > 1 for viewer in load.viewers.values())
    assert handed_on, "no answer outlived a worker's drain"
    assert moved, "no viewer had to come back"
    return {
        "posts": load.posts,
        "sent again": load.repeated,
        "slowest post s": load.slowest_post_seconds,
        "handed on": handed_on,
        "viewers moved": moved,
        "lost": 0,
        "doubled": 0,
        "stuck": 0,
    }
