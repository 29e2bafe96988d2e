"""Faults of the database and of clocks: locked, full, away at the worst moment, stepped."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.openai_server import Answer
from tests.faults.installation import Installation
from tests.faults.oracle import finish
from tests.faults.rows import Context, Figures, row
from tests.faults.viewer import Viewer
from tests.faults.wall_clock import WallClock
from tests.missing import missing

#: The size of the disk that becomes full.
DISK_BYTES = 8 * 1024 * 1024


async def _called(it: Installation, calls: int) -> None:
    """Returns when the provider has been called so often."""
    await it.provider.until(lambda: it.provider.calls == calls, 30)


@row("F50", "the database is locked or gone, with generations in flight")
async def f50(context: Context) -> Figures:
    seconds = 30.0 if context.durations.real else 9.0
    # Between the lock's end and a theft lies a lease, less what a renewal may be late: on a busy machine 2 s are too few.
    environment = {} if context.durations.real else {"STREAMER_LEASE_SECONDS": "6"}
    async with Installation(context.folder, context.durations, environment) as it:
        _, port = await it.start_web()
        await asyncio.gather(it.start_worker(), it.start_worker())
        chats: dict[str, dict[str, Any]] = {}
        viewers: list[Viewer] = []
        for number in range(4):  # two end while it is locked, two stream on after that
            tokens = int(seconds * (0.5 if number < 2 else 1.6) / 0.05)
            it.provider.usually = Answer(tokens=tokens, delay_seconds=0.05)
            message, user = f"f50 {number}", f"u{number}"
            chats[message] = await it.ask(port, message, user)
            viewers.append(await it.watch(port, chats[message], message, user))
            await _called(it, number + 1)
        following = [asyncio.create_task(viewer.follow(200)) for viewer in viewers]
        await asyncio.gather(*(viewer.reach(24) for viewer in viewers))
        await asyncio.to_thread(it.store.take_away)
        token = await it.visitor(port)
        status, body, headers = await it.call(port, "POST", "/ai/v1/chat", {"message": "meanwhile"}, token)
        assert (status, body["error"], "retry-after" in headers) == (503, "unavailable", True), body
        await asyncio.sleep(seconds - 5)
        assert all(viewer.end is None for viewer in viewers), "somebody was told an end before the commit"
        await asyncio.to_thread(it.store.give_back)
        freed = time.monotonic()
        await asyncio.gather(*following)
        after = round(time.monotonic() - freed, 2)
        for viewer, chat in zip(viewers, chats.values(), strict=True):
            ended = await finish(it, port, chat, viewer)
            assert (ended["status"], ended["run"], viewer.runs) == ("done", 1, [1])
        assert it.provider.calls == len(viewers), "something was paid twice"
        return {"locked for s": seconds, "ended after s": after, "provider calls": it.provider.calls}


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of DISK_BYTES. Only root can mount one: else the row is skipped."""
    if os.geteuid() != 0:
        missing("only root can mount the small file system of this row")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], check=True)
    try:
        if shutil.disk_usage(folder).total > DISK_BYTES:
            pytest.skip("this machine's mounts know no size: nothing would be full")
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Takes all that is left of a file system."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(DISK_BYTES // 4096):
            file.write(b"x" * 4096)
    return path


@row("F51", "the disk is full", stores=("sqlite",))
async def f51(context: Context) -> Figures:
    with small_disk(context.folder / "disk") as disk:
        async with Installation(context.folder, context.durations, {}, database=disk / "streamer.db") as it:
            _, port = await it.start_web()
            await it.start_worker()
            it.provider.usually = Answer(tokens=100, delay_seconds=0.03)
            chats = {route: await it.ask(port, f"f51 {route}", route, route=route) for route in ("chat", "brief")}
            brief = it.row(chats["brief"]["id"])
            late = time.monotonic() + brief["deadline_at"] - brief["created_at"] + 1  # past its deadline, by an attempt
            viewers = {route: await it.watch(port, chat, f"f51 {route}", route) for route, chat in chats.items()}
            following = [asyncio.create_task(viewer.follow(120)) for viewer in viewers.values()]
            await asyncio.gather(*(viewer.reach(100) for viewer in viewers.values()))
            # A reader keeps SQLite from writing over what its log has held before: each commit needs new room.
            reader = sqlite3.connect(disk / "streamer.db", isolation_level=None)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM generation").fetchall()
            filler = await asyncio.to_thread(fill, disk)
            token = await it.visitor(port)
            long = {"message": "x" * 30_000}
            status, body, _ = await it.call(port, "POST", "/ai/v1/chat", long, token)
            assert (status, body["error"]) == (503, "unavailable"), body
            await asyncio.sleep(late - time.monotonic())
            assert all(viewer.end is None for viewer in viewers.values()), "an end was told before it was stored"
            reader.close()
            filler.unlink()
            await asyncio.gather(*following)
            done = await finish(it, port, chats["chat"], viewers["chat"])
            failed = await finish(it, port, chats["brief"], viewers["brief"])
            assert done["status"] == "done", done
            ended = (failed["status"], failed["error_code"], failed["finish_reason"])
            assert ended == ("error", "persist_failed", None), ended
            assert it.provider.calls == 2, f"{it.provider.calls} provider calls"
            after = await it.ask(port, "after")
            last = await (await it.watch(port, after, "after")).follow()
            await finish(it, port, after, last)
            return {"POST": status, "in time": done["status"], "too late": failed["error_code"], "then": last.status}


@row("F52", "the database is away exactly at the end")
async def f52(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        _, port = await it.start_web()
        await it.start_worker()
        it.provider.usually = Answer(tokens=60, fault="hold", at=60)
        chat = await it.ask(port, "f52")
        viewer = await it.watch(port, chat, "f52")
        following = asyncio.create_task(viewer.follow(120))
        await viewer.reach(len(it.oracle("f52")))
        await asyncio.to_thread(it.store.take_away)
        it.provider.release()
        seconds = 12.0 if context.durations.real else 7.0
        await asyncio.sleep(seconds)
        assert viewer.end is None, "an end was told before the commit"
        assert viewer.text == it.oracle("f52"), "the text is not in the log"
        await asyncio.to_thread(it.store.give_back)
        freed = time.monotonic()
        await following
        after = round(time.monotonic() - freed, 2)
        ended = await finish(it, port, chat, viewer)
        assert (ended["status"], ended["run"], it.provider.calls) == ("done", 1, 1)
        return {"away for s": seconds, "end seen after s": after}


@row("F53", "wall clocks an hour off, and stepped mid-stream")
async def f53(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        ahead, behind = WallClock(it.folder, "ahead"), WallClock(it.folder, "behind")
        ahead.step(3600)
        behind.step(-3600)
        _, port = await it.start_web(behind.environment)
        first = await it.start_worker(ahead.environment)
        await it.start_worker(behind.environment)
        it.provider.usually = Answer(tokens=250, delay_seconds=0.02)
        chat = await it.ask(port, "f53")
        viewer = await it.watch(port, chat, "f53")
        following = asyncio.create_task(viewer.follow(120))
        await viewer.reach(200)
        ahead.step(-3600)
        behind.step(3600)
        await following
        ended = await finish(it, port, chat, viewer)
        assert (ended["status"], ended["run"], it.provider.calls) == ("done", 1, 1), "a stepped clock moved a lease"
        holder = await it.ask(port, "f53 killed", "u2")
        watched = await it.watch(port, holder, "f53 killed", "u2")
        following = asyncio.create_task(watched.follow(120))
        await watched.reach(200)
        for each in it.processes:
            if each.name == "worker":
                each.kill()
        died = time.monotonic()
        assert not first.running
        await it.start_worker(ahead.environment)
        await it.until(lambda: it.row(holder["id"])["run"] == 2, it.durations.bound(15))
        seconds = round(time.monotonic() - died, 2)
        await following
        await finish(it, port, holder, watched)
        return {"thefts": 0, "recovered after s": seconds}
