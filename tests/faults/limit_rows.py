"""Faults of limits: races on them, on several processes whose clocks don't agree."""

import asyncio
from collections import Counter

from tests.faults.installation import Installation
from tests.faults.oracle import check_quiet
from tests.faults.rows import Context, Figures, row
from tests.faults.wall_clock import WallClock

LIMIT, POSTS = 30, 120


@row("F66", "rate-limit race on several web processes, clocks apart")
async def f66(context: Context) -> Figures:
    limits = {"STREAMER_MAX_REQUESTS": str(LIMIT), "STREAMER_REQUEST_WINDOW_SECONDS": "300"}
    async with Installation(context.folder, context.durations, limits) as it:
        clocks = [WallClock(it.folder, name) for name in ("right", "ahead", "far-ahead")]
        webs = await asyncio.gather(*(it.start_web(clock.environment) for clock in clocks))
        ports = [port for _, port in webs]
        token = await it.visitor(ports[0])
        for clock, seconds in zip(clocks, (0, 301, 7200), strict=True):
            clock.step(seconds)  # a window's length ahead, and more

        async def post(number: int) -> tuple[int, dict[str, str]]:
            port = context.random.choice(ports)
            body = {"message": f"f66 {number}"}
            status, found, headers = await it.call(port, "POST", "/ai/v1/chat", body, token)
            assert status == 202 or (status, found["limit"]) == (429, "requests"), (status, found)
            return status, headers

        answers = await asyncio.gather(*(post(number) for number in range(POSTS)))
        statuses = Counter(status for status, _ in answers)
        assert statuses == {202: LIMIT, 429: POSTS - LIMIT}, statuses
        left = sorted(int(headers["ratelimit-remaining"]) for status, headers in answers if status == 202)
        assert left == list(range(LIMIT)), f"two were told the same place: {left}"
        waits = [int(headers["retry-after"]) for status, headers in answers if status == 429]
        assert 300 - 60 < min(waits) <= max(waits) <= 300, f"told to wait from {min(waits)} to {max(waits)} s"
        again = Counter([(await post(POSTS))[0] for _ in range(5)])
        assert again == {429: 5}, "the window let one more in"
        await it.start_worker()
        await it.until(lambda: it.rows("SELECT count(*) FROM generation WHERE status = 'done'") == [(LIMIT,)], 60)
        await check_quiet(it, ports[0])
        assert it.provider.calls == LIMIT
        return {"posts": POSTS, "admitted": statuses[202], "provider calls": it.provider.calls}
