"""A conversation of before that is opened, and what others do with it meanwhile."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.contrast import FAINT
from tests.browser.fake_service import (
    CONVERSATIONS,
    LINKS,
    FakeService,
    accepted,
    conversation,
    delta,
    done,
    entry,
    listed,
    refusal,
    started,
    stream,
    struck,
    turn,
)
from tests.browser.shelf import GONE, TEA, look_again, looks, open_row, press, row
from tests.browser.visitor import last_text, send

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_conversation_is_opened_with_all_its_turns(kept: FakeService, page: Page) -> None:
    await open_row(page, "Of tea")
    await expect(page.locator(".bubble")).to_have_text(["Black?", "Green?"])
    await expect(page.locator(".text")).to_have_text(["Black.", "Green."])
    await expect(row(page, "Of tea").get_by_role("button", name="Of tea")).to_have_attribute("aria-current", "true")
    kept.posts = [accepted(id="g3")]
    await send(page, "White?")
    await expect(page.locator(".bubble")).to_have_text(["Black?", "Green?", "White?"])
    sent = (await kept.nth(1, "POST", "/ai/v1/chat")).json
    assert sent == {"message": "White?", "conversation_id": "c1", "parent": "g2"}


async def test_the_branch_with_the_newest_turn_is_shown(kept: FakeService, page: Page) -> None:
    kept.conversations = [
        conversation(
            "c1",
            turn("g1", "Tea?", "Yes."),
            turn("g2", "Coffee?", "No."),
            turn("g3", "Green?", "Green.", parent="g1"),
            turn("g4", "Black?", "Black.", parent="g1"),
            turn("g5", "Milk?", "Never.", parent="g3", feedback={"rating": "up", "comment": "True"}),
        )
    ]
    await open_row(page, "Of tea")
    await expect(page.locator(".bubble")).to_have_text(["Tea?", "Green?", "Milk?"])
    await expect(page.get_by_role("group", name="Version 1 of 2")).to_have_count(2)
    await expect(page.get_by_role("button", name="Good answer").last).to_have_attribute("aria-pressed", "true")


async def test_the_turns_before_a_page_come_in_above_what_is_read(kept: FakeService, page: Page) -> None:
    newer = conversation("c1", turn("g2", "Green?", "Green.", parent="g1"), next="cursor-1")
    kept.conversations = [newer, conversation("c1", turn("g1", "Black?", "Black."))]
    await open_row(page, "Of tea")
    await expect(page.locator(".bubble")).to_have_text(["Green?"])
    await page.get_by_role("button", name="Show earlier turns").click()
    await expect(page.locator(".bubble")).to_have_text(["Black?", "Green?"])
    assert kept.requests("GET", f"{CONVERSATIONS}/c1")[-1].query["cursor"] == "cursor-1"
    await expect(page.get_by_role("button", name="Show earlier turns")).to_be_hidden()


async def test_an_answer_that_is_being_written_elsewhere_is_followed_without_a_ticket(
    kept: FakeService, page: Page
) -> None:
    kept.conversations = [conversation("c1", turn("g1", "Black?", "", status="running"))]
    more = asyncio.Event()
    kept.streams = [
        stream(started(), delta("1-1", "Bl")),
        stream(delta("1-2", "ac"), more, delta("1-3", "k"), done("1-4", "Black")),
    ]
    await open_row(page, "Of tea")
    await expect(last_text(page)).to_have_text("Blac")
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    more.set()
    await expect(last_text(page)).to_have_text("Black")
    await expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    first, second = kept.requests("GET", LINKS["events"])
    assert (first.cursor, second.cursor) == (None, "1-1")
    assert (first.headers["authorization"], first.query) == ("Bearer token-1", {})


async def test_a_conversation_that_can_not_be_opened_is_asked_for_again(kept: FakeService, page: Page) -> None:
    kept.conversations = [refusal(503, "unavailable", "Away for now."), TEA]
    await open_row(page, "Of tea")
    await expect(page.get_by_text("Away for now.")).to_be_visible()
    await page.get_by_role("button", name="Try again").click()
    await expect(last_text(page)).to_have_text("Green.")


async def test_another_one_can_be_opened_while_an_answer_is_written(kept: FakeService, page: Page) -> None:
    kept.posts = [accepted(conversation="c9")]
    kept.streams = [stream(started(), delta("1-1", "Hel"), asyncio.Event())]
    await send(page, "Question")
    await expect(last_text(page)).to_have_text("Hel")
    await open_row(page, "Of tea")
    await expect(page.locator(".bubble")).to_have_text(["Black?", "Green?"])
    await expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert kept.requests("POST", LINKS["cancel"]) == []


async def test_the_open_conversation_that_is_gone_says_so_and_a_new_one_begins(kept: FakeService, page: Page) -> None:
    await open_row(page, "Of tea")
    await expect(last_text(page)).to_have_text("Green.")
    kept.lists, kept.conversations = [listed(entry("c2", "Of coffee"))], [refusal(404, "not_found")]
    await look_again(page)
    await expect(page.get_by_text(GONE)).to_be_visible()
    await expect(page.get_by_text("What would you like to know?")).to_be_visible()
    await page.get_by_role("button", name="Close").click()
    await expect(page.get_by_text(GONE)).to_be_hidden()
    kept.streams = [stream(started(), delta("1-1", "Hi"), done("1-2", "Hi"))]
    await send(page, "Hello")
    assert (await kept.nth(1, "POST", "/ai/v1/chat")).json == {"message": "Hello"}


async def test_what_is_written_while_a_conversation_opens_waits_for_it(kept: FakeService, page: Page) -> None:
    there = asyncio.Event()
    kept.conversations = [replace(TEA, when=there)]
    await open_row(page, "Of tea")
    await send(page, "White?")
    button = page.get_by_role("button", name="Send", exact=True)
    await expect(button).to_be_disabled()
    there.set()
    await button.click()
    assert (await kept.nth(1, "POST", "/ai/v1/chat")).json["parent"] == "g2"


async def test_a_message_into_a_conversation_that_is_gone_is_not_lost(kept: FakeService, page: Page) -> None:
    await open_row(page, "Of tea")
    await expect(last_text(page)).to_have_text("Green.")
    kept.posts = [refusal(404, "not_found")]
    await send(page, "A long thought")
    await expect(page.get_by_text(GONE)).to_be_visible()
    await expect(page.get_by_label("Message", exact=True)).to_have_value("A long thought")


async def test_a_turn_that_came_in_elsewhere_is_shown(kept: FakeService, page: Page) -> None:
    await open_row(page, "Of tea")
    await expect(page.locator(".bubble")).to_have_count(2)
    kept.lists = [listed(entry("c1", "Of tea", turns=3), entry("c2", "Of coffee"))]
    kept.conversations = [conversation("c1", turn("g3", "White?", "White.", parent="g2"))]
    await look_again(page)
    await expect(page.locator(".bubble")).to_have_text(["Black?", "Green?", "White?"])
    assert kept.requests("GET", f"{CONVERSATIONS}/c1")[-1].query["limit"] == "1"
    await look_again(page)
    await looks(page, kept, 3)
    assert len(kept.requests("GET", f"{CONVERSATIONS}/c1")) == 2, "what is known is not fetched again"


async def test_another_tab_hears_of_a_deletion_at_once(kept: FakeService, page: Page, context: BrowserContext) -> None:
    other = await context.new_page()
    await other.goto(f"{kept.origin}/history")
    await open_row(other, "Of tea")
    await expect(last_text(other)).to_have_text("Green.")
    await press(page, "Of tea", "Delete")
    await page.get_by_role("group", name="Delete “Of tea” for good?").get_by_role("button", name="Delete").click()
    await expect(row(other, "Of tea")).to_have_count(0)
    await expect(other.get_by_text(GONE)).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_has_contrast_wherever_it_stands(kept: FakeService, page: Page, scheme: Any) -> None:
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await page.evaluate("() => { document.documentElement.style.colorScheme = 'light dark'; }")
    await open_row(page, "Of tea")
    await expect(last_text(page)).to_have_text("Green.")
    await page.get_by_role("article", name="You").first.hover()
    await page.get_by_role("button", name="Edit").first.click()
    await page.get_by_role("button", name="Good answer").last.click()
    kept.posts = [struck("requests", 90)]
    await send(page, "White?")
    await expect(page.get_by_role("timer").last).to_contain_text("You can try again in")
    await press(page, "Of coffee", "Delete")
    assert await page.evaluate(FAINT) == []
    kept.lists, kept.conversations = [listed()], [refusal(404, "not_found")]
    await look_again(page)
    await expect(page.get_by_text(GONE)).to_be_visible()
    assert await page.evaluate(FAINT) == []
