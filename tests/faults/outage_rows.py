"""A provider that is away for long: the breaker, the fallback, the way back."""

import asyncio
import time
from typing import Any

from tests.fakes.openai_server import Answer, refused
from tests.faults.providers import Case, providers
from tests.faults.rows import Context, Figures, row

#: The breaker's and the loop's own durations, sixty times as fast.
HOUR_IN_A_MINUTE = {
    "STREAMER_BACKOFF_SECONDS": "0.02",
    "STREAMER_MAX_BACKOFF_SECONDS": "0.13",
    "STREAMER_BREAKER_WINDOW_SECONDS": "1",
    "STREAMER_BREAKER_COOL_DOWN_SECONDS": "0.1",
    "STREAMER_BREAKER_MAX_COOL_DOWN_SECONDS": "2",
    "STREAMER_BREAKER_PROBE_SECONDS": "1",
}


@row("F34a", "an hour without the first provider, in a minute: breaker, fallback, probe")
async def f34a(context: Context) -> Figures:
    outage_seconds = 60.0 if context.durations.strict else 8.0
    async with providers(context, HOUR_IN_A_MINUTE) as with_:
        it = with_.it
        await it.start_worker()
        cases: list[asyncio.Task[Case]] = []

        async def ask_for(seconds: float) -> list[Case]:
            """A request every 0.15 s, each to its end."""
            until, asked = time.monotonic() + seconds, []
            while time.monotonic() < until:
                cases.append(asyncio.create_task(with_.case(f"f34a {len(cases)}", route="spare")))
                asked.append(cases[-1])
                await asyncio.sleep(0.15)
            return list(await asyncio.gather(*asked))

        before = await ask_for(1)
        assert {case.row["provider"] for case in before} == {"openai"}
        it.provider.usually, well = refused(503), it.provider.calls
        during = await ask_for(outage_seconds)
        called = it.provider.calls - well
        assert all(case.row["provider"] == "spare" for case in during), "somebody got no fallback"
        at_once = [case for case in during if case.calls == [("spare", "done", None)]]
        with it.redis.client() as client:
            keys: Any = client.keys("breaker:*")
            assert len(keys) == 1
            assert all(0 < client.ttl(key) <= 10 for key in keys)
        it.provider.usually = Answer(tokens=60)
        began = time.monotonic()
        while "openai" not in {case.row["provider"] for case in await ask_for(0.3)}:
            assert time.monotonic() - began < it.durations.bound(10), "the first provider never came back"
        back = time.monotonic() - began
        after = await ask_for(1)
        assert {case.row["provider"] for case in after} == {"openai"}
        everybody = [task.result() for task in cases]
        assert all(case.end == ("done", "stop") for case in everybody)
        # 10 failures open it, beside what was under way; then a probe at 0.1, 0.3, 0.7, 1.5, 3.1, 5.1 s and so on.
        assert called < 10 + 20 + 4 + outage_seconds, f"{called} calls to a provider that is out"
        assert len(at_once) > len(during) / 2
        await with_.check()
        lines = it.rows("SELECT provider, outcome, count(*) FROM provider_call GROUP BY 1, 2 ORDER BY 1, 2")
        return {
            "requests": len(everybody),
            "calls to it meanwhile": called,
            "fell back at once": f"{len(at_once)} of {len(during)}",
            "back after s": round(back, 1),
            "ledger": ", ".join(f"{provider} {outcome} {count}" for provider, outcome, count in lines),
        }
