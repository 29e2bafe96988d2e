"""Faults of providers: they refuse, fail, hang, break off, or say that they can't."""

import asyncio
import email.utils
import time
from typing import Any

from tests.fakes.openai_server import Answer, refused
from tests.faults.providers import providers
from tests.faults.rows import Context, Figures, row


@row("F30", "the connection is reset in the middle")
async def f30(context: Context) -> Figures:
    async with providers(context) as with_:
        kept = await asyncio.gather(
            *(
                with_.case(f"f30 {fault}", Answer(tokens=60, delay_seconds=0.01, fault=fault, at=30))
                for fault in BREAKS
            ),
        )
        anew = await asyncio.gather(
            *(
                with_.case(
                    f"f30 again {fault}", Answer(tokens=60, delay_seconds=0.01, fault=fault, at=30), route="again"
                )
                for fault in BREAKS
            ),
        )
        early = await with_.case("f30 early", Answer(fault="reset", at=-1), Answer(fault="close", at=-1))
        for case in kept:
            assert case.end == ("incomplete", "interrupted")
            assert case.row["text"]
            assert case.calls == [("openai", "error", "provider_unreachable")]
        for case in anew:
            assert (case.end, case.viewer.runs) == (("done", "stop"), [1, 2])
            assert [outcome for _, outcome, _ in case.calls] == ["error", "done"]
        assert (early.end, len(early.waits), len(early.calls)) == (("done", "stop"), 2, 3)
        await with_.check()
        return {"kept": len(kept), "anew": len(anew), "before the first text": "tried again"}


BREAKS: tuple[Any, ...] = ("reset", "close")


@row("F31", "a clean end without a finish marker")
async def f31(context: Context) -> Figures:
    async with providers(context) as with_:
        kept, anew, early = await asyncio.gather(
            with_.case("f31", Answer(fault="end", at=10)),
            with_.case("f31 again", Answer(fault="end", at=10), route="again"),
            with_.case("f31 early", Answer(fault="end", at=0)),
        )
        assert (kept.end, kept.row["text"]) == (("incomplete", "interrupted"), with_.words("f31", 10))
        assert (anew.end, anew.viewer.runs) == (("done", "stop"), [1, 2])
        assert (early.end, len(early.waits)) == (("done", "stop"), 1)
        await with_.check()
        return {"after text": "incomplete", "before": "tried again"}


@row("F32", "the provider hangs before its first byte, and in the middle")
async def f32(context: Context) -> Figures:
    first_byte, idle = (60.0, 30.0) if context.durations.real else (1.0, 1.0)
    async with providers(context) as with_:
        hang, middle = Answer(fault="hang", at=-1), Answer(fault="hang", at=10)
        never, once, kept, anew = await asyncio.gather(
            with_.case("f32 never", hang, hang, hang),
            with_.case("f32 once", hang),
            with_.case("f32 middle", middle),
            with_.case("f32 again", middle, route="again"),
        )
        assert (never.end, len(never.calls), len(never.waits)) == (("error", "provider_timeout"), 3, 2)
        assert 3 * first_byte <= never.seconds < with_.it.durations.bound(3 * first_byte + 30)
        assert (once.end, len(once.waits)) == (("done", "stop"), 1)
        assert first_byte <= once.seconds
        assert (kept.end, kept.row["text"]) == (("incomplete", "interrupted"), with_.words("f32 middle", 10))
        assert kept.seconds >= idle
        assert (anew.end, anew.viewer.runs) == (("done", "stop"), [1, 2])
        await with_.check()
        return {"three timeouts after s": round(never.seconds, 1), "in the middle after s": round(kept.seconds, 1)}


def _limited(**headers: str) -> Answer:
    return refused(429, "rate_limit_exceeded", {name.replace("_", "-"): value for name, value in headers.items()})


@row("F33", "429 with Retry-After: seconds, too long, a date, garbage")
async def f33(context: Context) -> Figures:
    soon = email.utils.formatdate(time.time() + 12, usegmt=True)
    now = email.utils.formatdate(time.time() + 10, usegmt=True)
    async with providers(context) as with_:
        two, ms, date, garbage, long, spare, thrice, told_not_to = await asyncio.gather(
            with_.case("f33 two", _limited(retry_after="2")),
            with_.case("f33 ms", _limited(retry_after_ms="1500", retry_after="9999")),
            with_.case("f33 date", _limited(retry_after=soon, date=now)),
            with_.case("f33 garbage", _limited(retry_after="soon\u00e9")),
            with_.case("f33 long", _limited(retry_after="3600")),
            with_.case("f33 spare", _limited(retry_after="3600"), route="spare"),
            with_.case("f33 thrice", *[_limited()] * 3),
            with_.case("f33 not", _limited(x_should_retry="false")),
        )
        for case, seconds in ((two, 2.0), (ms, 1.5), (date, 2.0)):
            assert (case.end, case.waits, len(case.calls)) == (("done", "stop"), [seconds], 2)
            assert case.seconds >= seconds
        assert garbage.end == ("done", "stop")
        assert len(garbage.waits) == 1
        assert garbage.waits[0] < 1
        for case in (long, told_not_to):
            assert (case.end, case.waits, len(case.calls)) == (("error", "rate_limited"), [], 1)
        assert spare.end == ("done", "stop")
        assert spare.switches == [{"provider": "spare", "model": "other", "reason": "rate_limited"}]
        assert (thrice.end, len(thrice.waits), len(thrice.calls)) == (("error", "rate_limited"), 2, 3)
        await with_.check()
        return {"honoured": 3, "an hour": "given up", "garbage": "our own pause"}


@row("F34", "500, 502, 503, 529, with and without a fallback; 401, 403, no credit")
async def f34(context: Context) -> Figures:
    async with providers(context) as with_:
        statuses = (500, 502, 503, 529)
        once = await asyncio.gather(*(with_.case(f"f34 {each}", refused(each)) for each in statuses))
        thrice = await asyncio.gather(*(with_.case(f"f34 thrice {each}", *[refused(each)] * 3) for each in statuses))
        spared = await asyncio.gather(
            *(with_.case(f"f34 spare {each}", *[refused(each)] * 3, route="spare") for each in statuses)
        )
        for case in once:
            assert (case.end, len(case.waits), len(case.calls)) == (("done", "stop"), 1, 2)
        for case in thrice:
            assert (case.end, len(case.calls)) == (("error", "overloaded"), 3)
            assert len(case.waits) == 2
            assert case.waits[0] < case.waits[1] <= 2 * case.waits[0] * 4 / 3
        for case in spared:
            assert case.end == ("done", "stop")
            assert case.calls == [("openai", "error", "overloaded")] * 3 + [("spare", "done", None)]
            assert case.switches == [{"provider": "spare", "model": "other", "reason": "overloaded"}]
            assert (await case.viewer.reach_kind("started")).data["provider"] == "openai"
            assert (case.row["provider"], case.row["model"], case.row["calls"]) == ("spare", "other", 4)
        with_.spare.script_for("f34 both", *[refused(503)] * 3)
        both = await with_.case("f34 both", *[refused(529)] * 3, route="spare")
        assert (both.end, len(both.calls)) == (("error", "overloaded"), 6)
        final = {"provider_auth": (401, 403), "quota_exhausted": (402,), "provider_refused_request": (400, 404)}
        for code, refusals in final.items():
            for status in refusals:
                alone, helped = await asyncio.gather(
                    with_.case(f"f34 {status}", refused(status)),
                    with_.case(f"f34 spare {status}", refused(status), route="spare"),
                )
                assert (alone.end, alone.waits, len(alone.calls)) == (("error", code), [], 1)
                assert (helped.end, len(helped.calls), helped.waits) == (("done", "stop"), 2, [])
        await with_.check()
        return {"tried again": len(once), "gave up": len(thrice), "fell back": len(spared), "refused for good": 5}


@row("F35", "a 200 that carries an error, at first and after text")
async def f35(context: Context) -> Figures:
    no_credit = {"message": "secret prompt", "type": "insufficient_quota", "code": "insufficient_quota"}
    async with providers(context) as with_:
        first, after, anew, final, spare = await asyncio.gather(
            with_.case("f35 first", Answer(fault="error", at=0)),
            with_.case("f35 after", Answer(fault="error", at=10)),
            with_.case("f35 again", Answer(fault="error", at=10), route="again"),
            with_.case("f35 credit", Answer(fault="error", at=0, error=no_credit)),
            with_.case("f35 spare", *[Answer(fault="error", at=0)] * 3, route="spare"),
        )
        assert (first.end, len(first.waits), len(first.calls)) == (("done", "stop"), 1, 2)
        assert (after.end, after.row["text"]) == (("incomplete", "interrupted"), with_.words("f35 after", 10))
        assert (anew.end, anew.viewer.runs) == (("done", "stop"), [1, 2])
        assert (final.end, len(final.calls)) == (("error", "quota_exhausted"), 1)
        assert (spare.end, spare.row["provider"], len(spare.calls)) == (("done", "stop"), "spare", 4)
        await with_.check()
        return {"at first": "tried again", "after text": "incomplete"}


@row("F36", "a malformed line, an unknown event")
async def f36(context: Context) -> Figures:
    async with providers(context) as with_:
        first, after, anew, unknown, spare = await asyncio.gather(
            with_.case("f36 first", Answer(fault="malformed", at=0)),
            with_.case("f36 after", Answer(fault="malformed", at=10)),
            with_.case("f36 again", Answer(fault="malformed", at=10), route="again"),
            with_.case("f36 unknown", Answer(tokens=60, fault="unknown", at=10)),
            with_.case("f36 spare", Answer(fault="malformed", at=0), route="spare"),
        )
        assert (first.end, first.waits, len(first.calls)) == (("error", "provider_protocol"), [], 1)
        assert (after.end, after.row["text"]) == (("incomplete", "interrupted"), with_.words("f36 after", 10))
        assert (anew.end, anew.viewer.runs) == (("done", "stop"), [1, 2])
        assert (unknown.end, unknown.row["text"]) == (("done", "stop"), with_.words("f36 unknown", 60))
        assert (spare.end, spare.row["provider"]) == (("done", "stop"), "spare")
        await with_.check()
        return {"malformed": "provider_protocol, incomplete", "unknown": "skipped"}
