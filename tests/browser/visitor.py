"""What a visitor does, and where the answer stands."""

from playwright.async_api import Locator, Page, expect

from tests.browser.fake_service import delta, done, started, stream

WHOLE = stream(started(), delta("1-1", "Hello"), delta("1-2", " world"), done("1-3", "Hello world"))
"""An answer without a fault."""


async def send(page: Page, message: str = "Hi") -> None:
    box = page.get_by_label("Message", exact=True)
    await box.fill(message)
    await box.press("Enter")


def last_text(page: Page) -> Locator:
    """The text of the newest answer."""
    return page.locator(".reply .text:not([hidden])").last


async def expect_end(page: Page, with_text: str) -> None:
    await expect(page.get_by_role("button", name="Send")).to_be_attached()
    await expect(last_text(page)).to_have_text(with_text)
