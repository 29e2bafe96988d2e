"""The conversations of before: the list, what is done with one, and what others do with it meanwhile."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Locator, Page, expect

from tests.browser.contrast import FAINT
from tests.browser.fake_service import (
    CONVERSATIONS,
    LINKS,
    FakeService,
    Reply,
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
from tests.browser.visitor import last_text, send

pytestmark = pytest.mark.asyncio(loop_scope="session")

GONE = "That conversation was deleted. This is a new one."

TWO = listed(entry("c1", "Of tea", turns=2), entry("c2", "Of coffee"))
TEA = conversation("c1", turn("g1", "Black?", "Black."), turn("g2", "Green?", "Green.", parent="g1"), title="Of tea")


@pytest_asyncio.fixture(loop_scope="session")
async def kept(fake: FakeService, page: Page) -> FakeService:
    """A service that has conversations; the page lists them."""
    fake.lists, fake.conversations = [TWO], [TEA]
    await page.goto(f"{fake.origin}/history")
    await expect(row(page, "Of tea")).to_be_visible()
    return fake


def rows(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Conversations").get_by_role("listitem")


def row(page: Page, title: str) -> Locator:
    return rows(page).filter(has_text=title)


async def open_row(page: Page, title: str) -> None:
    await row(page, title).get_by_role("button", name=title).click()


async def press(page: Page, title: str, button: str) -> None:
    await row(page, title).hover()
    await row(page, title).get_by_role("button", name=button, exact=True).click()


async def look_again(page: Page) -> None:
    """What happens when the page is seen again."""
    await page.evaluate("""() => window.dispatchEvent(new Event("focus"))""")


async def looks(page: Page, fake: FakeService, count: int) -> None:
    """Waits until the list was asked for `count` times."""
    while len(fake.requests("GET", CONVERSATIONS)) < count:
        await page.wait_for_event("requestfinished")


async def test_the_list_tells_title_time_and_who_is_busy(fake: FakeService, page: Page) -> None:
    def ago(**time: int) -> str:
        return (datetime.now(UTC) - timedelta(**time)).isoformat().replace("+00:00", "Z")

    fake.lists = [
        listed(
            entry("c1", "First", busy=True, updated_at=ago(seconds=5)),
            entry("c2", "Second", updated_at=ago(minutes=5)),
            entry("c3", "Third", updated_at=ago(days=1, hours=1)),
        )
    ]
    await page.goto(f"{fake.origin}/history")
    await expect(rows(page)).to_have_text(["Firstjust now", "Second5 minutes ago", "Thirdyesterday"])
    busy = page.get_by_role("img", name="An answer is being written")
    await expect(row(page, "First").locator(busy)).to_be_visible()
    await expect(row(page, "Second").locator(busy)).to_be_hidden()


async def test_without_the_attribute_nothing_is_listed_or_asked_for(fake: FakeService, page: Page) -> None:
    fake.streams = [stream(started(), delta("1-1", "Hi"), done("1-2", "Hi"))]
    await send(page)
    await expect(last_text(page)).to_have_text("Hi")
    await expect(page.get_by_role("navigation")).to_have_count(0)
    assert fake.requests("GET", CONVERSATIONS) == []
    assert fake.requests("GET", "/static/widget/history.js") == []


async def test_the_list_comes_and_goes_with_the_attribute(fake: FakeService, page: Page) -> None:
    fake.lists = [TWO]
    await page.locator("ai-chat").evaluate("(chat) => chat.toggleAttribute('history', true)")
    await expect(row(page, "Of tea")).to_be_visible()
    await page.locator("ai-chat").evaluate("(chat) => chat.toggleAttribute('history', false)")
    await expect(page.get_by_role("navigation")).to_have_count(0)


async def test_older_ones_are_shown_when_they_are_asked_for(fake: FakeService, page: Page) -> None:
    fake.lists = [listed(entry("c1", "New"), next="cursor-1"), listed(entry("c1", "New"), entry("c2", "Old"))]
    await page.goto(f"{fake.origin}/history")
    await page.get_by_role("button", name="Show more").click()
    await expect(rows(page)).to_have_count(2)
    assert [each.query.get("cursor") for each in fake.requests("GET", CONVERSATIONS)] == [None, "cursor-1"]
    await expect(page.get_by_role("button", name="Show more")).to_be_hidden()


async def test_a_list_that_can_not_be_had_is_said_and_asked_for_again(fake: FakeService, page: Page) -> None:
    fake.lists = [refusal(503, "unavailable"), TWO]
    await page.goto(f"{fake.origin}/history")
    await expect(page.get_by_text("The list is not up to date.")).to_be_visible()
    await page.get_by_role("button", name="Try again").click()
    await expect(rows(page)).to_have_count(2)
    await expect(page.get_by_text("The list is not up to date.")).to_be_hidden()


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


async def test_a_conversation_is_renamed_in_its_place(kept: FakeService, page: Page) -> None:
    kept.renames = [Reply(('{"id":"c1","title":"Of leaves"}',))]
    await press(page, "Of tea", "Rename")
    box = page.get_by_label("Title")
    await expect(box).to_have_value("Of tea")
    kept.lists = [listed(entry("c1", "Of leaves"), entry("c2", "Of coffee"))]
    await box.fill(" Of leaves ")
    await box.press("Enter")
    await expect(row(page, "Of leaves").get_by_role("button", name="Of leaves")).to_be_focused()
    (patch,) = kept.requests("PATCH", f"{CONVERSATIONS}/c1")
    assert patch.json == {"title": "Of leaves"}


async def test_a_name_that_is_refused_is_said(kept: FakeService, page: Page) -> None:
    kept.renames = [refusal(400, "bad_request", "`title` is not good.")]
    await press(page, "Of tea", "Rename")
    await page.get_by_label("Title").fill("x")
    await page.keyboard.press("Enter")
    await expect(row(page, "Of tea").get_by_role("alert")).to_have_text("`title` is not good.")


async def test_a_deletion_is_asked_for_twice(kept: FakeService, page: Page) -> None:
    await open_row(page, "Of tea")
    await expect(last_text(page)).to_have_text("Green.")
    await press(page, "Of tea", "Delete")
    asks = page.get_by_role("group", name="Delete “Of tea” for good?")
    await asks.get_by_role("button", name="Keep").click()
    await press(page, "Of tea", "Delete")
    assert kept.requests("DELETE", f"{CONVERSATIONS}/c1") == []
    await asks.get_by_role("button", name="Delete").click()
    await expect(rows(page)).to_have_count(1)
    await expect(row(page, "Of coffee").get_by_role("button", name="Of coffee")).to_be_focused()
    await expect(page.get_by_text("What would you like to know?")).to_be_visible()
    await expect(page.get_by_text(GONE)).to_be_hidden()
    assert len(kept.requests("DELETE", f"{CONVERSATIONS}/c1")) == 1


async def test_a_double_click_on_delete_deletes_nothing(kept: FakeService, page: Page) -> None:
    await row(page, "Of tea").hover()
    await row(page, "Of tea").get_by_role("button", name="Delete").dblclick()
    await expect(rows(page)).to_have_count(2)
    assert kept.requests("DELETE", f"{CONVERSATIONS}/c1") == []


@pytest.mark.parametrize(
    "reply",
    [Reply(('{"id":"c1","status":"deleting"}',), status=202), refusal(404, "not_found")],
    ids=["still being stopped", "gone before"],
)
async def test_a_deletion_that_ends_later_or_came_too_late_is_one_all_the_same(
    kept: FakeService, page: Page, reply: Reply
) -> None:
    kept.deletes = [reply]
    await press(page, "Of tea", "Delete")
    await page.get_by_role("group", name="Delete “Of tea” for good?").get_by_role("button", name="Delete").click()
    await expect(rows(page)).to_have_count(1)


async def test_a_deletion_that_fails_is_said(kept: FakeService, page: Page) -> None:
    kept.deletes = [refusal(503, "unavailable", "Away.")]
    await press(page, "Of tea", "Delete")
    await page.get_by_role("group", name="Delete “Of tea” for good?").get_by_role("button", name="Delete").click()
    await expect(row(page, "Of tea").get_by_role("alert")).to_have_text("Away.")
    await expect(rows(page)).to_have_count(2)


async def test_the_keyboard_alone_is_enough_for_the_list(kept: FakeService, page: Page) -> None:
    await page.get_by_role("navigation").get_by_role("button", name="New chat").focus()
    await page.keyboard.press("Tab")
    await expect(row(page, "Of tea").get_by_role("button", name="Of tea")).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(row(page, "Of coffee").get_by_role("button", name="Of coffee")).to_be_focused()
    await page.keyboard.press("F2")
    await expect(page.get_by_label("Title")).to_be_focused()
    await page.keyboard.press("Escape")
    await page.keyboard.press("Delete")
    await page.keyboard.press("Enter")
    await expect(rows(page)).to_have_count(1)
    await expect(row(page, "Of tea").get_by_role("button", name="Of tea")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(last_text(page)).to_have_text("Green.")


async def test_a_turn_makes_the_list_look_again(kept: FakeService, page: Page) -> None:
    kept.streams = [stream(started(), delta("1-1", "Hi"), done("1-2", "Hi"))]
    kept.lists = [TWO, listed(entry("c9", "Hello"), entry("c1", "Of tea"), entry("c2", "Of coffee"))]
    kept.posts = [accepted(conversation="c9")]
    await looks(page, kept, 1)
    await send(page, "Hello")
    await expect(rows(page).first).to_contain_text("Hello")
    await expect(rows(page).first.get_by_role("button", name="Hello")).to_have_attribute("aria-current", "true")


async def test_what_is_seen_again_is_looked_at_again(kept: FakeService, page: Page) -> None:
    kept.lists = [listed(entry("c2", "Of coffee"))]
    await look_again(page)
    await expect(rows(page)).to_have_count(1)


async def test_the_list_looks_again_by_itself(fake: FakeService, page: Page) -> None:
    fake.lists = [TWO, TWO, listed()]
    await page.evaluate("""async () => { (await import("/static/widget/conversations.js")).TIMING.look = 20; }""")
    await page.locator("ai-chat").evaluate("(chat) => chat.toggleAttribute('history', true)")
    await expect(page.get_by_text("What you ask is kept here.")).to_be_visible()


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


async def test_a_narrow_place_has_a_drawer(kept: FakeService, page: Page) -> None:
    await page.set_viewport_size({"width": 360, "height": 740})
    opener = page.get_by_role("button", name="Show conversations")
    await expect(row(page, "Of tea")).to_be_hidden()
    await opener.click()
    await expect(row(page, "Of tea").get_by_role("button", name="Of tea")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(row(page, "Of tea")).to_be_hidden()
    await expect(opener).to_be_focused()
    await opener.click()
    await open_row(page, "Of tea")
    await expect(last_text(page)).to_have_text("Green.")
    await expect(row(page, "Of tea")).to_be_hidden()
    await expect(page.locator(".bar-title")).to_have_text("Of tea")


async def test_a_drawer_that_gets_room_leaves_the_chat_free(kept: FakeService, page: Page) -> None:
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.get_by_role("button", name="Show conversations").click()
    await page.set_viewport_size({"width": 1000, "height": 740})
    await expect(row(page, "Of tea")).to_be_visible()
    await send(page, "Hello")
    assert (await kept.nth(1, "POST", "/ai/v1/chat")).json == {"message": "Hello"}


async def test_titles_are_text_whatever_they_hold(fake: FakeService, page: Page) -> None:
    fake.lists = [listed(entry("c1", "<img src=x onerror=alert(1)>"))]
    await page.goto(f"{fake.origin}/history")
    await expect(rows(page).first).to_contain_text("<img src=x onerror=alert(1)>")
    assert await rows(page).first.locator("img[src]").count() == 0


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


@pytest.mark.parametrize(
    ("pieces", "frames"),
    [
        (["id: 1-0\nevent: delta\ndata: 1\n\n"], [("delta", "1-0", "1")]),
        (
            ["id: 1-0\nev", "ent: delta\ndata: 1\n", "\nevent: x\ndata: 2\n\n"],
            [("delta", "1-0", "1"), ("x", "1-0", "2")],
        ),
        ([":\n\n", "retry: 5\n:\n\n", 'event: a\ndata: {"b: c": 1}\n\n', "event: cut"], [("a", "", '{"b: c": 1}')]),
    ],
)
async def test_a_fetched_stream_is_cut_into_its_frames(
    bench: Page, pieces: Sequence[str], frames: Sequence[tuple[str, str, str]]
) -> None:
    script = """async (pieces) => {
      const { frameParser } = await import("/static/widget/fetched_stream.js");
      const frames = [];
      const parse = frameParser(({ kind, id, text }) => frames.push([kind, id, text]));
      pieces.forEach(parse);
      return frames;
    }"""
    assert await bench.evaluate(script, list(pieces)) == [list(frame) for frame in frames]
