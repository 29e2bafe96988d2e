"""What a tab keeps of a chat, and what becomes of it after a reload."""

import asyncio
import json

import pytest
from playwright.async_api import Page, expect

from tests.browser.fake_service import FakeService, accepted, delta, refusal, started, stream
from tests.browser.visitor import WHOLE, expect_end, last_text, send

pytestmark = pytest.mark.asyncio(loop_scope="session")


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


async def test_what_a_tab_keeps_holds_no_token(fake: FakeService, page: Page) -> None:
    fake.streams = [WHOLE]
    await send(page, "Question")
    await expect_end(page, "Hello world")
    kept = await page.evaluate("() => JSON.stringify(Object.values(sessionStorage))")
    (turns,) = json.loads(kept)
    assert "Question" in turns
    assert "token-1" not in kept
