"""A turn from its request to its end against a service that refuses, fails and lets wait on demand."""

import asyncio

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
from tests.browser.visitor import WHOLE, expect_end, last_text, send

pytestmark = pytest.mark.asyncio(loop_scope="session")


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
        (later, "Waiting in the queue, place 2"),
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
