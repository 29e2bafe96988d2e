"""Faults of clients: gone at any moment, back with any cursor, the same request many times, cancelled at any point."""

import asyncio
import time
from typing import Any
from urllib.parse import quote

from tests.fakes.openai_server import Answer
from tests.faults.installation import Installation
from tests.faults.oracle import check_end, check_quiet, finish
from tests.faults.other_tenant import visitor_of_another_tenant
from tests.faults.rows import Context, Figures, row
from tests.faults.viewer import Viewer


@row("F40", "viewers disconnect at every point, at random")
async def f40(context: Context) -> Figures:
    cuts_wanted = 1000 if context.durations.strict else 200
    async with Installation(context.folder, context.durations) as it:
        _, port = await it.start_web()
        await it.start_worker()
        it.provider.usually = Answer(tokens=150, delay_seconds=0.02)
        cuts = viewers = events = 0

        async def watch(chat: dict[str, Any], message: str) -> Viewer:
            viewer = await it.watch(port, chat, message)
            while viewer.end is None:
                await viewer.connect_once(context.random.choice((0, 0, 1, 1, 2, 3, 5, 8)))
            at_the_end = await it.watch(port, chat, message)
            at_the_end.last_id = viewer.last_id
            await at_the_end.connect_once()
            assert at_the_end.finished_204, "a reconnect at the terminal id was not answered with 204"
            return viewer

        turn = 0
        while cuts < cuts_wanted:
            turn += 1
            message = f"f40 {turn}"
            chat = await it.ask(port, message)
            async with asyncio.timeout(200):
                group = await asyncio.gather(*(watch(chat, message) for _ in range(20)))
            ended = check_end(it, chat["id"], *group)
            for viewer in group:
                ids = [event.id for event in viewer.events if event.id]
                assert len(ids) == len(set(ids)), "an event came twice"
                assert ids[-1] == ended["terminal_id"]
                assert len(ids) == int(ended["terminal_id"].split("-")[1]) + 1, "an event is missing"
            cuts += sum(viewer.connections - 1 for viewer in group)
            viewers += len(group)
            events += sum(len(viewer.events) for viewer in group)
        await check_quiet(it, port)
        return {"cuts": cuts, "viewers exact": viewers, "events": events}


def _texts(viewer: Viewer) -> dict[str, str]:
    """What was shown after each event."""
    replayed, texts = Viewer(0, "", "", viewer.oracle), {}
    for event in viewer.events:
        replayed._take(event)
        texts[event.id or ""] = replayed.text
    return texts


@row("F41", "cursors of every kind")
async def f41(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        _, port = await it.start_web()
        first = await it.start_worker()
        it.provider.usually = Answer(tokens=150, delay_seconds=0.02)
        chat = await it.ask(port, "f41")
        viewer = await it.watch(port, chat, "f41")
        following = asyncio.create_task(viewer.follow())
        await viewer.reach(200)
        first.kill()
        await it.start_worker()
        await following
        ended = await finish(it, port, chat, viewer)
        whole = [event.id for event in viewer.events if event.id]
        seen = _texts(viewer)
        in_run_1 = whole[context.random.randrange(3, 9)]
        tried = 0

        async def told(header: str | None, query: str = "") -> list[str | None]:
            nonlocal tried
            tried += 1
            other = await it.watch(port, chat, "f41")
            other.last_id, other.path = header, other.path + query
            other.text = seen.get(header or query.removeprefix("?after="), "")
            await other.connect_once()
            assert not other.refusals, f"refused with {other.refusals}"
            check_end(it, chat["id"], other)
            return [event.id for event in other.events if event.id]

        after = whole[whole.index(in_run_1) + 1 :]
        assert await told(in_run_1) == after, "a cursor of an earlier run got something else than the rest"
        assert await told(whole[-2]) == whole[-1:]
        assert await told(whole[-2], "?after=1-0") == whole[-1:], "the query won over the header"
        assert await told(None, f"?after={whole[-2]}") == whole[-1:]
        garbage = [
            "",
            "x",
            "2:17",
            "-1-0",
            "1-",
            "1" * 10_000,
            "1-1\u00e9",
            "0-0",
            "9" * 9 + "-" + "x",
            "' OR 1=1 --",
            "١-١",
        ]
        for cursor in garbage:
            assert await told(None, f"?after={quote(cursor)}") == whole, f"cursor {cursor[:20]!r}"
            if cursor.isascii() and cursor.isprintable():
                assert await told(cursor) == whole, f"cursor {cursor[:20]!r}"
        assert await told(None, "?after=%00") == whole
        assert await told(None, "?after=1-0%0d%0aid:%201-1") == whole
        seen["1-999999"] = ""
        assert await told("1-999999") == whole[whole.index("2-0") :], "beyond run 1 comes run 2"
        assert ended["run"] == 2
        await check_quiet(it, port)
        return {"cursors": tried, "refused": 0}


@row("F42", "reconnects at the terminal id, after the retention, and to an unknown chat")
async def f42(context: Context) -> Figures:
    async with Installation(context.folder, context.durations, {"STREAMER_RETENTION_SECONDS": "1"}) as it:
        _, port = await it.start_web()
        await it.start_worker()
        chat = await it.ask(port, "f42")
        viewer = await (await it.watch(port, chat, "f42")).follow()
        again = await it.watch(port, chat, "f42")
        again.last_id = viewer.last_id
        await again.connect_once()
        with it.redis.client() as client:
            await it.until(lambda: not client.exists(f"events:{{{chat['id']}}}"), 10)
        late = await (await it.watch(port, chat, "f42")).follow()
        check_end(it, chat["id"], viewer, late)
        stranger = await it.watch(port, chat, "f42", "somebody else")
        await stranger.connect_once()
        unknown = await it.watch(port, chat, "f42")
        unknown.path = unknown.path.replace(chat["id"], "01900000-0000-7000-8000-000000000000")
        await unknown.connect_once()
        assert again.finished_204
        assert [event.kind for event in late.events] == ["snapshot", "done"]
        assert stranger.refusals == unknown.refusals == [404]
        await check_quiet(it, port)
        return {"at the end": 204, "after the retention": "snapshot, done", "unknown": 404}


@row("F47", "one idempotency key, 50 times at once")
async def f47(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        (_, port), (_, second) = await asyncio.gather(it.start_web(), it.start_web())
        await it.start_worker()
        await it.visitor(port)
        ports = [context.random.choice((port, second)) for _ in range(50)]
        chats = await asyncio.gather(*(it.ask(each, "f47", key="k") for each in ports))
        ids = {chat["id"] for chat in chats}
        viewer = await (await it.watch(port, chats[0], "f47")).follow()
        await finish(it, port, chats[0], viewer)
        token = await it.visitor(port)
        other_body = {"message": "another"}
        status, body, _ = await it.call(port, "POST", "/ai/v1/chat", other_body, token, {"idempotency-key": "k"})
        assert (status, body["error"]) == (422, "idempotency_mismatch")
        assert (await it.ask(port, "f47", "somebody else", key="k"))["id"] not in ids
        other = await visitor_of_another_tenant(it, port)
        given = {"idempotency-key": "k"}
        status, chat, _ = await it.call(port, "POST", "/ai/v1/chat", {"message": "f47"}, other, given)
        assert (status, chat["id"] not in ids) == (202, True), "another tenant's key was not independent"
        assert len(ids) == 1
        assert it.rows("SELECT count(*) FROM generation") == [(3,)]
        return {"posts": 50, "generations": len(ids), "another body": 422}


async def _cancel(it: Installation, port: int, chat: dict[str, Any]) -> str:
    """Cancels, and returns the status that the answer tells."""
    status, found, _ = await it.call(port, "POST", chat["links"]["cancel"], {}, await it.visitor(port))
    assert status == 202, found
    return str(found["status"])


async def _cancelled(it: Installation, port: int, second: int, chat: dict[str, Any], message: str) -> float:
    """Cancels twice, at two web processes, and returns the seconds until the provider's socket was closed."""
    began = time.monotonic()
    await asyncio.gather(_cancel(it, port, chat), _cancel(it, second, chat))
    await it.until(lambda: it.provider.answering == 0, it.durations.bound(2))
    closed = time.monotonic() - began
    viewer = await (await it.watch(port, chat, message)).follow()
    ended = await finish(it, port, chat, viewer)
    assert ended["status"] == "cancelled", ended["status"]
    assert it.row(chat["id"])["usage_source"] in (None, "estimated", "provider")
    assert ended["usage_source"] is not None or not ended["text"], "a partial text was not settled"
    return closed


@row("F48", "cancel at every point, twice, racing completion")
async def f48(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        (_, port), (_, second) = await asyncio.gather(it.start_web(), it.start_web())
        queued = await it.ask(port, "queued")
        await _cancelled(it, port, second, queued, "queued")
        assert it.provider.calls == 0, "a cancelled request reached the provider"
        worker = await it.start_worker()
        slowest = 0.0
        for message, answer, at in (
            ("claimed", Answer(fault="hang", at=-1), 0),
            ("first delta", Answer(tokens=200, delay_seconds=0.05), 1),
            ("mid", Answer(tokens=200, delay_seconds=0.05), 400),
        ):
            it.provider.usually = answer
            chat = await it.ask(port, message)
            viewer = await it.watch(port, chat, message)
            viewer.oracle = it.oracle(message, 200)
            following = asyncio.create_task(viewer.follow())
            await it.provider.until(lambda: it.provider.answering == 1, 30)
            await viewer.reach(at)
            it.provider.usually = Answer(tokens=200)
            slowest = max(slowest, await _cancelled(it, port, second, chat, message))
            await following
            assert viewer.status == "cancelled"
        winners = {"done": 0, "cancelled": 0}
        for number in range(20):
            it.provider.usually = Answer(tokens=10, delay_seconds=0.005)
            chat = await it.ask(port, f"race {number}")
            viewer = await it.watch(port, chat, f"race {number}")
            following = asyncio.create_task(viewer.follow())
            await viewer.reach(context.random.randrange(60, 121))
            told = await _cancel(it, port, chat)
            await following
            winners[check_end(it, chat["id"], viewer)["status"]] += 1
            assert await _cancel(it, second, chat) == viewer.status, f"first {told}"
        it.provider.usually = Answer(tokens=400, delay_seconds=0.05)
        orphan = await it.ask(port, "orphan")
        viewer = await it.watch(port, orphan, "orphan")
        following = asyncio.create_task(viewer.follow())
        await viewer.reach(100)
        worker.kill()
        await _cancelled(it, port, second, orphan, "orphan")
        await following
        return {"provider closed after s": round(slowest, 2), "races": sum(winners.values()), **winners}
