"""An answer that is followed through whatever a stream does: it ends with the stored text, or says that it can't."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.fake_service import LINKS, FakeService, Reply, delta, done, frame, refusal, started, state, stream
from tests.browser.visitor import expect_end, last_text, send

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def hurry(page: Page, **timing: int) -> None:
    """Shortens the follower's durations, in milliseconds."""
    script = """async (timing) => Object.assign((await import("/static/widget/follower.js")).TIMING, timing)"""
    await page.evaluate(script, timing)


async def the_end(page: Page) -> Any:
    """What `ai-chat-end` tells, for the message that is sent meanwhile."""
    script = """() => new Promise((resolve) =>
      document.addEventListener("ai-chat-end", ({ detail }) => resolve(detail), { once: true }))"""
    return await page.evaluate(script)


async def test_a_cut_stream_goes_on_after_the_last_event_and_doubles_nothing(fake: FakeService, page: Page) -> None:
    fake.streams = [
        stream(started(), delta("1-1", "Hello")),
        stream(delta("1-1", "Hello"), delta("1-2", " world")),
        stream(done("1-3", "Hello world")),
    ]
    ended = asyncio.create_task(the_end(page))
    await send(page)
    await expect_end(page, "Hello world")
    assert fake.cursors() == [None, "1-1", "1-2"]
    assert ((await ended)["resumes"], (await ended)["verified"]) == (2, True)


async def test_a_close_notice_is_followed_by_a_new_stream_after_the_last_event(fake: FakeService, page: Page) -> None:
    notice = frame("close", code="draining", reconnect=True, retry_ms=30)
    fake.streams = [
        stream(started(), delta("1-1", "Hello"), notice, retry_ms=60_000),
        stream(delta("1-2", " world"), done("1-3", "Hello world")),
    ]
    await send(page)
    await expect_end(page, "Hello world")
    assert fake.cursors() == [None, "1-1"]


async def test_a_close_notice_for_good_is_followed_by_polls(fake: FakeService, page: Page) -> None:
    notice = frame("close", code="auth_expired", reconnect=False, retry_ms=0)
    await hurry(page, pollPause=10)
    fake.streams = [stream(started(), delta("1-1", "Hel"), notice), stream(notice)]
    fake.polls = [state("running", "Hello"), state("done", "Hello world")]
    await send(page)
    await expect_end(page, "Hello world")


async def test_where_streams_are_refused_polls_show_the_text_as_it_grows(fake: FakeService, page: Page) -> None:
    await hurry(page, pollPause=10)
    fake.streams = [refusal(503, "blocked_by_a_proxy")]
    more = asyncio.Event()
    end = state("done", "Hello world")
    end.when = more
    fake.polls = [state("queued"), state("running", "Hello"), state("running", "Hello"), end]
    await send(page)
    await expect(last_text(page)).to_have_text("Hello")
    more.set()
    await expect_end(page, "Hello world")
    assert len(fake.cursors()) == 2, "one more try, then polling only"
    assert "wait" in fake.requests("GET", LINKS["self"])[-1].query


async def test_where_the_browser_has_no_event_source_polls_show_the_text(fake: FakeService, page: Page) -> None:
    await page.evaluate("() => { delete globalThis.EventSource; }")
    fake.polls = [state("running", "Hel"), state("done", "Hello")]
    await send(page)
    await expect_end(page, "Hello")
    assert fake.cursors() == []


async def test_a_stream_that_only_fails_is_given_up_for_polls(fake: FakeService, page: Page) -> None:
    await hurry(page, pollPause=10)
    fake.streams = [stream(retry_ms=10)]
    fake.polls = [state("running"), state("running"), state("done", "Hello")]
    await send(page)
    await expect_end(page, "Hello")
    assert 4 <= len(fake.cursors()) <= 8


async def test_a_stream_that_works_between_refusals_is_taken_up_again_each_time(fake: FakeService, page: Page) -> None:
    await hurry(page, pollPause=10)
    refused = refusal(503, "restarting")
    fake.streams = [
        *(refused, stream(started(), delta("1-1", "a"))),
        *(refused, stream(delta("1-2", "b"))),
        *(refused, stream(delta("1-3", "c"), done("1-4", "abc"))),
    ]
    await send(page)
    await expect_end(page, "abc")
    assert fake.cursors() == [None, None, "1-1", "1-1", "1-2", "1-2"]


async def test_a_stream_that_was_answered_204_asks_how_it_ended(fake: FakeService, page: Page) -> None:
    fake.streams = [stream(started(), delta("1-1", "Hello")), Reply(status=204)]
    fake.polls = [state("done", "Hello")]
    await send(page)
    await expect_end(page, "Hello")


async def test_a_text_that_differs_from_the_stored_one_is_fetched_again_and_said_so(
    fake: FakeService, page: Page
) -> None:
    fake.streams = [stream(started(), delta("1-1", "Hxllo"), done("1-2", "Hello"))]
    fake.polls = [state("running", "H"), state("done", "Hello")]
    await send(page)
    await expect_end(page, "Hello")
    await expect(page.get_by_text("Pieces were missing on the way")).to_be_visible()


async def test_a_missing_event_is_made_up_for_by_a_replay(fake: FakeService, page: Page) -> None:
    fake.streams = [
        stream(started(), delta("1-1", "a"), delta("1-3", "c"), retry_ms=60_000),
        stream(started(), delta("1-1", "a"), delta("1-2", "b"), delta("1-3", "c"), done("1-4", "abc")),
    ]
    ended = asyncio.create_task(the_end(page))
    await send(page)
    await expect_end(page, "abc")
    assert fake.cursors() == [None, None]
    assert (await ended)["verified"] is True
    assert len(fake.requests("GET", LINKS["self"])) == 0, "no poll was needed"


async def test_a_frame_that_is_no_json_ends_the_stream_not_the_answer(fake: FakeService, page: Page) -> None:
    fake.streams = [stream(started(), "id: 1-1\nevent: delta\ndata: {\n\n")]
    fake.polls = [state("done", "Hello")]
    await send(page)
    await expect_end(page, "Hello")


async def test_a_stream_that_falls_silent_is_checked_and_replaced(fake: FakeService, page: Page) -> None:
    await hurry(page, silence=50, grace=20, pollPause=10)
    fake.streams = [stream(asyncio.Event())]
    fake.polls = [state("running"), state("running", "Hel"), state("running", "Hello"), state("done", "Hello")]
    await send(page)
    await expect_end(page, "Hello")


async def test_a_page_that_is_seen_again_checks_its_stream(fake: FakeService, page: Page) -> None:
    await hurry(page, grace=20)
    fake.streams = [stream(started(), delta("1-1", "Hel"), asyncio.Event())]
    fake.polls = [state("done", "Hello")]
    await send(page)
    await expect(last_text(page)).to_have_text("Hel")
    await page.evaluate("""() => document.dispatchEvent(new Event("visibilitychange"))""")
    await expect_end(page, "Hello")


async def test_a_page_from_the_back_forward_cache_opens_a_new_stream(fake: FakeService, page: Page) -> None:
    frozen = stream(started(), delta("1-1", "Hel"), asyncio.Event())
    fake.streams = [frozen, stream(delta("1-2", "lo"), done("1-3", "Hello"))]
    await send(page)
    await expect(last_text(page)).to_have_text("Hel")
    await page.evaluate("""() => window.dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }))""")
    await expect_end(page, "Hello")
    assert fake.cursors() == [None, "1-1"]


async def test_a_second_run_clears_what_the_first_one_wrote(fake: FakeService, page: Page) -> None:
    fake.streams = [stream(started(), delta("1-1", "Old"), started(2), delta("2-1", "New"), done("2-2", "New"))]
    await send(page)
    await expect_end(page, "New")
