"""The list of conversations, and what is done with one there."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Page, expect

from tests.browser.fake_service import (
    CONVERSATIONS,
    FakeService,
    Reply,
    accepted,
    delta,
    done,
    entry,
    listed,
    refusal,
    started,
    stream,
)
from tests.browser.shelf import GONE, TWO, look_again, looks, open_row, press, row, rows
from tests.browser.visitor import last_text, send

pytestmark = pytest.mark.asyncio(loop_scope="session")


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
