"""Conversations, branches and limits in the page of the real service, in one browser and in two of one visitor."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from tests.browser.running_service import running_service
from tests.browser.shelf import GONE
from tests.browser.visitor import last_text, send

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: Seconds within which a visitor's requests are counted where a test strikes that limit.
WINDOW_SECONDS = 5


@pytest.fixture(scope="module")
def quick_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with short answers and a cache; its `tight` route takes two requests in a few seconds."""
    folder = tmp_path_factory.mktemp("quick")
    routes = folder / "routes.toml"
    routes.write_text(
        f"""
[routes.chat]
model = "demo:short"
[routes.long]
model = "demo:long"
[routes.tight]
model = "demo:short"
max_requests = 2
request_window_seconds = {WINDOW_SECONDS}
"""
    )
    settings = {"STREAMER_DEMO_TOKENS_PER_SECOND": "100", "STREAMER_CACHE_SECONDS": "600"}
    with running_service(folder, STREAMER_ROUTES=str(routes), **settings) as address:
        yield address


@pytest_asyncio.fixture(loop_scope="session")
async def elsewhere(browser: Browser) -> AsyncIterator[Page]:
    """A page of another browser: it shares no storage and no channel with the first."""
    context: BrowserContext = await browser.new_context(viewport={"width": 1280, "height": 800})
    yield await context.new_page()
    await context.close()


def row(page: Page, title: str) -> Locator:
    return page.get_by_role("navigation", name="Conversations").get_by_role("listitem").filter(has_text=title)


def opener(page: Page, title: str) -> Locator:
    return row(page, title).locator(".row-open")


def shown(page: Page) -> Locator:
    """What was asked, of the branch that is shown."""
    return page.locator(".bubble")


async def route(page: Page, name: str) -> None:
    await page.locator("ai-chat").evaluate("(chat, name) => chat.setAttribute('route', name)", name)


async def ask(page: Page, message: str) -> None:
    await send(page, message)
    await expect(last_text(page)).to_contain_text(f"“{message}”")
    await expect(page.get_by_role("button", name="Regenerate").last).to_be_visible()


async def begin(page: Page, address: str, message: str) -> None:
    """A new conversation, whose title the message is."""
    await page.goto(address)
    await page.get_by_role("navigation").get_by_role("button", name="New chat").click()
    await ask(page, message)
    await expect(row(page, message).first).to_be_visible()


async def delete(page: Page, title: str) -> None:
    await row(page, title).hover()
    await row(page, title).get_by_role("button", name="Delete", exact=True).click()
    await page.get_by_role("group", name=f"Delete “{title}” for good?").get_by_role("button", name="Delete").click()


async def look_again(page: Page) -> None:
    """What happens when a visitor comes back to a browser."""
    await page.evaluate("""() => window.dispatchEvent(new Event("focus"))""")


async def test_a_conversation_stands_in_the_list_and_opens_with_all_its_turns(quick_page: str, page: Page) -> None:
    await begin(page, quick_page, "Oldest of them")
    await ask(page, "And its second turn")
    await begin(page, quick_page, "Newest of them")
    titles = page.get_by_role("navigation").locator(".row-title")
    await expect(titles.first).to_have_text("Newest of them")
    await opener(page, "Oldest of them").click()
    await expect(shown(page)).to_have_text(["Oldest of them", "And its second turn"])
    await ask(page, "And a third")
    await expect(titles.first).to_have_text("Oldest of them")


async def test_branches_are_the_same_in_another_browser(quick_page: str, page: Page, elsewhere: Page) -> None:
    await begin(page, quick_page, "Apples?")
    await page.get_by_role("button", name="Regenerate").click()
    await expect(page.get_by_role("group", name="Version 2 of 2")).to_be_visible()
    await expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    await page.get_by_role("article", name="You").hover()
    await page.get_by_role("button", name="Edit").click()
    await page.get_by_label("New wording").fill("Pears?")
    await page.keyboard.press("Enter")
    await expect(last_text(page)).to_contain_text("“Pears?”")
    await expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    await page.get_by_role("button", name="Good answer").click()
    await expect(page.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    await page.get_by_role("button", name="Previous version").click()
    await ask(page, "Red ones?")
    await elsewhere.goto(quick_page)
    await opener(elsewhere, "Apples?").click()
    await expect(shown(elsewhere)).to_have_text(["Apples?", "Red ones?"])
    await elsewhere.get_by_role("button", name="Next version").click()
    await expect(shown(elsewhere)).to_have_text(["Pears?"])
    await expect(elsewhere.get_by_role("group", name="Version 3 of 3")).to_be_visible()
    await expect(elsewhere.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")


async def test_a_turn_of_another_browser_comes_in_and_the_conversation_goes_on_after_it(
    quick_page: str, page: Page, elsewhere: Page
) -> None:
    await begin(page, quick_page, "Said here")
    await elsewhere.goto(quick_page)
    await opener(elsewhere, "Said here").click()
    await expect(shown(elsewhere)).to_have_text(["Said here"])  # until then nothing can be sent
    await ask(elsewhere, "Said there")
    await look_again(page)
    await expect(shown(page)).to_have_text(["Said here", "Said there"])
    await ask(page, "Said here again")
    await expect(shown(page)).to_have_text(["Said here", "Said there", "Said here again"])


async def test_an_answer_that_another_browser_asked_for_is_followed_live(
    quick_page: str, page: Page, elsewhere: Page
) -> None:
    await page.goto(quick_page)
    await route(page, "long")
    await send(page, "A long one")
    await expect(last_text(page)).to_contain_text("Chapter 1")
    await elsewhere.goto(quick_page)
    busy = row(elsewhere, "A long one").get_by_role("img", name="An answer is being written")
    await expect(busy).to_be_visible()
    await opener(elsewhere, "A long one").click()
    await expect(last_text(elsewhere)).to_contain_text("Chapter 1")
    await expect(elsewhere.locator(".status-text")).to_have_text("Answering")
    await elsewhere.get_by_role("button", name="Stop", exact=True).click()
    await expect(elsewhere.locator(".meta")).to_have_text("Stopped")
    await expect(page.locator(".meta")).to_have_text("Stopped")
    assert await last_text(page).text_content() == await last_text(elsewhere).text_content()
    await expect(busy).to_be_hidden()


async def test_an_answer_that_was_left_goes_on_and_is_found_again(quick_page: str, page: Page) -> None:
    await page.goto(quick_page)
    await route(page, "long")
    await send(page, "Left alone")
    await expect(last_text(page)).to_contain_text("Chapter 1")
    await page.get_by_role("navigation").get_by_role("button", name="New chat").click()
    await expect(page.get_by_role("button", name="What happens when I press Send?", exact=True)).to_be_visible()
    await opener(page, "Left alone").click()
    await expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    await expect(last_text(page)).to_contain_text("Chapter 1")
    await page.get_by_role("button", name="Stop", exact=True).click()
    await expect(page.locator(".meta")).to_have_text("Stopped")


async def test_a_new_name_is_that_of_every_browser(quick_page: str, page: Page, elsewhere: Page) -> None:
    await begin(page, quick_page, "Nameless")
    await elsewhere.goto(quick_page)
    await expect(row(elsewhere, "Nameless")).to_be_visible()
    await row(page, "Nameless").hover()
    await row(page, "Nameless").get_by_role("button", name="Rename").click()
    await page.get_by_label("Title").fill("Well named")
    await page.keyboard.press("Enter")
    await expect(row(page, "Well named")).to_be_visible()
    await look_again(elsewhere)
    await expect(row(elsewhere, "Well named")).to_be_visible()


async def test_a_deleted_conversation_is_gone_from_both_browsers_of_a_visitor(
    quick_page: str, page: Page, elsewhere: Page
) -> None:
    await begin(page, quick_page, "To be deleted")
    await elsewhere.goto(quick_page)
    await opener(elsewhere, "To be deleted").click()
    await expect(shown(elsewhere)).to_have_text(["To be deleted"])
    await delete(page, "To be deleted")
    await expect(row(page, "To be deleted")).to_have_count(0)
    await expect(shown(page)).to_have_count(0)
    await look_again(elsewhere)
    await expect(row(elsewhere, "To be deleted")).to_have_count(0)
    await expect(elsewhere.get_by_text(GONE)).to_be_visible()
    await expect(shown(elsewhere)).to_have_count(0)
    for each in (page, elsewhere):
        await each.reload()
        await expect(each.get_by_role("navigation").locator(".said")).not_to_have_text(
            "Looking for your conversations…"
        )
        await expect(row(each, "To be deleted")).to_have_count(0)
        await expect(shown(each)).to_have_count(0)


async def test_a_message_into_a_conversation_that_another_browser_deleted_is_kept_for_a_new_one(
    quick_page: str, page: Page, elsewhere: Page
) -> None:
    await begin(page, quick_page, "Shared for a while")
    await elsewhere.goto(quick_page)
    await delete(elsewhere, "Shared for a while")
    await expect(row(elsewhere, "Shared for a while")).to_have_count(0)
    await send(page, "A long thought")
    await expect(page.get_by_text(GONE)).to_be_visible()
    await expect(page.get_by_label("Message", exact=True)).to_have_value("A long thought")
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(last_text(page)).to_contain_text("“A long thought”")
    await expect(row(page, "A long thought")).to_be_visible()


async def test_a_conversation_is_deleted_while_its_answer_is_written(
    quick_page: str, page: Page, elsewhere: Page
) -> None:
    await page.goto(quick_page)
    await route(page, "long")
    await send(page, "Deleted halfway")
    await expect(last_text(page)).to_contain_text("Chapter 1")
    await elsewhere.goto(quick_page)
    await delete(elsewhere, "Deleted halfway")
    await expect(row(elsewhere, "Deleted halfway")).to_have_count(0)
    await expect(page.get_by_text(GONE)).to_be_visible()
    await expect(row(page, "Deleted halfway")).to_have_count(0)


async def test_two_tabs_of_a_browser_need_no_second_look(quick_page: str, page: Page, context: BrowserContext) -> None:
    await begin(page, quick_page, "In two tabs")
    other = await context.new_page()
    await other.goto(quick_page)
    await opener(other, "In two tabs").click()
    await expect(shown(other)).to_have_text(["In two tabs"])
    await delete(page, "In two tabs")
    await expect(row(other, "In two tabs")).to_have_count(0)
    await expect(other.get_by_text(GONE)).to_be_visible()


async def test_a_limit_that_strikes_is_over_when_the_countdown_is(quick_page: str, page: Page) -> None:
    await page.goto(quick_page)
    await route(page, "tight")
    for message in ("First of three", "Second of three"):
        await ask(page, message)
    await expect(page.locator(".rest")).to_contain_text("No message left, one more in")
    await send(page, "Third of three")
    problem = page.get_by_role("alert").filter(has_text="That was a lot of messages in a short time.")
    await expect(problem).to_contain_text("You can try again in")
    retry = problem.get_by_role("button", name="Try again")
    await expect(retry).to_be_disabled()
    await expect(retry).to_be_enabled()
    await retry.click()
    await expect(last_text(page)).to_contain_text("“Third of three”")
    await expect(shown(page)).to_have_text(["First of three", "Second of three", "Third of three"])


async def test_an_answer_from_the_cache_says_so_and_another_can_be_had(quick_page: str, page: Page) -> None:
    await begin(page, quick_page, "Twice the same")
    await expect(page.get_by_text("from cache")).to_be_hidden()
    await begin(page, quick_page, "Twice the same")
    await expect(page.get_by_text("from cache")).to_be_visible()
    await page.get_by_role("button", name="Regenerate").click()
    await expect(page.get_by_role("group", name="Version 2 of 2")).to_be_visible()
    await expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    await expect(page.get_by_text("from cache")).to_be_hidden()


async def test_many_at_once_are_listed_and_none_is_lost(quick_page: str, page: Page, context: BrowserContext) -> None:
    others = [page, *[await context.new_page() for _ in range(3)]]
    for each in others:
        await each.goto(quick_page)
    await asyncio.gather(*(send(each, f"At once, number {at}") for at, each in enumerate(others)))
    for at in range(len(others)):
        await expect(row(page, f"At once, number {at}")).to_be_visible()
