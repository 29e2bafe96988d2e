"""Faults of processes: workers, web servers, and messages that kill."""

import asyncio
import signal
import time
from typing import Any

from tests.faults.installation import Installation
from tests.faults.oracle import check_end, check_log
from tests.faults.rows import Context, Figures, row


async def started_again(it: Installation, chat: dict[str, Any], since: float, run: int) -> float:
    """Seconds from `since` until the row was claimed under `run`."""
    await it.until(lambda: it.row(chat["id"])["run"] >= run, it.durations.bound(15))
    return time.monotonic() - since


@row("F1", "kill -9 worker before claim")
async def f01(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        _, port = await it.start_web()
        worker = await it.start_worker({"STREAMER_KILL_POINT": "before_claim"})
        chat = await it.ask(port, "f1")
        viewer = await it.watch(port, chat, "f1")
        following = asyncio.create_task(viewer.follow())
        assert await worker.wait() == -signal.SIGKILL
        died = time.monotonic()
        assert it.row(chat["id"])["run"] == 0
        await it.start_worker()
        seconds = await started_again(it, chat, died, 1)
        await following
        row = check_end(it, chat["id"], viewer)
        await check_log(it, chat["id"])
        assert (row["status"], row["crashes"], it.provider.calls) == ("done", 0, 1)
        return {"started again after s": round(seconds, 2), "bytes compared": len(viewer.text.encode())}


@row("F2", "kill -9 after the claim, before the first token")
async def f02(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        _, port = await it.start_web()
        worker = await it.start_worker({"STREAMER_KILL_POINT": "after_claim"})
        chat = await it.ask(port, "f2")
        viewer = await it.watch(port, chat, "f2")
        following = asyncio.create_task(viewer.follow())
        assert await worker.wait() == -signal.SIGKILL
        died = time.monotonic()
        await it.start_worker()
        seconds = await started_again(it, chat, died, 2)
        await following
        row = check_end(it, chat["id"], viewer)
        await check_log(it, chat["id"])
        assert (row["status"], row["run"], row["crashes"], it.provider.calls) == ("done", 2, 1, 1)
        return {"run 2 after s": round(seconds, 2), "bytes compared": len(viewer.text.encode())}
