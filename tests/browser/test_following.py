"""The widget against a service that misbehaves on demand: it ends with the stored text, or says that it can't."""

import asyncio
import json
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.fake_service import (
    LINKS,
    FakeService,
    Reply,
    accepted,
    answer,
    delta,
    done,
    failed,
    frame,
    refusal,
    started,
    state,
    stream,
)
from tests.browser.visitor import last_text, send

pytestmark = pytest.mark.asyncio(loop_scope="session")

WHOLE = stream(started(), delta("1-1", "Hello"), delta("1-2", " world"), done("1-3", "Hello world"))


async def expect_end(page: Page, with_text: str) -> None:
    await expect(page.get_by_role("button", name="Send")).to_be_attached()
    await expect(last_text(page)).to_have_text(with_text)


async def hurry(page: Page, **timing: int) -> None:
    """Shortens the follower's durations, in milliseconds."""
    script = """async (timing) => Object.assign((await import("/static/widget/follower.js")).TIMING, timing)"""
    await page.evaluate(script, timing)


async def the_end(page: Page) -> Any:
    """What `ai-chat-end` tells, for the message that is sent meanwhile."""
    script = """() => new Promise((resolve) =>
      document.addEventListener("ai-chat-end", ({ detail }) => resolve(detail), { once: true }))"""
    return await page.evaluate(script)


async def test_a_message_is_posted_once_and_its_answer_streamed(fake: FakeService, page: Page) -> None:
    fake.streams = [WHOLE]
    await send(page, "Hi\nthere")
    await expect_end(page, "Hello world")
    (post,) = fake.requests("POST", "/ai/v1/chat")
    assert post.json == {"message": "Hi\nthere"}
    assert post.headers["authorization"] == "Bearer token-1"
    assert len(post.headers["idempotency-key"]) == 32
    (events,) = fake.requests("GET", LINKS["events"])
    assert events.query == {"ticket": "ticket-1"}
    assert "authorization" not in events.headers


async def test_the_conversation_goes_on_after_the_turn_that_is_shown(fake: FakeService, page: Page) -> None:
    fake.posts, fake.streams = [accepted(id="g1"), accepted(id="g2")], [WHOLE]
    for message in ("one", "two"):
        await send(page, message)
        await expect_end(page, "Hello world")
    first, second = fake.requests("POST", "/ai/v1/chat")
    assert second.json == {"message": "two", "conversation_id": "c1", "parent": "g1"}
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


async def test_shift_enter_makes_a_new_line_and_an_empty_message_is_not_sent(fake: FakeService, page: Page) -> None:
    box = page.get_by_label("Message")
    await box.press("Enter")
    await expect(page.get_by_role("button", name="Send")).to_be_disabled()
    await box.press_sequentially("a")
    await box.press("Shift+Enter")
    await box.press_sequentially("b")
    await expect(box).to_have_value("a\nb")
    assert fake.requests("POST", "/ai/v1/chat") == []


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


async def test_what_is_waited_for_is_said(fake: FakeService, page: Page) -> None:
    later, claimed, refused, cut = (asyncio.Event() for _ in range(4))
    waiting = frame("waiting", "1-1", reason="rate_limited", retry_after=3)
    fake.posts = [accepted(later)]
    fake.streams = [
        stream(frame("queued", position=2), claimed, started(), refused, waiting, cut),
        Reply(when=asyncio.Event()),
    ]
    await send(page)
    pending = page.locator(".pending")
    await expect(pending).to_have_text("Sending…")
    await expect(page.get_by_role("article", name="Assistant")).to_have_attribute("aria-busy", "true")
    for happens, said in (
        (later, "Waiting in the queue, 2 before you"),
        (claimed, "Thinking…"),
        (refused, "The provider has too much to do. Next try in 3 s"),
    ):
        happens.set()
        await expect(pending).to_have_text(said)
        await expect(page.get_by_role("status")).to_have_text(said)
    cut.set()
    await expect(page.get_by_role("status")).to_have_text("Connection lost. Reconnecting…")


async def test_a_browser_without_network_says_so_and_goes_on_with_it(
    fake: FakeService, page: Page, context: BrowserContext
) -> None:
    more = asyncio.Event()
    fake.streams = [stream(started(), delta("1-1", "Hel"), more, delta("1-2", "lo"), done("1-3", "Hello"))]
    await send(page)
    await expect(last_text(page)).to_have_text("Hel")
    await context.set_offline(True)
    await expect(page.get_by_role("status")).to_have_text("You are offline. The answer goes on without you.")
    await context.set_offline(False)
    await expect(page.get_by_role("status")).to_have_text("Answering")
    more.set()
    await expect_end(page, "Hello")


async def test_an_end_without_all_the_text_is_said(fake: FakeService, page: Page) -> None:
    ended = done("1-2", "Hel", status="incomplete", finish_reason="interrupted")
    fake.streams = [stream(started(), delta("1-1", "Hel"), ended)]
    await send(page)
    await expect_end(page, "Hel")
    await expect(page.get_by_text("The provider broke off. This is what arrived.")).to_be_visible()


async def test_a_failed_answer_can_be_tried_again_beside_it(fake: FakeService, page: Page) -> None:
    fake.posts = [accepted(id="g1"), accepted(id="g2")]
    fake.streams = [stream(started(), delta("1-1", "Hel"), failed("1-2", "Hel")), WHOLE]
    await send(page, "Question")
    await expect(page.get_by_role("alert")).to_contain_text("The answer failed. Too slow.")
    await expect(page.get_by_role("alert")).to_contain_text("provider_timeout")
    await expect(last_text(page)).to_have_text("Hel")
    await page.get_by_role("button", name="Try again").click()
    await expect_end(page, "Hello world")
    first, second = fake.requests("POST", "/ai/v1/chat")
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]
    assert second.json == {"regenerate": "g1"}
    await expect(page.get_by_role("article", name="You")).to_have_text("Question")
    await expect(page.get_by_role("group", name="Version 2 of 2")).to_be_visible()


async def test_a_failure_that_will_stay_offers_no_second_try(fake: FakeService, page: Page) -> None:
    fake.streams = [stream(started(), failed("1-1", "", "provider_auth", retryable=False))]
    await send(page)
    await expect(page.get_by_role("alert")).to_contain_text("provider_auth")
    await expect(page.get_by_role("button", name="Try again")).to_have_count(0)


async def test_stop_waits_for_the_end_that_the_server_tells(fake: FakeService, page: Page) -> None:
    closed = asyncio.Event()
    ended = done("1-2", "Hel", status="cancelled", finish_reason="cancelled")
    fake.streams = [stream(started(), delta("1-1", "Hel"), closed, ended)]
    await send(page)
    await expect(last_text(page)).to_have_text("Hel")
    stop = page.get_by_role("button", name="Stop")
    await stop.click()
    await expect(stop).to_be_disabled()
    await expect(page.get_by_text("Stopped", exact=True)).to_have_count(0)
    assert len(fake.requests("POST", LINKS["cancel"])) == 1
    closed.set()
    await expect(page.locator(".meta")).to_have_text("Stopped")
    await expect_end(page, "Hel")


async def test_a_stop_that_fails_is_said_and_can_be_pressed_again(fake: FakeService, page: Page) -> None:
    closed = asyncio.Event()
    ended = done("1-2", "Hel", status="cancelled", finish_reason="cancelled")
    fake.streams = [stream(started(), delta("1-1", "Hel"), closed, ended)]
    fake.cancels = [refusal(503, "unavailable", "Away."), fake.cancels[0]]
    await send(page)
    await expect(last_text(page)).to_have_text("Hel")
    stop = page.get_by_role("button", name="Stop")
    await stop.click()
    await expect(page.get_by_role("status")).to_have_text("Could not stop it. Away.")
    await stop.click()
    await expect(stop).to_be_disabled()
    closed.set()
    await expect_end(page, "Hel")


async def test_stop_before_the_request_was_accepted_cancels_it_then(fake: FakeService, page: Page) -> None:
    later, closed = asyncio.Event(), asyncio.Event()
    fake.posts = [accepted(later)]
    fake.streams = [stream(frame("queued"), closed, done("1-1", "", status="cancelled", finish_reason="cancelled"))]
    await send(page)
    await page.get_by_role("button", name="Stop").click()
    async with page.expect_request(f"**{LINKS['cancel']}"):
        later.set()
    closed.set()
    await expect(page.locator(".meta")).to_have_text("Stopped")


async def test_a_refused_token_is_renewed_once_and_the_call_sent_again(fake: FakeService, page: Page) -> None:
    fake.posts = [refusal(401, "unauthorized"), accepted()]
    fake.tokens = [answer({"token": f"token-{n}", "expires_in": 900}) for n in (1, 2)]
    fake.streams = [WHOLE]
    await send(page)
    await expect_end(page, "Hello world")
    posts = fake.requests("POST", "/ai/v1/chat")
    assert [post.headers["authorization"] for post in posts] == ["Bearer token-1", "Bearer token-2"]
    assert len({post.headers["idempotency-key"] for post in posts}) == 1


async def test_a_visitor_whom_nobody_knows_is_told_what_to_do(fake: FakeService, page: Page) -> None:
    fake.posts = [refusal(401, "unauthorized", "The credential is expired.")]
    await send(page)
    await expect(page.get_by_role("alert")).to_contain_text("The credential is expired. Reload the page to sign in")
    assert len(fake.requests("POST", "/ai/v1/chat")) == 2


async def test_a_token_is_renewed_before_it_expires(fake: FakeService, page: Page) -> None:
    fake.tokens = [answer({"token": f"token-{n}", "expires_in": 0}) for n in (1, 2)]
    fake.posts = [accepted(id=f"g{n}") for n in (1, 2)]
    fake.streams = [stream(started(run), delta(f"{run}-1", f"{run}"), done(f"{run}-2", f"{run}")) for run in (1, 2)]
    for expected in (1, 2):
        await send(page)
        await expect_end(page, f"{expected}")
        assert fake.requests("POST", "/ai/v1/chat")[-1].headers["authorization"] == f"Bearer token-{expected}"


async def test_an_overloaded_server_is_given_its_time_before_the_same_request_goes_again(
    fake: FakeService, page: Page
) -> None:
    fake.posts = [refusal(503, "overloaded", "Too much work.", retry_after=2), accepted()]
    fake.streams = [WHOLE]
    await send(page)
    await expect(page.get_by_role("alert")).to_contain_text("Not sent. Too much work. You can try again in 2 s.")
    await expect(page.get_by_role("button", name="Try again")).to_be_disabled()
    await page.get_by_role("button", name="Try again").click()
    await expect_end(page, "Hello world")
    assert len({post.headers["idempotency-key"] for post in fake.requests("POST", "/ai/v1/chat")}) == 1


async def test_a_request_that_will_stay_wrong_offers_no_second_try(fake: FakeService, page: Page) -> None:
    fake.posts = [refusal(400, "bad_request", "`message` is wrong.")]
    await send(page)
    await expect(page.get_by_role("alert")).to_contain_text("`message` is wrong.")
    await expect(page.get_by_role("button", name="Try again")).to_have_count(0)


async def test_a_request_without_an_answer_is_not_called_unsent_and_goes_again_as_the_same(
    fake: FakeService, page: Page
) -> None:
    fake.posts, fake.streams = [Reply(status=0), accepted()], [WHOLE]
    await send(page)
    await expect(page.get_by_role("alert")).to_contain_text("No connection. The server could not be reached.")
    await page.get_by_role("button", name="Try again").click()
    await expect_end(page, "Hello world")
    assert len({post.headers["idempotency-key"] for post in fake.requests("POST", "/ai/v1/chat")}) == 1


async def test_a_busy_conversation_is_waited_for(fake: FakeService, page: Page) -> None:
    busy = refusal(409, "conversation_busy", "Busy.", links=LINKS)
    free = state("done", "Other")
    free.when = asyncio.Event()
    fake.posts, fake.polls, fake.streams = [busy, accepted()], [free], [WHOLE]
    await send(page)
    await expect(page.locator(".pending")).to_contain_text("Another answer of this conversation")
    free.when.set()
    await expect_end(page, "Hello world")


async def test_waiting_for_a_busy_conversation_can_be_stopped(fake: FakeService, page: Page) -> None:
    free = state("done", "Other")
    free.when = asyncio.Event()
    fake.posts, fake.polls = [refusal(409, "conversation_busy", "Busy.", links=LINKS)], [free]
    await send(page)
    await expect(page.locator(".pending")).to_contain_text("Another answer of this conversation")
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_role("alert")).to_contain_text("The message was not sent.")
    free.when.set()


async def test_an_answer_of_before_a_reload_is_picked_up_again(fake: FakeService, page: Page) -> None:
    fake.streams = [stream(started(), delta("1-1", "Hello"), asyncio.Event()), WHOLE]
    await send(page, "Question")
    await expect(last_text(page)).to_have_text("Hello")
    await page.reload()
    await expect_end(page, "Hello world")
    await expect(page.get_by_role("article", name="You")).to_have_text("Question")
    assert fake.cursors() == [None, None], "the text is told again from its beginning"
    assert len(fake.requests("POST", "/ai/v1/chat")) == 1
    await page.reload()
    await expect_end(page, "Hello world")
    assert len(fake.cursors()) == 2, "what has ended is not asked for again"


async def test_a_request_that_a_reload_cut_off_is_sent_again_as_the_same(fake: FakeService, page: Page) -> None:
    never = asyncio.Event()
    fake.posts, fake.streams = [accepted(never), accepted()], [WHOLE]
    async with page.expect_request("**/ai/v1/chat"):
        await send(page)
    await page.reload()
    await expect_end(page, "Hello world")
    first, second = fake.requests("POST", "/ai/v1/chat")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    never.set()


async def test_an_answer_that_is_gone_after_a_reload_is_said(fake: FakeService, page: Page) -> None:
    fake.streams = [stream(started(), delta("1-1", "Hello")), refusal(404, "not_found")]
    fake.polls = [refusal(404, "not_found", "There is no such thing.")]
    await send(page)
    await expect(page.get_by_role("alert")).to_contain_text("There is no such thing.")
    await expect(page.get_by_role("button", name="Send")).to_be_attached()


async def test_a_new_chat_begins_a_new_conversation(fake: FakeService, page: Page) -> None:
    fake.streams = [WHOLE]
    await send(page)
    await page.get_by_role("button", name="New chat").click()
    greeting = page.get_by_text("What would you like to know?")
    await expect(greeting).to_be_visible()
    await expect(page.get_by_label("Message")).to_be_focused()
    await page.reload()
    await expect(greeting).to_be_visible()
    await send(page, "two")
    await expect_end(page, "Hello world")
    assert fake.requests("POST", "/ai/v1/chat")[-1].json == {"message": "two"}


async def test_markup_in_a_text_stays_text(fake: FakeService, page: Page) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>\n\n  **kept** as it is"
    fake.streams = [stream(started(), delta("1-1", evil), done("1-2", evil))]
    await send(page, evil)
    await expect_end(page, evil)
    assert await last_text(page).evaluate("(node) => [node.children.length, node.textContent]") == [0, evil]


async def test_reasoning_and_tool_calls_are_shown_beside_the_text(fake: FakeService, page: Page) -> None:
    call = frame("tool_call", "1-2", index=0, id="t", name="find", arguments='{"a":1}')
    thought = frame("reasoning", "1-1", text="Because")
    fake.streams = [stream(started(), thought, call, delta("1-3", "So"), done("1-4", "So"))]
    await send(page)
    await expect_end(page, "So")
    await expect(page.get_by_text('find({"a":1})')).to_be_visible()
    await page.get_by_text("Reasoning").click()
    await expect(page.get_by_text("Because")).to_be_visible()


async def test_the_log_follows_the_text_only_while_its_end_is_seen(fake: FakeService, page: Page) -> None:
    lines = "line\n" * 80
    more = asyncio.Event()
    fake.streams = [stream(started(), delta("1-1", lines), more, delta("1-2", "end"), done("1-3", lines + "end"))]
    await page.set_viewport_size({"width": 800, "height": 500})
    await page.locator("ai-chat").evaluate("(chat) => { chat.style.height = '480px'; }")
    await send(page)
    log = page.get_by_role("log")
    distance = "(log) => log.scrollHeight - log.scrollTop - log.clientHeight"
    jump = page.get_by_role("button", name="Jump to the latest")
    await expect(last_text(page)).to_contain_text("line")
    await expect(jump).to_be_hidden()
    assert await log.evaluate(distance) < 2
    await log.evaluate("(log) => { log.scrollTop = 0; }")
    await expect(jump).to_be_visible()
    more.set()
    await expect_end(page, lines + "end")
    assert await log.evaluate("(log) => log.scrollTop") == 0
    await jump.click()
    assert await log.evaluate(distance) < 2


async def test_the_page_is_told_of_the_start_the_text_and_the_end(fake: FakeService, page: Page) -> None:
    fake.streams = [WHOLE]
    await page.evaluate("""() => {
      globalThis.told = [];
      for (const name of ["start", "delta", "end"])
        document.addEventListener(`ai-chat-${name}`, ({ detail }) => told.push([name, detail.phase, detail.piece]));
    }""")
    await send(page)
    await expect_end(page, "Hello world")
    told = await page.evaluate("() => told")
    assert told[0][:2] == ["start", "queued"]
    assert [piece for name, _, piece in told if name == "delta"] == ["Hello", " world"]
    assert told[-1][:2] == ["end", "done"]


async def test_a_page_may_give_the_token_by_a_function(fake: FakeService, page: Page) -> None:
    fake.streams = [WHOLE]
    await page.evaluate("""() => { document.querySelector("ai-chat").getToken = async () => "mine"; }""")
    await send(page)
    await expect_end(page, "Hello world")
    assert fake.requests("POST", "/ai/v1/chat")[0].headers["authorization"] == "Bearer mine"
    assert fake.requests("POST", "/token") == []


async def test_what_is_set_before_the_script_is_loaded_is_kept(fake: FakeService, page: Page) -> None:
    await page.evaluate("""async () => {
      document.querySelector("ai-chat").remove();
      const early = document.createElement("ai-chat-early");
      const looks = { greeting: "Welcome", suggestions: ["Only this"], words: { send: "Go" } };
      Object.assign(early, { getToken: async () => "early", ...looks });
      document.body.append(early);
      const { AiChat } = await import("/static/widget.js");
      customElements.define("ai-chat-early", class extends AiChat {});
    }""")
    await expect(page.get_by_text("Welcome")).to_be_visible()
    await expect(page.get_by_role("button", name="Go")).to_be_visible()
    fake.streams = [WHOLE]
    await page.get_by_role("button", name="Only this").click()
    await expect(last_text(page)).to_have_text("Hello world")
    (post,) = fake.requests("POST", "/ai/v1/chat")
    assert (post.headers["authorization"], post.json) == ("Bearer early", {"message": "Only this"})


async def test_a_service_under_a_path_is_called_there_and_nowhere_else(fake: FakeService, page: Page) -> None:
    script = """async (links) => {
      const { Api } = await import("/static/widget/api.js");
      return links.map((link) => {
        try { return new Api("https://host.example/chat/", async () => "t").resolve(link).href; }
        catch (error) { return error.code; }
      });
    }"""
    links = ["/ai/v1/chat/1", "ai/v1/chat", "/chat/ai/v1/chat/1", "//evil.example/x", "https://evil.example/x"]
    *ours, protocol_relative, foreign = await page.evaluate(script, links)
    assert ours == [f"https://host.example/chat/ai/v1/chat{end}" for end in ("/1", "", "/1")]
    for link in (protocol_relative, foreign):
        assert link == "foreign_link" or link.startswith("https://host.example/"), link


async def test_what_a_tab_keeps_holds_no_token(fake: FakeService, page: Page) -> None:
    fake.streams = [WHOLE]
    await send(page, "Question")
    await expect_end(page, "Hello world")
    kept = await page.evaluate("() => JSON.stringify(Object.values(sessionStorage))")
    (turns,) = json.loads(kept)
    assert "Question" in turns
    assert "token-1" not in kept
