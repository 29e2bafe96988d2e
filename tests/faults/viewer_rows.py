"""Faults of viewers that take what they are sent slowly or not at all, and of a web process that stops under them."""

import asyncio
import signal
import socket
import time
from collections.abc import Sequence
from typing import Any

from tasks.end_tasks import end_tasks
from tests.fakes.openai_server import Answer
from tests.faults.cable import cable
from tests.faults.connection import RawConnection, raw_connections
from tests.faults.durations import Durations
from tests.faults.installation import Installation
from tests.faults.oracle import finish
from tests.faults.rows import Context, Figures, row
from tests.faults.viewer import Viewer

LARGE = {"STREAMER_MAX_ANSWER_BYTES": str(8 * 1024 * 1024)}

SHORT = {
    "STREAMER_SEND_TIMEOUT_SECONDS": "3",
    "STREAMER_WEB_DRAIN_SECONDS": "2",
    "STREAMER_HEAD_SECONDS": "2",
    "STREAMER_BODY_SECONDS": "2",
}


def settings_of(durations: Durations) -> dict[str, str]:
    return LARGE | ({} if durations.real else SHORT)


def large_answer(texts: int, size: int, delay_seconds: float) -> Answer:
    """More than any buffer on the way holds."""
    return Answer(texts=tuple(f"{number:05d} " + "x" * size for number in range(texts)), delay_seconds=delay_seconds)


async def viewer_of(it: Installation, port: int, chat: dict[str, Any], answer: Answer) -> Viewer:
    viewer = await it.watch(port, chat, "")
    viewer.oracle = "".join(answer.texts or ())
    return viewer


async def audience(
    it: Installation, port: int, message: str, answer: Answer, count: int
) -> tuple[dict[str, Any], list[Viewer]]:
    """An answer that a worker begins, and so many viewers of it, not yet connected."""
    await it.start_worker()
    it.provider.usually = answer
    chat = await it.ask(port, message)
    return chat, [await viewer_of(it, port, chat, answer) for _ in range(count)]


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def lateness(viewers: list[Viewer]) -> float:
    """The 99th percentile of the seconds by which an event came later to one than to the first of them."""
    first: dict[str, float] = {}
    for event in (event for viewer in viewers for event in viewer.events if event.id):
        first[event.id or ""] = min(first.get(event.id or "", event.at), event.at)
    return p99([event.at - first[event.id] for viewer in viewers for event in viewer.events if event.id])


def on_time(it: Installation, seconds: float, strict_seconds: float) -> bool:
    return seconds <= (strict_seconds if it.durations.strict else 30)


@row("F11", "SIGTERM web with live and stalled viewers")
async def f11(context: Context) -> Figures:
    patient = {"STREAMER_SEND_TIMEOUT_SECONDS": "25"}  # else the stalled are cut before the signal comes
    async with Installation(context.folder, context.durations, settings_of(context.durations) | patient) as it:
        (web, port), (_, second) = await asyncio.gather(it.start_web(), it.start_web())
        chat, viewers = await audience(it, port, "f11", large_answer(150, 20_000, 0.05), 20)
        connecting = [asyncio.create_task(viewer.connect_once()) for viewer in viewers]
        async with raw_connections(port, 5, viewers[0]._request()) as stalled:
            await asyncio.gather(*(viewer.reach(1_000_000) for viewer in viewers))
            assert all(each.held_bytes() for each in stalled)
            web.send(signal.SIGTERM)
            asked = time.monotonic()
            assert await web.wait(120) == 0
            seconds = round(time.monotonic() - asked, 2)
        assert seconds <= it.durations.bound(10), f"it exited after {seconds} s"
        await asyncio.gather(*connecting)
        closes = [viewer.events[-1] for viewer in viewers]
        assert {(each.kind, each.data["code"]) for each in closes} == {("close", "draining")}
        waits = {each.data["retry_ms"] for each in closes}
        assert len(waits) > 1, "all were told to come back at once"
        for viewer in viewers:
            viewer.port = second
        await asyncio.gather(*(viewer.follow(120) for viewer in viewers))
        ended = await finish(it, second, chat, *viewers)
        assert (ended["status"], ended["run"]) == ("done", 1)
        assert all(viewer.runs == [1] for viewer in viewers), "somebody was told something twice"
        return {"exit after s": seconds, "viewers exact": len(viewers), "retry ms": f"{min(waits)}–{max(waits)}"}


async def _gone(it: Installation, bad: Sequence[RawConnection | Viewer], since: float) -> tuple[float, int]:
    """Seconds from `since` until the server holds none of these, and the most bytes that its kernel held for one."""
    most = 0

    def all_gone() -> bool:
        nonlocal most
        held = [each.held_bytes() for each in bad]
        most = max(most, *(size or 0 for size in held))
        return all(size is None for size in held)

    await it.until(all_gone, it.durations.bound(30) + 30)
    return round(time.monotonic() - since, 1), most


@row("F43", "a reader that stalls, one that takes a byte a second")
async def f43(context: Context) -> Figures:
    async with Installation(context.folder, context.durations, settings_of(context.durations)) as it:
        _, port = await it.start_web()
        chat, [resumed, *others] = await audience(it, port, "f43", large_answer(100, 20_000, 0.03), 11)
        following = [asyncio.create_task(viewer.follow(120)) for viewer in others]
        async with raw_connections(port, 10, others[0]._request()) as bad:
            began = time.monotonic()
            pace = 1.0 if it.durations.real else 0.1
            dripping = [asyncio.create_task(each.take_slowly(pace)) for each in bad[:5]]
            seconds, most = await _gone(it, bad, began)
            await end_tasks(*dripping)  # what has come to them they would read for hours
        assert seconds <= it.durations.bound(30), f"they were gone after {seconds} s"
        assert most <= 192 * 1024, f"the kernel held {most} bytes"
        await asyncio.gather(*following)
        resumed.last_id, resumed.text = "1-0", ""
        await resumed.follow()
        late = round(lateness(others), 3)
        assert on_time(it, late, 0.5), f"the others were {late} s late"
        ended = await finish(it, port, chat, *others, resumed)
        assert (ended["status"], ended["run"]) == ("done", 1)
        return {"gone after s": seconds, "kernel's bytes": most, "others' p99 late s": late}


@row("F43a", "a vanished network, with much to send and with little")
async def f43a(context: Context) -> Figures:
    with cable() as far:
        async with Installation(context.folder, context.durations, settings_of(context.durations)) as it:
            it.host = far.address
            _, port = await it.start_web()
            pause = 0.3 if it.durations.real else 0.05
            chat, [much, *others] = await audience(it, port, "f43a", large_answer(100, 20_000, pause), 6)
            await it.provider.until(lambda: it.provider.calls == 1, 30)
            # Little fits into the kernel's buffer, so that no writer ever waits: the kernel itself must notice.
            it.provider.usually = Answer(tokens=60, delay_seconds=pause, fault="hold", at=30)
            quiet = await it.ask(port, "little", "u2")
            little = await it.watch(port, quiet, "little", "u2")
            vanishing = [much, little]
            for viewer in vanishing:
                viewer.new_socket = far.socket_there
            following = [asyncio.create_task(viewer.follow(120)) for viewer in others]
            watching = [asyncio.create_task(viewer.connect_once()) for viewer in vanishing]
            await asyncio.gather(much.reach(100_000), little.reach(40))
            far.pull()
            seconds, most = await _gone(it, vanishing, time.monotonic())
            assert seconds <= it.durations.bound(30), f"they were gone after {seconds} s"
            assert most <= 192 * 1024, f"the kernel held {most} bytes"
            it.provider.release()
            for viewer in vanishing:
                viewer.cut()
                viewer.new_socket = socket.socket
            await asyncio.gather(*watching, return_exceptions=True)
            seen = [viewer.last_id for viewer in vanishing]
            await asyncio.gather(*following, *(viewer.follow(120) for viewer in vanishing))
            late = round(lateness(others), 3)
            assert on_time(it, late, 0.5), f"the others were {late} s late"
            for ended in (await finish(it, port, chat, much, *others), await finish(it, port, quiet, little)):
                assert (ended["status"], ended["run"]) == ("done", 1)
            assert all(viewer.runs == [1] for viewer in vanishing), f"told again what came before {seen}"
            return {"gone after s": seconds, "kernel's bytes": most, "others' p99 late s": late}


async def _healthy(it: Installation, port: int, until: asyncio.Task[Any]) -> list[float]:
    """Seconds that each of many small requests took, one after the other."""
    took = []
    while not until.done():
        began = time.monotonic()
        status, _, _ = await it.call(port, "GET", "/healthz")
        assert status == 200
        took.append(time.monotonic() - began)
    return took


@row("F45", "slow heads, slow bodies, idle connections, 100,000 headers")
async def f45(context: Context) -> Figures:
    async with Installation(context.folder, context.durations, settings_of(context.durations)) as it:
        _, port = await it.start_web()
        await it.start_worker()
        token = await it.visitor(port)
        head = b"POST /ai/v1/chat HTTP/1.1\r\nhost: x\r\n"
        credential = b"authorization: Bearer %b\r\ncontent-type: application/json\r\n" % token.encode()
        kinds = {
            "idle": b"",
            "slow head": head,
            "slow body": head + credential + b'content-length: 1000\r\n\r\n{"mess',
        }
        figures: Figures = {}

        async def flood(each: RawConnection) -> float:
            began = time.monotonic()
            try:
                for number in range(100):
                    await each.say(b"".join(b"x-%d-%d: y\r\n" % (number, index) for index in range(1000)))
            except OSError:
                return time.monotonic() - began
            return await each.until_closed(120)

        async def attack() -> None:
            for kind, said in kinds.items():
                async with raw_connections(port, 100, said) as bad:
                    figures[f"{kind}, s"] = round(max(await asyncio.gather(*(e.until_closed(120) for e in bad))), 1)
            async with raw_connections(port, 20, head) as bad:
                figures["headers, s"] = round(max(await asyncio.gather(*map(flood, bad))), 1)

        attacking = asyncio.create_task(attack())
        took = p99(await _healthy(it, port, attacking))
        await attacking
        assert max(figures.values()) <= it.durations.bound(10), figures
        assert on_time(it, took, 0.25), f"others waited {took:.3f} s"
        chat = await it.ask(port, "f45")
        await finish(it, port, chat, await it.watch(port, chat, "f45"))
        return figures | {"others' p99 ms": round(took * 1000, 1)}


@row("F49", "50 viewers of one chat, one of them slow")
async def f49(context: Context) -> Figures:
    async with Installation(context.folder, context.durations, settings_of(context.durations)) as it:
        _, port = await it.start_web()
        chat, viewers = await audience(it, port, "f49", large_answer(300, 4_000, 0.01), 50)
        slow, *others = viewers
        slow.pause_seconds = 0.2
        following = [asyncio.create_task(viewer.follow(120)) for viewer in viewers]
        await asyncio.gather(*following[1:])
        late = round(lateness(others), 3)
        behind = len(others[0].events) - len(slow.events)
        await following[0]
        assert on_time(it, late, 0.5), f"the others were {late} s late"
        assert slow.pieces < len(slow.events), "nothing was joined for the slow one"
        ended = await finish(it, port, chat, *viewers)
        assert (ended["status"], ended["run"]) == ("done", 1)
        assert all(viewer.connections == 1 for viewer in others)
        joined = round(len(slow.events) / slow.pieces, 1)
        return {"others' p99 late s": late, "slow one's events behind": behind, "its events a write": joined}
