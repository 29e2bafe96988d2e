"""Faults of fairness: one tenant asks for far more than there is, another for one answer."""

import asyncio
import time
from typing import Any

from tests.fakes.openai_server import Answer
from tests.faults.installation import Installation
from tests.faults.oracle import check_quiet
from tests.faults.other_tenant import visitor_of_another_tenant
from tests.faults.rows import Context, Figures, row

#: Generations at once in the one worker, and what a tenant alone may hold of them and of the queue: all but what is kept.
SLOTS, LENT = 8, 7


@row("F71", "one tenant posts thousands; another posts one")
async def f71(context: Context) -> Figures:
    posts = 5000 if context.durations.real else 150
    environment = {"STREAMER_WORKER_THREADS": str(SLOTS), "STREAMER_MAX_IN_BROKER_PER_TENANT": "0"}
    async with Installation(context.folder, context.durations, environment) as it:
        it.provider.usually = Answer(tokens=10, delay_seconds=0.1)
        _, port = await it.start_web()
        many, other = await it.visitor(port), await visitor_of_another_tenant(it, port)

        async def post(number: int) -> None:
            status, found, _ = await it.call(port, "POST", "/ai/v1/chat", {"message": f"f71 {number}"}, many)
            assert status == 202, found

        for start in range(0, posts, 50):
            await asyncio.gather(*(post(number) for number in range(start, start + 50)))
        handed = it.rows("SELECT count(*) FROM generation WHERE enqueue_at < 1e12")[0][0]
        assert handed == LENT, f"{handed} of one tenant's are in the queue"
        await it.start_worker()
        await it.until(lambda: _running(it) >= LENT, 60)
        status, found, _ = await it.call(port, "POST", "/ai/v1/chat", {"message": "the one"}, other)
        assert status == 202, found
        began = time.monotonic()
        await it.until(lambda: it.row(found["id"])["status"] != "queued", context.durations.bound(5))
        waited = time.monotonic() - began
        assert _running(it, "AND id != ?", found["id"]) <= LENT
        it.provider.usually = Answer(tokens=10, delay_seconds=0.02)
        await it.until(lambda: it.rows("SELECT count(*) FROM generation WHERE status != 'done'") == [(0,)], 600)
        await check_quiet(it, port)
        assert it.provider.calls == posts + 1
        return {"posts": posts, "in the queue": handed, "of slots": SLOTS, "the other began after": f"{waited:.2f} s"}


def _running(it: Installation, condition: str = "", *values: Any) -> int:
    sql = f"SELECT count(*) FROM generation WHERE status = 'running' {condition}"
    return int(it.rows(sql, *values)[0][0])
