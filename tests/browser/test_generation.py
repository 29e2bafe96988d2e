"""`static/widget/generation.js` and `checksum.js`: events in, text and status out."""

from hashlib import sha256
from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.fake_service import FakeService

pytestmark = pytest.mark.asyncio(loop_scope="session")

STARTED = {"kind": "started", "id": "1-0", "data": {"run": 1, "provider": "p", "model": "m"}}


def delta(id: str, text: str) -> dict[str, Any]:
    return {"kind": "delta", "id": id, "data": {"text": text}}


def done(id: str) -> dict[str, Any]:
    return {"kind": "done", "id": id, "data": {"status": "done", "finish_reason": "stop", "sha256": "x", "length": 1}}


async def after(page: Page, *events: dict[str, Any]) -> Any:
    """The state after `events`; one that has a `status` of its own is a polled answer."""
    script = """async (events) => {
      const { applyAnswer, applyEvent, fresh } = await import("/static/widget/generation.js");
      return events.reduce((state, each) => (each.status ? applyAnswer(state, each) : applyEvent(state, each)), fresh());
    }"""
    return await page.evaluate(script, list(events))


def polled(status: str, text: str | None, **more: Any) -> dict[str, Any]:
    result = None if text is None else {"text": text, "finish_reason": None, "model": "m", "provider": "p"}
    return {"status": status, "result": result, "tokens": {"in": 3, "out": 5}, **more}


async def test_deltas_are_the_text_in_their_order(bench: Page) -> None:
    state = await after(bench, STARTED, delta("1-1", "Hel"), delta("1-2", "lo"))
    assert (state["text"], state["status"], state["lastId"]) == ("Hello", "running", "1-2")


async def test_an_event_that_was_seen_before_adds_nothing(bench: Page) -> None:
    state = await after(bench, STARTED, delta("1-1", "a"), delta("1-2", "b"), delta("1-1", "a"), delta("1-2", "b"))
    assert state["text"] == "ab"


async def test_another_run_clears_the_text_of_the_one_before(bench: Page) -> None:
    second = {"kind": "started", "id": "2-0", "data": {"run": 2, "provider": "p", "model": "m"}}
    state = await after(bench, STARTED, delta("1-1", "old"), second, delta("2-1", "new"))
    assert (state["text"], state["run"]) == ("new", 2)


async def test_text_of_another_run_is_never_appended(bench: Page) -> None:
    state = await after(bench, STARTED, delta("1-1", "old"), delta("2-1", "new"))
    assert (state["text"], state["lost"]) == ("old", True)


async def test_after_a_gap_nothing_is_appended_until_a_replay_begins(bench: Page) -> None:
    gap = (STARTED, delta("1-1", "a"), delta("1-3", "c"), delta("1-4", "d"))
    assert (await after(bench, *gap))["text"] == "a"
    state = await after(bench, *gap, STARTED, delta("1-1", "a"), delta("1-2", "b"), delta("1-3", "c"))
    assert (state["text"], state["lost"]) == ("abc", False)


async def test_a_gap_that_comes_again_and_again_is_left_to_the_checksum(bench: Page) -> None:
    gap = (STARTED, delta("1-1", "a"), delta("1-3", "c"))
    assert (await after(bench, *gap, *gap))["text"] == "a"
    assert (await after(bench, *gap, *gap, *gap))["text"] == "ac"


async def test_a_snapshot_replaces_everything(bench: Page) -> None:
    snapshot = {"kind": "snapshot", "id": "1-9", "data": {"text": "whole", "reasoning": "why"}}
    state = await after(bench, STARTED, delta("1-1", "part"), snapshot, delta("1-10", " and on"))
    assert (state["text"], state["reasoning"]) == ("whole and on", "why")


async def test_a_snapshot_of_the_row_is_the_cursor_of_nothing(bench: Page) -> None:
    snapshot = {"kind": "snapshot", "id": "0-0", "data": {"text": "stored"}}
    assert (await after(bench, STARTED, delta("1-1", "part"), snapshot))["lastId"] == "0-0"
    ended = await after(bench, STARTED, delta("1-1", "part"), snapshot, done("3-1"))
    assert (ended["text"], ended["status"], ended["lastId"]) == ("stored", "done", "3-1")


async def test_a_notice_without_an_id_leaves_the_cursor(bench: Page) -> None:
    queued = {"kind": "queued", "id": "", "data": {"position": 3}}
    state = await after(bench, queued)
    assert (state["position"], state["lastId"], state["status"]) == (3, None, "queued")
    sticky = {"kind": "queued", "id": "1-1", "data": {}}  # a browser repeats the last id with an event that has none
    assert (await after(bench, STARTED, delta("1-1", "a"), sticky, delta("1-2", "b")))["text"] == "ab"


async def test_a_wait_for_the_provider_is_over_with_the_first_text(bench: Page) -> None:
    waiting = {"kind": "waiting", "id": "1-1", "data": {"reason": "rate_limited", "retry_after": 2.5}}
    assert (await after(bench, STARTED, waiting))["wait"] == {"reason": "rate_limited", "retryAfter": 2.5}
    assert (await after(bench, STARTED, waiting, delta("1-2", "a")))["wait"] is None


async def test_nothing_follows_the_end(bench: Page) -> None:
    state = await after(bench, STARTED, delta("1-1", "a"), done("1-2"), delta("1-3", "b"), STARTED)
    assert (state["text"], state["status"]) == ("a", "done")


async def test_a_failure_keeps_the_text_that_came_before_it(bench: Page) -> None:
    data = {"code": "provider_timeout", "message": "m", "retryable": True, "sha256": "x", "length": 1}
    state = await after(bench, STARTED, delta("1-1", "a"), {"kind": "failed", "id": "1-2", "data": data})
    assert (state["text"], state["status"]) == ("a", "error")
    assert state["error"] == {"code": "provider_timeout", "message": "m", "retryable": True}


async def test_pieces_of_a_tool_call_are_joined_by_their_index(bench: Page) -> None:
    def piece(at: str, **data: Any) -> dict[str, Any]:
        return {"kind": "tool_call", "id": at, "data": data}

    state = await after(
        bench,
        STARTED,
        piece("1-1", index=0, id="t", name="find", arguments='{"a'),
        piece("1-2", index=1, name="other"),
        piece("1-3", index=0, arguments='":1}'),
    )
    assert [(call["name"], call["arguments"]) for call in state["toolCalls"]] == [("find", '{"a":1}'), ("other", "")]


async def test_an_unknown_kind_changes_nothing(bench: Page) -> None:
    assert await after(bench, STARTED, {"kind": "news", "id": "1-1", "data": {}}) == await after(bench, STARTED)


async def test_a_poll_that_is_behind_takes_nothing_back(bench: Page) -> None:
    state = await after(bench, STARTED, delta("1-1", "Hello"), polled("running", "Hel"), delta("1-2", "!"))
    assert state["text"] == "Hello!"


async def test_text_from_a_poll_makes_the_next_stream_begin_at_the_beginning(bench: Page) -> None:
    state = await after(bench, STARTED, delta("1-1", "Hel"), polled("running", "Hello"))
    assert (state["text"], state["lastId"]) == ("Hello", None)


async def test_a_polled_end_is_the_end(bench: Page) -> None:
    state = await after(bench, STARTED, delta("1-1", "Hel"), polled("incomplete", "Hello"))
    assert (state["text"], state["status"], state["usage"]) == ("Hello", "incomplete", {"input": 3, "output": 5})
    state = await after(bench, STARTED, polled("cancelled", None))
    assert (state["text"], state["status"]) == ("", "cancelled")


@pytest.mark.parametrize("text", ["", "plain", "héllo", "🙂 two 👩‍👩‍👧 pairs", "\u2028\u0085\ufeff", "a" * 100_000])
async def test_length_and_checksum_are_those_of_the_server(bench: Page, text: str) -> None:
    script = """async (text) => {
      const { codePoints, sha256 } = await import("/static/widget/checksum.js");
      return [codePoints(text), await sha256(text)];
    }"""
    assert await bench.evaluate(script, text) == [len(text), sha256(text.encode()).hexdigest()]


@pytest.mark.parametrize(
    ("expected", "fits"),
    [
        ({"sha256": sha256(b"abc").hexdigest(), "length": 3}, True),
        ({"sha256": sha256(b"abd").hexdigest(), "length": 3}, False),
        ({"sha256": sha256(b"abc").hexdigest(), "length": 4}, False),
    ],
)
async def test_a_text_fits_only_its_own_checksum(bench: Page, expected: dict[str, Any], fits: bool) -> None:
    script = """async (expected) => (await import("/static/widget/checksum.js")).matches("abc", expected)"""
    assert await bench.evaluate(script, expected) is fits


async def test_without_crypto_the_length_decides(fake: FakeService, page: Page) -> None:
    script = """async () => {
      Object.defineProperty(globalThis, "crypto", { value: {} });
      const { matches } = await import("/static/widget/checksum.js");
      return [await matches("abc", { sha256: "other", length: 3 }), await matches("ab", { sha256: "other", length: 3 })];
    }"""
    assert await page.evaluate(script) == [True, False]
