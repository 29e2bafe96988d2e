"""Faults of Redis: away, empty, slow, forgetful, full, or deaf."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.fakes.openai_server import Answer
from tests.faults.installation import Installation, free_port
from tests.faults.oracle import check_end, finish
from tests.faults.proxy import Proxy
from tests.faults.redis_server import RedisServer
from tests.faults.rows import Context, Figures, row
from tests.faults.viewer import Viewer

Streaming = tuple[int, dict[str, Any], Viewer, "asyncio.Task[Viewer]"]


async def streaming(it: Installation, message: str, tokens: int = 300) -> Streaming:
    """One web and one worker process, in the middle of an answer that somebody watches."""
    _, port = await it.start_web()
    await it.start_worker()
    it.provider.usually = Answer(tokens=tokens, delay_seconds=0.02)
    chat = await it.ask(port, message)
    viewer = await it.watch(port, chat, message)
    following = asyncio.create_task(viewer.follow(200))
    await viewer.reach(200)
    return port, chat, viewer, following


async def until_more(viewer: Viewer, timeout_seconds: float) -> float:
    """Seconds until the viewer hears of something new."""
    began, before = time.monotonic(), len(viewer.events)
    async with asyncio.timeout(timeout_seconds):
        while len(viewer.events) == before:
            viewer.something.clear()
            await viewer.something.wait()
    return round(time.monotonic() - began, 2)


def flush(it: Installation) -> None:
    with it.redis.client() as client:
        client.flushall()


@row("F20", "Redis restarts with its data, mid-stream")
async def f20(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        port, chat, viewer, following = await streaming(it, "f20", tokens=900 if context.durations.real else 400)
        it.redis.kill()
        await asyncio.sleep(12 if context.durations.real else 3)
        it.redis.start()
        seconds = await until_more(viewer, it.durations.bound(5))
        await following
        ended = await finish(it, port, chat, viewer)
        assert (ended["status"], ended["run"], viewer.runs, it.provider.calls) == ("done", 1, [1], 1)
        return {"goes on after s": seconds, "bytes compared": len(viewer.text.encode())}


@row("F21", "Redis loses everything, mid-stream")
async def f21(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        port, chat, viewer, following = await streaming(it, "f21")
        it.provider.usually = Answer(tokens=5)
        earlier = await it.ask(port, "earlier")
        await (await it.watch(port, earlier, "earlier")).follow()
        it.provider.usually = Answer(tokens=300)
        flush(it)
        seconds = await until_more(viewer, it.durations.bound(5))
        late = await (await it.watch(port, chat, "f21")).follow(60)
        await following
        ended = await finish(it, port, chat, viewer, late)
        it.provider.usually = Answer(tokens=5)
        again = await (await it.watch(port, earlier, "earlier")).follow()
        check_end(it, earlier["id"], again)
        assert (ended["status"], ended["run"], viewer.runs) == ("done", 1, [1])
        assert [event.id for event in again.events] == ["0-0", it.row(earlier["id"])["terminal_id"]]
        return {"goes on after s": seconds, "bytes compared": len((viewer.text + late.text).encode())}


@row("F22", "Redis loses everything while a request is queued")
async def f22(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        _, port = await it.start_web()
        chat = await it.ask(port, "f22")
        flush(it)
        began = time.monotonic()
        await it.start_worker()
        viewer = await (await it.watch(port, chat, "f22")).follow()
        ended = await finish(it, port, chat, viewer)
        started = next(event for event in viewer.events if event.kind == "started")
        seconds = round(started.at - began, 2)
        assert seconds <= it.durations.bound(15)
        assert (ended["status"], it.provider.calls) == ("done", 1)
        return {"started after s": seconds}


@row("F23", "Redis is away at POST, or dies right after the commit")
async def f23(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        _, port = await it.start_web()
        await it.start_worker()
        token = await it.visitor(port)
        earlier = await it.ask(port, "earlier")
        await (await it.watch(port, earlier, "earlier")).follow()
        it.redis.kill()
        status, body, headers = await it.call(port, "POST", "/ai/v1/chat", {"message": "f23"}, token)
        assert (status, body["error"]) == (503, "unavailable"), body
        assert int(headers["retry-after"]) >= 1
        assert it.rows("SELECT count(*) FROM generation") == [(1,)], "something was stored"
        assert (await it.poll(port, earlier))["status"] == "done"
        it.redis.start()
        it.proxy.lose_request = lambda data: b"enqueue" in data
        chat = await it.ask(port, "f23")
        lost = it.proxy.lost
        it.proxy.lose_request = lambda data: False
        viewer = await (await it.watch(port, chat, "f23")).follow()
        ended = await finish(it, port, chat, viewer)
        assert lost >= 1
        assert (ended["status"], it.provider.calls) == ("done", 2)
        return {"refused with": status, "enqueues lost": lost, "then": ended["status"]}


@row("F24", "Redis is away to the end of an answer, and longer")
async def f24(context: Context) -> Figures:
    environment = {"STREAMER_MAX_UNSENT_BYTES": "8000"}
    async with Installation(context.folder, context.durations, environment) as it:
        port, chat, viewer, following = await streaming(it, "f24", tokens=200)
        it.redis.kill()
        row = await it.until_ended(chat["id"], it.durations.bound(30))
        assert row["status"] == "done", "the result did not go to the row"
        assert (await it.poll(port, chat))["result"]["text"] == it.oracle("f24", 200)
        await asyncio.sleep(60 if context.durations.real else 2)
        it.redis.start()
        returned = time.monotonic()
        await following
        seconds = round(time.monotonic() - returned, 2)
        assert seconds <= it.durations.bound(10)
        await finish(it, port, chat, viewer)
        return {"end seen after s": seconds, "bytes compared": len(viewer.text.encode())}


@row("F25", "replies of Redis are lost after execution")
async def f25(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        port, chat, viewer, following = await streaming(it, "f25")

        def is_append(data: bytes) -> bool:
            return b"EVALSHA" in data and b"events:{" in data and context.random.random() < 0.3

        it.proxy.lose_reply = is_append
        await viewer.reach(2500, 60)
        it.proxy.lose_reply = lambda data: False
        await following
        ended = await finish(it, port, chat, viewer)
        assert it.proxy.lost >= 3, "hardly anything was lost"
        assert (ended["status"], viewer.runs, it.provider.calls) == ("done", [1], 1)
        return {"replies lost": it.proxy.lost, "bytes compared": len(viewer.text.encode())}


@row("F26", "only the pub/sub connections are killed, or go deaf")
async def f26(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        port, chat, viewer, following = await streaming(it, "f26", tokens=700 if context.durations.real else 400)
        with it.redis.client() as client:
            client.client_kill_filter(_type="pubsub")
        killed = await until_more(viewer, it.durations.bound(7))
        heard = it.proxy.lost
        it.proxy.mute = lambda sent: b"SUBSCRIBE" in sent
        await it.until(lambda: it.proxy.lost > heard, 30)
        deaf = await until_more(viewer, it.durations.bound(7))
        it.proxy.mute = lambda sent: False
        await following
        ended = await finish(it, port, chat, viewer)
        assert (ended["status"], viewer.runs) == ("done", [1])
        return {"after a kill s": killed, "deaf s": deaf, "bytes compared": len(viewer.text.encode())}


@row("F27", "the terminal event's publish is lost")
async def f27(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        port, chat, viewer, following = await streaming(it, "f27", tokens=100)
        it.proxy.swallow = lambda data: b"message" in data and b" done {" in data
        await it.until_ended(chat["id"], 30)
        began = time.monotonic()
        await following
        seconds = round(time.monotonic() - began, 2)
        assert seconds <= it.durations.bound(10)
        assert it.proxy.lost == 1, f"{it.proxy.lost} messages were lost"
        await finish(it, port, chat, viewer)
        return {"end seen after s": seconds}


@row("F28", "failover to a replica that misses the last second")
async def f28(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        between = Proxy(it.redis.port)
        await between.start()
        folder = Path(tempfile.mkdtemp(dir=it.folder))
        replica = RedisServer(folder, free_port())
        await asyncio.to_thread(replica.start, "--replicaof", "127.0.0.1", str(between.port))
        try:
            with replica.client() as client:
                await it.until(lambda: client.info("replication")["master_link_status"] == "up", 30)
                port, chat, viewer, following = await streaming(it, "f28")
                between.hold()
                missed = len(viewer.events) + 40
                await it.until(lambda: len(viewer.events) >= missed, 30)
                it.redis.kill()
                client.replicaof("NO", "ONE")
                entries = client.xlen(f"events:{{{chat['id']}}}")
                seen = len([event for event in viewer.events if event.id])
                it.proxy.target_port = replica.port
                it.proxy.cut()
            it.redis, away = replica, it.redis
            seconds = await until_more(viewer, it.durations.bound(5))
            await following
            ended = await finish(it, port, chat, viewer)
            assert (ended["status"], ended["run"], viewer.runs) == ("done", 1, [1])
            assert entries < seen, "the replica missed nothing"
            it.redis = away
            return {
                "events missed": seen - entries,
                "goes on after s": seconds,
                "bytes compared": len(viewer.text.encode()),
            }
        finally:
            await between.stop()
            replica.kill()


@row("F29", "Redis is out of memory")
async def f29(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        port, chat, viewer, following = await streaming(it, "f29", tokens=150)
        with it.redis.client() as client:
            client.config_set("maxmemory", "1")
        posted = await it.ask(port, "f29 meanwhile", "u2")
        ended = await it.until_ended(chat["id"], it.durations.bound(30))
        began = time.monotonic()
        await following
        seconds = round(time.monotonic() - began, 2)
        assert seconds <= it.durations.bound(10)
        with it.redis.client() as client:
            client.config_set("maxmemory", "0")
        await finish(it, port, chat, viewer)
        it.provider.usually = Answer(tokens=150)
        second = await (await it.watch(port, posted, "f29 meanwhile", "u2")).follow()
        await finish(it, port, posted, second)
        assert ended["status"] == second.status == "done"
        return {"end seen after s": seconds, "posted meanwhile": second.status}
