"""The conversations that are listed beside the chat, and what a visitor does with them."""

from playwright.async_api import Locator, Page

from tests.browser.fake_service import CONVERSATIONS, FakeService, conversation, entry, listed, turn

GONE = "That conversation was deleted. This is a new one."

TWO = listed(entry("c1", "Of tea", turns=2), entry("c2", "Of coffee"))
TEA = conversation("c1", turn("g1", "Black?", "Black."), turn("g2", "Green?", "Green.", parent="g1"), title="Of tea")


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
