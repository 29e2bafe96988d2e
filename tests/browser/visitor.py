"""What a visitor does, and where the answer stands."""

from playwright.async_api import Locator, Page


async def send(page: Page, message: str = "Hi") -> None:
    box = page.get_by_label("Message", exact=True)
    await box.fill(message)
    await box.press("Enter")


def last_text(page: Page) -> Locator:
    """The text of the newest answer."""
    return page.locator(".reply .text:not([hidden])").last
