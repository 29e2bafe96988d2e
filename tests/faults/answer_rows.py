"""Faults within answers: they never end, come a byte at a time, can't be read, or are no answers at all."""

import asyncio
import gzip
import json
from typing import Any

from tests.fakes.openai_server import Answer, html, redirect
from tests.faults.providers import providers
from tests.faults.rows import Context, Figures, row


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
