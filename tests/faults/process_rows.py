"""Faults of processes: workers, web servers, and messages that kill."""

import asyncio
import contextlib
import http.client
import signal
import time
from typing import Any

from tasks.broker import Queue
from tests.fakes.openai_server import Answer
from tests.faults.installation import Installation, Process
from tests.faults.oracle import check_end, check_log, check_quiet, finish
from tests.faults.rows import Context, Figures, row
from tests.faults.viewer import Viewer

BROKEN = (OSError, http.client.HTTPException)


async def until_run(it: Installation, chat: dict[str, Any], run: int, since: float) -> float:
    """Seconds from `since` (time.monotonic()) until the row was claimed under `run`."""
    await it.until(lambda: it.row(chat["id"])["run"] >= run, it.durations.bound(15))
    return round(time.monotonic() - since, 2)


async def until_dead(process: Process) -> float:
    """When a process that kills itself has done so."""
    assert await process.wait() == -signal.SIGKILL
    return time.monotonic()


@row("F1", "kill -9 worker before claim")
async def f01(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        _, port = await it.start_web()
        worker = await it.start_worker({"STREAMER_KILL_POINT": "before_claim"})
        chat = await it.ask(port, "f1")
        viewer = await it.watch(port, chat, "f1")
        following = asyncio.create_task(viewer.follow())
        died = await until_dead(worker)
        assert it.row(chat["id"])["run"] == 0
        await it.start_worker()
        seconds = await until_run(it, chat, 1, died)
        await following
        ended = await finish(it, port, chat, viewer)
        assert (ended["status"], ended["crashes"], it.provider.calls) == ("done", 0, 1)
        return {"started again after s": seconds, "bytes compared": len(viewer.text.encode())}


@row("F2", "kill -9 after the claim, before the first token")
async def f02(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        _, port = await it.start_web()
        worker = await it.start_worker({"STREAMER_KILL_POINT": "after_claim"})
        chat = await it.ask(port, "f2")
        viewer = await it.watch(port, chat, "f2")
        following = asyncio.create_task(viewer.follow())
        died = await until_dead(worker)
        await it.start_worker()
        seconds = await until_run(it, chat, 2, died)
        await following
        ended = await finish(it, port, chat, viewer)
        assert (ended["status"], ended["run"], ended["crashes"], it.provider.calls) == ("done", 2, 1, 1)
        return {"run 2 after s": seconds, "bytes compared": len(viewer.text.encode())}


@row("F3", "kill -9 mid-stream: restart, or keep the partial text")
async def f03(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        _, port = await it.start_web()
        worker = await it.start_worker()
        it.provider.usually = Answer(tokens=150, delay_seconds=0.02)
        chats = {route: await it.ask(port, f"f3 {route}", route=route) for route in ("chat", "keep")}
        viewers = {route: await it.watch(port, chat, f"f3 {route}") for route, chat in chats.items()}
        following = [asyncio.create_task(viewer.follow()) for viewer in viewers.values()]
        for viewer in viewers.values():
            await viewer.reach(context.random.randrange(100, 600))
        worker.kill()
        died = time.monotonic()
        seen = len(viewers["keep"].text)
        await it.start_worker()
        seconds = await until_run(it, chats["chat"], 2, died)
        await asyncio.gather(*following)
        done = await finish(it, port, chats["chat"], viewers["chat"])
        kept = await finish(it, port, chats["keep"], viewers["keep"])
        assert (done["status"], viewers["chat"].runs) == ("done", [1, 2])
        assert (kept["status"], kept["finish_reason"], kept["terminal_id"]) == ("incomplete", "interrupted", "2-1")
        assert len(kept["text"]) >= seen, "what was seen was not kept"
        return {"run 2 after s": seconds, "characters kept": len(kept["text"]), "seen before": seen}


@row("F4", "kill -9 after the row has ended, before the terminal event")
async def f04(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        _, port = await it.start_web()
        worker = await it.start_worker({"STREAMER_KILL_POINT": "after_finish"})
        chat = await it.ask(port, "f4")
        viewer = await it.watch(port, chat, "f4")
        following = asyncio.create_task(viewer.follow())
        died = await until_dead(worker)
        await following
        seconds = round(time.monotonic() - died, 2)
        assert seconds <= it.durations.bound(10), f"the end came after {seconds} s"
        ended = await finish(it, port, chat, viewer)
        assert (ended["status"], ended["run"], it.provider.calls) == ("done", 1, 1)
        return {"end seen after s": seconds, "bytes compared": len(viewer.text.encode())}


async def _zombie(it: Installation, route: str) -> tuple[Process, int, dict[str, Any], Viewer, asyncio.Task[Viewer]]:
    """A worker that was stopped in the middle of a generation, whose lease has been taken from it meanwhile."""
    _, port = await it.start_web()
    zombie = await it.start_worker()
    it.provider.usually = Answer(tokens=150, delay_seconds=0.02)
    chat = await it.ask(port, "f5", route=route)
    viewer = await it.watch(port, chat, "f5")
    following = asyncio.create_task(viewer.follow(120))
    await viewer.reach(300)
    zombie.send(signal.SIGSTOP)
    await it.start_worker()
    await it.until(lambda: it.row(chat["id"])["run"] >= 2, it.durations.bound(15))
    return zombie, port, chat, viewer, following


async def _woken(it: Installation, zombie: Process, chat: dict[str, Any]) -> int:
    """Lets the zombie go on until it has given up, and returns how many events of run 1 came after one of a later run."""
    zombie.send(signal.SIGCONT)
    settled = "SELECT count(*) FROM provider_call WHERE generation_id = ? AND run = 1 AND ended_at IS NOT NULL"
    await it.until(lambda: it.rows(settled, chat["id"])[0][0] == 1, it.durations.bound(20))
    with it.redis.client() as client:
        entries: Any = client.xrange(f"events:{{{chat['id']}}}")
    runs = [int(entry.split(b"-")[0]) for entry, _ in entries]
    return sum(1 for index, run in enumerate(runs) if run == 1 and max(runs[: index + 1]) > 1)


@row("F5", "a worker stopped past its lease goes on (a zombie), run 2 streaming meanwhile")
async def f05(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        zombie, port, chat, viewer, following = await _zombie(it, "chat")
        late = await _woken(it, zombie, chat)
        await following
        ended = await finish(it, port, chat, viewer)
        assert (ended["status"], ended["run"], viewer.runs, late) == ("done", 2, [1, 2], 0)
        calls = it.rows("SELECT run, outcome FROM provider_call WHERE generation_id = ? ORDER BY number", chat["id"])
        # What the provider had sent before the zombie looked again may have been all of it.
        assert calls in ([(1, "cancelled"), (2, "done")], [(1, "done"), (2, "done")]), calls
        return {"zombie's late events": late, "calls in the ledger": len(calls)}


@row("F5b", "the same, run 2 a sweeper's terminal")
async def f05b(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        zombie, port, chat, viewer, following = await _zombie(it, "keep")
        await following
        late = await _woken(it, zombie, chat)
        ended = await finish(it, port, chat, viewer)
        assert (ended["status"], ended["terminal_id"], late) == ("incomplete", "2-1", 0)
        again = await (await it.watch(port, chat, "f5")).follow()
        check_end(it, chat["id"], again)
        return {"zombie's late events": late, "characters kept": len(ended["text"])}


@row("F5c", "the same, after Redis lost everything")
async def f05c(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        zombie, port, chat, viewer, following = await _zombie(it, "chat")
        await following
        await check_log(it, chat["id"])
        with it.redis.client() as client:
            client.flushdb()
        late = await _woken(it, zombie, chat)
        again = await (await it.watch(port, chat, "f5")).follow()
        ended = check_end(it, chat["id"], viewer, again)
        await check_quiet(it, port)
        assert (ended["status"], ended["run"]) == ("done", 2)
        return {"zombie's late events": late, "new viewer's bytes": len(again.text.encode())}


@row("F7", "kill -9 the web process with 100 viewers")
async def f07(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        web, port = await it.start_web()
        await it.start_worker()
        it.provider.usually = Answer(tokens=250, delay_seconds=0.02)
        chat = await it.ask(port, "f7")
        viewers = [await it.watch(port, chat, "f7") for _ in range(100)]
        following = [asyncio.create_task(viewer.follow(120)) for viewer in viewers]
        await asyncio.gather(*(viewer.reach(300) for viewer in viewers))
        web.kill()
        died = time.monotonic()
        await it.start_web(port=port)
        back = round(time.monotonic() - died, 2)
        await asyncio.gather(*following)
        ended = await finish(it, port, chat, *viewers)
        assert (ended["status"], ended["run"], it.provider.calls) == ("done", 1, 1)
        assert all(viewer.runs == [1] for viewer in viewers), "somebody was told something twice"
        events = sum(len(viewer.events) for viewer in viewers)
        return {"web back after s": back, "viewers exact": len(viewers), "events": events}


async def _broken_post(it: Installation, point: str) -> tuple[int, str]:
    """A POST whose web process dies at `point`; then a new web process. Its port, and the generation's id."""
    web, port = await it.start_web({"STREAMER_KILL_POINT": point})
    await it.visitor(port)
    with contextlib.suppress(*BROKEN):
        await it.ask(port, "f8", key="one")
        raise AssertionError("the POST was answered")
    await until_dead(web)
    ((generation_id,),) = it.rows("SELECT id FROM generation")
    await it.start_web(port=port)
    return port, generation_id


@row("F8", "kill -9 web between commit and enqueue")
async def f08(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        await it.start_worker()
        began = time.monotonic()
        port, generation_id = await _broken_post(it, "after_commit")
        seconds = await until_run(it, {"id": generation_id}, 1, began)
        chat = await it.ask(port, "f8", key="one")
        assert chat["id"] == generation_id
        viewer = await (await it.watch(port, chat, "f8")).follow()
        await finish(it, port, chat, viewer)
        assert it.rows("SELECT count(*) FROM generation") == [(1,)]
        assert it.provider.calls == 1
        return {"started after s": seconds, "generations": 1}


@row("F9", "kill -9 web after enqueue, before the response")
async def f09(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        await it.start_worker()
        port, generation_id = await _broken_post(it, "after_enqueue")
        chat = await it.ask(port, "f8", key="one")
        assert chat["id"] == generation_id
        viewer = await (await it.watch(port, chat, "f8")).follow()
        await finish(it, port, chat, viewer)
        assert it.rows("SELECT count(*) FROM generation") == [(1,)]
        assert it.provider.calls == 1
        return {"generations": 1, "provider calls": it.provider.calls}


@row("F13", "a poisoned message that always kills its worker")
async def f13(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        _, port = await it.start_web()
        poison = {"STREAMER_KILL_POINT": "after_claim=poison"}
        workers = [await it.start_worker(poison)]
        chat = await it.ask(port, "poison")
        viewer = await it.watch(port, chat, "poison")
        following = asyncio.create_task(viewer.follow(300))
        began = time.monotonic()
        while it.row(chat["id"])["terminal_id"] is None:
            if not workers[-1].running:
                workers.append(await it.start_worker(poison, may_die=True))
            assert time.monotonic() - began < it.durations.bound(60), "it never ended"
            await asyncio.sleep(0.05)
        other = await it.ask(port, "healthy")
        healthy = await (await it.watch(port, other, "healthy")).follow()
        await following
        ended = await finish(it, port, chat, viewer)
        await finish(it, port, other, healthy)
        assert (ended["status"], ended["error_code"], healthy.status) == ("error", "crashed", "done")
        assert len(workers) <= 4, "more workers died than the cap allows"
        return {
            "workers killed": sum(not each.running for each in workers),
            "ended after s": round(time.monotonic() - began, 1),
        }


@row("F14", "the same message given to two workers at once")
async def f14(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        _, port = await it.start_web()
        chat = await it.ask(port, "f14")
        queue = Queue(it.redis.url.replace("/0", "/1"))
        for _ in range(30):
            queue.enqueue(chat["id"])
        queue.close()
        await asyncio.gather(it.start_worker(), it.start_worker())
        viewer = await (await it.watch(port, chat, "f14")).follow()
        ended = await finish(it, port, chat, viewer)
        assert (ended["status"], ended["run"], it.provider.calls) == ("done", 1, 1)
        return {"messages": 31, "provider calls": it.provider.calls}


@row("F15", "every worker dead for a while, 1,000 queued")
async def f15(context: Context) -> Figures:
    rows, dead_seconds = (1000, 60.0) if context.durations.strict else (200, 4.0)
    # No lease has to run out here, so that a busy machine need not renew them within a second or two.
    environment = {"STREAMER_WORKER_THREADS": "200", "STREAMER_LEASE_SECONDS": "9", "STREAMER_RENEW_SECONDS": "3"}
    async with Installation(context.folder, context.durations, environment) as it:
        _, port = await it.start_web()
        it.provider.usually = Answer(tokens=3)
        users = [f"u{number}" for number in range(rows)]
        gate = asyncio.Semaphore(16)

        async def post(user: str) -> None:
            async with gate:
                await it.ask(port, f"f15 {user}", user)

        began = time.monotonic()
        await asyncio.gather(*(post(user) for user in users))
        await asyncio.sleep(max(0.0, dead_seconds - (time.monotonic() - began)))
        again, failed = it.rows(
            "SELECT sum(enqueues), sum(CASE status WHEN 'error' THEN 1 ELSE 0 END) FROM generation"
        )[0]
        assert failed == 0, "something failed before its deadline"
        assert again <= rows, f"{again} enqueues beside the first {rows}"
        await it.start_worker()
        returned = time.monotonic()
        waiting = "SELECT count(*) FROM generation WHERE status <> 'done'"
        await it.until(lambda: it.rows(waiting)[0][0] == 0, it.durations.bound(60))
        drained = round(time.monotonic() - returned, 1)
        assert it.provider.calls == rows
        return {"rows": rows, "dead for s": dead_seconds, "enqueues": rows + again, "drained in s": drained}
