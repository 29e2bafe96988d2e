"""Faults of providers: they refuse, fail, hang, break off, go on for ever, or send what nobody can read."""

import asyncio
import contextlib
import email.utils
import gzip
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tests.fakes.openai_server import Answer, FakeOpenAI, html, redirect, refused
from tests.faults.installation import Installation
from tests.faults.oracle import check_end, check_log, check_quiet
from tests.faults.rows import Context, Figures, row
from tests.faults.viewer import Viewer

#: A second server, and the route that falls back to it.
ROUTES = """
[providers.spare]
kind = "openai"
base_url = "{url}"
allow_private = true

[routes.spare]
model = "openai:gpt-4o-mini"
fallbacks = ["spare:other"]
"""

#: The waits of these rows, unless they are those that users have.
SHORT = {
    "STREAMER_PROVIDER_FIRST_BYTE_SECONDS": "1",
    "STREAMER_PROVIDER_IDLE_SECONDS": "1",
    "STREAMER_BACKOFF_SECONDS": "0.1",
}

#: These rows fail one model again and again; the breaker has a row of its own.
NO_BREAKER = {"STREAMER_BREAKER_FAILURES": "100000"}

#: The breaker's and the loop's own durations, sixty times as fast.
HOUR_IN_A_MINUTE = {
    "STREAMER_BACKOFF_SECONDS": "0.02",
    "STREAMER_MAX_BACKOFF_SECONDS": "0.13",
    "STREAMER_BREAKER_WINDOW_SECONDS": "1",
    "STREAMER_BREAKER_COOL_DOWN_SECONDS": "0.1",
    "STREAMER_BREAKER_MAX_COOL_DOWN_SECONDS": "2",
    "STREAMER_BREAKER_PROBE_SECONDS": "1",
}


class Case:
    """One request and all that came of it."""

    def __init__(
        self, viewer: Viewer, row: Mapping[str, Any], calls: list[tuple[str, str, str | None]], seconds: float
    ):
        self.viewer = viewer
        self.row = row
        self.calls = calls
        """The ledger's lines: provider, outcome, error."""
        self.seconds = seconds

    @property
    def end(self) -> tuple[str, str | None]:
        """The status, and the finish reason or the error."""
        return str(self.row["status"]), self.row["finish_reason"] or self.row["error_code"]

    @property
    def waits(self) -> list[float]:
        """What the `waiting` events announced, in seconds."""
        return [event.data["retry_after"] for event in self.viewer.events if event.kind == "waiting"]

    @property
    def switches(self) -> list[dict[str, Any]]:
        return [event.data for event in self.viewer.events if event.kind == "switched"]


class Providers:
    """A whole installation with two providers: `openai`, and `spare`, to which the route `spare` falls back."""

    def __init__(self, it: Installation, spare: FakeOpenAI, port: int, worker_pid: int) -> None:
        self.it = it
        self.spare = spare
        self.port = port
        self._worker_pid = worker_pid

    async def case(self, message: str, *answers: Answer, route: str = "chat", text: str | None = None) -> Case:
        """Asks, and holds log, row and viewer against `text`, or what the provider says unless told otherwise."""
        it = self.it
        it.provider.script_for(message, *answers)
        began = time.monotonic()
        chat = await it.ask(self.port, message, f"user of {message}", route=route)
        viewer = await it.watch(self.port, chat, message, f"user of {message}")
        viewer.oracle = it.oracle(message, 60) if text is None else text
        await viewer.follow(it.durations.bound(300))
        seconds = time.monotonic() - began
        row = check_end(it, chat["id"], viewer)
        await check_log(it, chat["id"])
        ledger = "SELECT provider, outcome, error_code FROM provider_call WHERE generation_id = ? ORDER BY number"
        said = json.dumps([event.data for event in viewer.events]) + str(row["error_message"])
        assert "secret" not in said, "a provider's own words got out"
        assert viewer.end is not None
        if viewer.end.kind == "done":
            polled = await it.poll(self.port, chat, f"user of {message}")
            told = (viewer.end.data["provider"], viewer.end.data["model"])
            assert told == (row["provider"], row["model"])
            assert not row["text"] or told == (polled["result"]["provider"], polled["result"]["model"])
        return Case(viewer, row, [tuple(line) for line in it.rows(ledger, chat["id"])], seconds)

    def words(self, message: str, tokens: int) -> str:
        return "".join(FakeOpenAI.words(message, tokens))

    def peak_bytes(self) -> int:
        """The most memory that the worker has had."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self._worker_pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    async def check(self) -> None:
        """Nothing is left over, no call without its line, and no log has a provider's words."""
        await check_quiet(self.it, self.port)
        assert self.it.rows("SELECT count(*) FROM provider_call WHERE ended_at IS NULL") == [(0,)]
        assert self.it.rows("SELECT count(*) FROM provider_call") == [(self.it.provider.calls + self.spare.calls,)]
        for process in self.it.processes:
            assert "secret" not in process.said(), f"{process.name} has logged a provider's words"


@contextlib.asynccontextmanager
async def providers(context: Context, settings: Mapping[str, str] = NO_BREAKER) -> AsyncIterator[Providers]:
    short = {} if context.durations.real else SHORT
    with FakeOpenAI(Answer(tokens=60)) as spare:
        async with Installation(context.folder, context.durations, {**short, **settings}) as it:
            with (it.folder / "routes.toml").open("a") as file:
                file.write(ROUTES.format(url=spare.url))
            (_, port), worker = await asyncio.gather(it.start_web(), it.start_worker())
            it.provider.usually = Answer(tokens=60)
            yield Providers(it, spare, port, worker.pid)


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


@row("F37", "a line of 10 MB, an answer without end, a byte at a time")
async def f37(context: Context) -> Figures:
    async with providers(context) as with_:
        it = with_.it
        await with_.case("f37 first of all")
        before = with_.peak_bytes()
        endless = ("It goes on. ", "and on " * 1000)
        begun = "begun "
        slow = Answer(texts=(begun,) * 40, bytes_a_write=8, seconds_a_write=0.05)
        line, early, cut, anew, slowly, silent = await asyncio.gather(
            with_.case("f37 line", Answer(fault="line", at=10)),
            with_.case("f37 early line", Answer(fault="line", at=0)),
            with_.case("f37 endless", Answer(texts=endless, fault="endless", at=2), text=endless[0] + endless[1] * 160),
            with_.case(
                "f37 again",
                Answer(texts=endless, fault="endless", at=2),
                route="again",
                text=endless[0] + endless[1] * 160,
            ),
            with_.case("f37 slow", slow, route="brief", text=begun * 40),
            with_.case("f37 silent", Answer(bytes_a_write=1, seconds_a_write=0.9), route="brief"),
        )
        assert (line.end, line.row["text"]) == (("incomplete", "limit"), with_.words("f37 line", 10))
        assert (early.end, early.waits) == (("error", "answer_too_long"), [])
        for case in (cut, anew):
            assert (case.end, len(case.row["text"].encode()), len(case.calls)) == (("incomplete", "limit"), 2**20, 1)
        assert slowly.end == ("incomplete", "limit")
        assert slowly.row["text"]
        assert silent.end == ("error", "deadline_exceeded")
        assert max(slowly.seconds, silent.seconds) < 6 + it.durations.bound(4)  # the route's deadline is what it is
        grown = with_.peak_bytes() - before
        assert grown < 96 * 2**20, f"it cost {grown} bytes of memory"
        await with_.check()
        return {
            "endless bytes kept": 2**20,
            "memory MB": grown // 2**20,
            "slow ended after s": round(slowly.seconds, 1),
        }


#: What stands inside a text, and must stay there.
FORGED = "\n\nevent: done\ndata: {}\n\nid: 9-9\nevent: failed\ndata: x\n\n: \r\r\n\n"


def _raw(*texts: str, ends: bytes = b"\n\n", before: bytes = b"") -> bytes:
    chunks: list[Any] = [
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in texts
    ]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    lines = [json.dumps(chunk, ensure_ascii=False).encode("utf-8", "surrogatepass") for chunk in chunks]
    return before + b"".join(b"data: " + line + ends for line in [*lines, b"[DONE]"])


@row("F38", "bytes that are no UTF-8, split characters, odd line ends, forged frames inside the text")
async def f38(context: Context) -> Figures:
    async with providers(context) as with_:
        odd = ("a\u2028b\u2029c\u0085d", "e\x0bf\x0cg", "😀👩‍👩‍👧‍👦", "\u202eback\u200f", "\ufeffmark")
        bodies: dict[str, tuple[Answer, str]] = {
            "invalid UTF-8": (
                Answer(body=_raw("a?b").replace(b"a?b", b"a\xff\xfe\xc3b")),
                "a\ufffd\ufffd\ufffdb",
            ),
            "an emoji a byte at a time": (Answer(body=_raw("x😀y", "👩‍👧"), bytes_a_write=1), "x😀y👩‍👧"),
            "an emoji in two chunks": (
                Answer(body=_raw("a", "HI", "LO").replace(b"HI", b"\\ud83d").replace(b"LO", b"\\ude00")),
                "a😀",
            ),
            "a lone surrogate": (Answer(texts=("a\ud800b", "c\udc00")), "a\ufffdbc\ufffd"),
            "U+0000": (Answer(texts=("a\0b",)), "a\ufffdb"),
            "odd separators": (Answer(texts=odd), "".join(odd)),
            "CR": (Answer(body=_raw("one ", "two", ends=b"\r\r")), "one two"),
            "CRLF, split": (Answer(body=_raw("one ", "two", ends=b"\r\n\r\n"), bytes_a_write=1), "one two"),
            "a mark before": (Answer(body=_raw("one ", "two", before=b"\xef\xbb\xbf")), "one two"),
            "comments between": (Answer(body=_raw("one ", "two", ends=b"\n\n: ping\n\n")), "one two"),
            "forged frames": (Answer(texts=("a", FORGED, "b")), f"a{FORGED}b"),
            "forged frames, split": (Answer(texts=tuple(FORGED)), FORGED),
        }
        cases = await asyncio.gather(
            *(with_.case(f"f38 {name}", answer, text=text) for name, (answer, text) in bodies.items())
        )
        for case, (name, (_, text)) in zip(cases, bodies.items(), strict=True):
            assert case.end == ("done", "stop"), name
            assert case.row["text"] == text, (name, case.row["text"])
            kinds = [event.kind for event in case.viewer.events]
            assert set(kinds) <= {"queued", "started", "delta", "done"}, (name, kinds)
            assert kinds.count("done") == 1
        await with_.check()
        return {"texts exact": len(cases), "forged events": 0}


@row("F39", "HTML with 200, a gzip bomb, a redirect to a private address")
async def f39(context: Context) -> Figures:
    async with providers(context) as with_:
        await with_.case("f39 first of all")
        before = with_.peak_bytes()
        bomb = gzip.compress(b"data: " + b"x" * 2**26 + b"\n\n")
        packed = {"content-encoding": "gzip"}
        inside = f"http://127.0.0.1:{with_.spare.port}/v1/chat/completions"
        answers = {
            "html": html(),
            "gzip": Answer(headers=packed, body=bomb),
            "gzip as JSON": Answer(headers=packed | {"content-type": "application/json"}, body=bomb),
            "redirect": redirect(inside),
            "redirect by 302": Answer(status=302, headers={"location": inside}, body=b""),
            "metadata": redirect("http://169.254.169.254/latest/meta-data/"),
        }
        cases = await asyncio.gather(*(with_.case(f"f39 {name}", answer) for name, answer in answers.items()))
        for name, case in zip(answers, cases, strict=True):
            assert (case.end, case.waits) == (("error", "provider_protocol"), []), name
        assert with_.spare.calls == 0, "a redirect was followed"
        grown = with_.peak_bytes() - before
        assert grown < 32 * 2**20, f"it cost {grown} bytes of memory"
        page = await with_.case("f39 page of a proxy", html(502))
        assert (page.end, len(page.waits)) == (("done", "stop"), 1)
        await with_.check()
        return {"refused": len(cases), "followed": with_.spare.calls, "memory MB": grown // 2**20}
