"""The main promises, where the roles are apart: each starts with what is running and raises where it does not hold."""

import asyncio
import random
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

from tests.fakes.openai_server import Answer
from tests.faults.installation import Installation, Process
from tests.faults.oracle import check_end
from tests.faults.redis_server import PASSWORD
from tests.faults.viewer import Viewer

#: Seconds within which an answer ends whose worker was killed, a provider's socket closes, and all processes end after SIGTERM.
RESCUED_SECONDS, CLOSED_SECONDS, STOPPED_SECONDS = 20.0, 2.0, 15.0

#: What nobody may find in a log, by what it is.
PRIVATE = {"the provider's key": "sk-canary-of-the-provider", "Redis's password": PASSWORD, "a message": "main job"}


class Cluster:
    """Two web and two worker processes, and who talks to any of them."""

    def __init__(self, it: Installation, seed: int) -> None:
        self.it = it
        self.random = random.Random(seed)
        self.ports: list[int] = []
        self.workers: list[Process] = []

    async def start(self) -> None:
        for _ in range(2):
            _, port = await self.it.start_web()
            self.ports.append(port)
            self.workers.append(await self.it.start_worker())

    @property
    def port(self) -> int:
        """One of the web processes', at random."""
        return self.random.choice(self.ports)

    async def stream(self, message: str, user: str = "u1") -> tuple[dict[str, Any], Viewer]:
        """Posts to one web process, and a viewer at one of them."""
        chat = await self.it.ask(self.port, message, user)
        return chat, await self.it.watch(self.port, chat, message, user)


Promise = Callable[[Cluster], Coroutine[Any, Any, str]]


async def same_bytes(cluster: Cluster) -> str:
    """Post at one, stream at another, poll: the same bytes as the provider sent."""
    chat, viewer = await cluster.stream("main job")
    await viewer.follow()
    assert viewer.text == cluster.it.oracle("main job")
    for port in cluster.ports:
        polled = await cluster.it.poll(port, chat)
        assert (polled["status"], polled["result"]["text"]) == ("done", viewer.text)
    check_end(cluster.it, chat["id"], viewer)
    return f"{len(viewer.text.encode())} bytes"


async def cut_viewers(cluster: Cluster) -> str:
    """20 viewers cut at random, resumed at either web process by Last-Event-ID: exact, every id once."""
    calls = cluster.it.provider.calls

    async def one(number: int) -> int:
        chat, viewer = await cluster.stream(f"cut {number}", f"u{number}")
        async with asyncio.timeout(60):
            while viewer.end is None:
                viewer.port = cluster.port
                await viewer.connect_once(cluster.random.choice((1, 3, 7, 20)))
        ids = [event.id for event in viewer.events if event.id]
        if (
            "0-0" in ids
        ):  # the cursor of nothing: after what was told from the row, the log may be told from its beginning
            ids = ids[len(ids) - ids[::-1].index("0-0") :]
        assert len(ids) == len(set(ids)), "an event came twice"
        assert viewer.text == viewer.oracle
        check_end(cluster.it, chat["id"], viewer)
        return viewer.connections

    connections = await asyncio.gather(*(one(number) for number in range(20)))
    assert cluster.it.provider.calls == calls + 20
    return f"{sum(connections)} connections"


async def cancelled(cluster: Cluster) -> str:
    """Cancel at another web process: the provider's socket closes within 2 s, the partial text stays."""
    usually, cluster.it.provider.usually = cluster.it.provider.usually, Answer(tokens=1000, delay_seconds=0.02)
    chat, viewer = await cluster.stream("stop me")
    following = asyncio.create_task(viewer.follow())
    await viewer.reach(100)
    began = time.monotonic()
    token = await cluster.it.visitor(cluster.port)
    await cluster.it.call(cluster.port, "POST", chat["links"]["cancel"], {}, token)
    await cluster.it.until(lambda: cluster.it.provider.answering == 0, cluster.it.durations.bound(CLOSED_SECONDS))
    seconds = time.monotonic() - began
    cluster.it.provider.usually = usually
    await following
    assert check_end(cluster.it, chat["id"], viewer)["status"] == "cancelled"
    assert len(viewer.text) >= 100
    return f"{seconds:.2f} s"


async def killed_workers(cluster: Cluster) -> str:
    """kill -9 of one worker mid-stream: the other rescues it, never a splice; of both: who is started anew does."""
    told = []
    for victims in (cluster.workers[:1], cluster.workers):
        answers = [await cluster.stream(f"kill {len(victims)} {number}", f"k{number}") for number in range(6)]
        following = [asyncio.create_task(viewer.follow()) for _, viewer in answers]
        await asyncio.gather(*(viewer.reach(50) for _, viewer in answers))
        for worker in victims:
            if worker.running:
                worker.kill()
        began = time.monotonic()
        cluster.workers = [each if each.running else await cluster.it.start_worker() for each in cluster.workers]
        await asyncio.gather(*following)
        told.append(f"{time.monotonic() - began:.1f} s")
        assert time.monotonic() - began < cluster.it.durations.bound(RESCUED_SECONDS)
        for chat, viewer in answers:
            assert check_end(cluster.it, chat["id"], viewer)["status"] == "done"
            assert viewer.text == viewer.oracle
    _, after = await cluster.stream("and again")
    assert (await after.follow()).text == after.oracle
    return f"all 6 and 6 whole after {' and '.join(told)}"


async def private(cluster: Cluster) -> str:
    """Nothing private and no traceback in any log."""
    said = "\n".join(process.said() for process in cluster.it.processes)
    secrets = PRIVATE | {"the API key": cluster.it.api_key, "a traceback": "Traceback"}
    leaks = [name for name, word in secrets.items() if word in said]
    assert not leaks, f"the logs hold {', '.join(leaks)}"
    return f"{len(said.splitlines())} lines"


async def stopped(cluster: Cluster) -> str:
    """SIGTERM ends every process within 15 s, by itself."""
    began = time.monotonic()
    running = [process for process in cluster.it.processes if process.running]
    for process in running:
        process.send(signal.SIGTERM)
    codes = await asyncio.gather(*(process.wait(cluster.it.durations.bound(STOPPED_SECONDS)) for process in running))
    assert codes == [0] * len(running), codes
    return f"{len(running)} processes, {time.monotonic() - began:.1f} s"


PROMISES: list[Promise] = [same_bytes, cut_viewers, cancelled, killed_workers, private, stopped]
