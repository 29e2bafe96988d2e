"""Faults of what is sent: bodies that are too large, too deep, not JSON or not said to be, and texts that are hard to count."""

import asyncio
import contextlib
import http.client
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from streamer.app import papers
from streamer.operation import Credential, Operation
from tasks import tokenizer
from tests.fakes.openai_server import Answer
from tests.faults.installation import Installation
from tests.faults.oracle import check_quiet, finish
from tests.faults.rows import Context, Figures, row

JSON = {"content-type": "application/json"}

REFUSED_WITH_400 = {
    "deep lists": b"[" * 60_000,
    "deep objects": b'{"message":' * 5_000 + b"1" + b"}" * 5_000,
    "a huge number": b'{"message": %b}' % (b"9" * 60_000),
    "a huge exponent": b'{"message": 1e999999}',
    "NaN": b'{"message": NaN}',
    "Infinity": b'{"message": -Infinity}',
    "a doubled key": b'{"message": "a", "message": "b"}',
    "half a surrogate pair": b'{"message": "\\ud800"}',
    "a null character": b'{"message": "a\\u0000"}',
    "no UTF-8": b'{"message": "\xff"}',
    "half a body": b'{"message": "a',
    "a list": b"[]",
    "a text": b'"message"',
    "nothing": b"",
    "an unknown field": b'{"base_url": "http://example.org"}',
}

REFUSED_WITH_415: dict[str, Mapping[str, str]] = {
    "a form": {"content-type": "application/x-www-form-urlencoded"},
    "plain text": {"content-type": "text/plain"},
    "many parts": {"content-type": "multipart/form-data; boundary=x"},
    "no type": {},
    "another charset": {"content-type": "application/json; charset=utf-16"},
    "compressed": {**JSON, "content-encoding": "gzip"},
}

#: Bytes: more than a body may have from a visitor, from a server, and what a client that never ends would send at most.
OVERSIZE, SERVERS_OVERSIZE, ENDLESS = 70_000, 4 * 1024 * 1024 + 1, 256 * 1024 * 1024


class Sender:
    """Sends raw requests with the credential that a call needs, and counts the statuses."""

    def __init__(self, it: Installation, port: int, token: str, chat: Mapping[str, Any]) -> None:
        self.statuses: Counter[int] = Counter()
        self._it = it
        self._port = port
        self._token = token
        self._ids = {"post_feedback": chat["id"], "patch_conversation": chat["conversation_id"]}

    async def refused(
        self, call: Operation, status: int, what: str, raw: bytes, headers: Mapping[str, str], *, announced: int = -1
    ) -> None:
        """`announced`: bytes that are told, though fewer are sent."""
        found, body = await asyncio.to_thread(self._send, call, raw, headers, announced)
        self.statuses[found] += 1
        code = {400: "bad_request", 413: "payload_too_large", 415: "unsupported_media_type"}[status]
        assert (found, body["error"]) == (status, code), f"{what} at {call.path}: {found} {body}"
        assert body["message"]
        assert body["request_id"]

    def endless(self, call: Operation) -> int:
        """Sends without end, in chunks, until it is answered or cut off; returns the bytes that went."""
        connection = self._begun(call, {**JSON, "transfer-encoding": "chunked"})
        sent, chunk = 0, b"%x\r\n%b\r\n" % (65536, b" " * 65536)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            while sent < ENDLESS:
                connection.send(chunk)
                sent += len(chunk)
        return sent

    def _send(self, call: Operation, raw: bytes, headers: Mapping[str, str], announced: int) -> tuple[int, Any]:
        length = announced if announced >= 0 else len(raw)
        connection = self._begun(call, {**headers, "content-length": str(length)})
        with contextlib.closing(connection):
            connection.send(raw)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def _begun(self, call: Operation, headers: Mapping[str, str]) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=40)
        connection.putrequest(call.method, call.path.replace("{id}", self._ids.get(call.id, "")))
        if call.credentials[0] is not Credential.GRANT:
            credential = self._token if call.credentials[0] is Credential.VISITOR else self._it.api_key
            connection.putheader("authorization", f"Bearer {credential}")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection


def _peak_bytes(pid: int) -> int:
    """The most memory that the process has had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@row("F46", "bodies oversize, deep, doubled, not JSON or not said to be, at every call that has one")
async def f46(context: Context) -> Figures:
    async with Installation(context.folder, context.durations) as it:
        web, port = await it.start_web()
        await it.start_worker()
        chat = await it.ask(port, "f46")
        viewer = await (await it.watch(port, chat, "f46")).follow()
        await finish(it, port, chat, viewer)
        sender = Sender(it, port, await it.visitor(port), chat)
        calls = [each for each in papers.operations if each.body is not None]
        assert len(calls) >= 5
        for call in calls:
            for what, raw in REFUSED_WITH_400.items():
                await sender.refused(call, 400, what, raw, JSON)
            for what, headers in REFUSED_WITH_415.items():
                await sender.refused(call, 415, what, b'{"message": "a"}', headers)
            announced = SERVERS_OVERSIZE if call.path.startswith("/v1/") else OVERSIZE
            await sender.refused(call, 413, "too many bytes", b" " * OVERSIZE, JSON, announced=announced)
            await sender.refused(call, 413, "deep and too many", b"[" * OVERSIZE, JSON, announced=announced)
            await sender.refused(call, 413, "announced", b"{", JSON, announced=10**12)
        before = _peak_bytes(web.pid)
        went = await asyncio.gather(*(asyncio.to_thread(sender.endless, call) for call in calls))
        grown = _peak_bytes(web.pid) - before
        assert max(went) < ENDLESS, "a body without end was read"
        assert grown < 32 * 1024 * 1024, f"it cost {grown} bytes of memory"
        assert " 500 " not in web.said()
        assert it.rows("SELECT count(*) FROM generation") == [(1,)]
        assert it.provider.calls == 1
        again = await it.ask(port, "f46 again")
        await finish(it, port, again, await (await it.watch(port, again, "f46 again")).follow())
        return {"calls": len(calls), **{str(status): count for status, count in sorted(sender.statuses.items())}}


@contextlib.asynccontextmanager
async def _others(it: Installation, port: int) -> AsyncIterator[list[float]]:
    """Meanwhile, the seconds of each of many requests that need nothing but the web process's loop."""
    took: list[float] = []
    over = asyncio.Event()

    async def ask() -> None:
        while not over.is_set():
            began = time.monotonic()
            status, _, _ = await it.call(port, "GET", "/healthz")
            assert status == 200
            took.append(time.monotonic() - began)
            await asyncio.sleep(0.005)  # others ask, they do not flood

    asking = asyncio.create_task(ask())
    try:
        yield took
    finally:
        over.set()
        await asking


#: A megabyte each, and whether the route's 16,000 tokens hold it.
MEGABYTES = {
    "one letter": ("a" * 2**20, False),
    "spaces": ("x" + " " * 2**20, True),
    "line ends": ("x" + "\n" * 2**20, False),
    "one emoji": ("😀" * 2**18, False),
}


@row("F72", "a megabyte of spaces, of one letter, of one emoji to the tokenizer")
async def f72(context: Context) -> Figures:
    limits = {"STREAMER_MAX_MESSAGE_BYTES": "2000000", "STREAMER_MAX_BODY_BYTES": "16000000"}
    async with Installation(context.folder, context.durations, limits) as it:
        _, port = await it.start_web()
        await it.start_worker()
        token = await it.visitor(port)
        told: dict[str, int] = {}

        async def post(text: str) -> tuple[int, Any, float, float]:
            """Status, body, seconds, and the longest that another request waited meanwhile."""
            async with _others(it, port) as waits:
                began = time.monotonic()
                status, body, _ = await it.call(port, "POST", "/ai/v1/chat", {"message": text}, token)
                seconds = time.monotonic() - began
            return status, body, seconds, max(waits)

        *_, loading = await post("a" * 2**18)  # the first that must be counted: the process loads the encoding
        slowest = longest_wait = 0.0
        for what, (text, fits) in MEGABYTES.items():
            status, body, seconds, waited = await post(text)
            assert status == (202 if fits else 413), (what, body)
            assert fits or "16000 tokens at most" in body["message"], body
            told[what] = status
            if seconds > slowest:
                slowest, longest_wait = seconds, waited
            if fits:
                await finish(it, port, body, await (await it.watch(port, body, text)).follow())
                assert it.provider.seen[-1]["messages"][-1]["content"] == text
        assert it.provider.calls == sum(fits for _, fits in MEGABYTES.values())
        assert slowest < it.durations.bound(10), f"an answer took {slowest:.1f} s"
        if it.durations.strict:
            assert longest_wait < slowest / 2, (
                f"others waited {longest_wait:.2f} of {slowest:.2f} s: it counts on the loop"
            )
        output = await _answered_with_a_megabyte(it, port)
        await check_quiet(it, port)
        assert loading < it.durations.bound(2.5), f"others waited {loading:.1f} s for the encoding to load"
        milliseconds = {"slowest": slowest, "others waited": longest_wait, "once, while loading": loading}
        figures = {f"{name} ms": round(seconds * 1000) for name, seconds in milliseconds.items()}
        return {**told, **figures, "tokens estimated of a megabyte": output}


async def _answered_with_a_megabyte(it: Installation, port: int) -> int:
    """A provider that sends a megabyte of one letter and breaks off: its tokens are estimated. Returns the estimate."""
    texts = ("a" * 8192,) * 128
    it.provider.usually = Answer(texts=texts, fault="end", at=len(texts))
    chat = await it.ask(port, "f72")
    viewer = await it.watch(port, chat, "f72")
    viewer.oracle = "".join(texts)
    ended = await finish(it, port, chat, await viewer.follow())
    assert (ended["usage_source"], len(ended["text"])) == ("estimated", 2**20), (ended["usage_source"], ended["status"])
    assert ended["output_tokens"] == tokenizer.count("".join(texts), "gpt-4o-mini")
    return int(ended["output_tokens"])
