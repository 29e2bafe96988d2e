"""One Chromium for all tests, a fresh page for each. A page that logs an error, or breaks its policy, fails its test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Error, Page, async_playwright, expect

from tests.browser.chromium import ARGUMENTS, find_chromium
from tests.browser.fake_service import FakeService
from tests.browser.running_service import running_service
from tests.browser.shelf import TEA, TWO, row

#: Milliseconds for whatever is waited for: a machine that does much else at the same time is slow, not wrong.
PATIENCE_MS = 15_000

expect.set_options(timeout=PATIENCE_MS)

#: Beside the built-in route: one that fails before its first token, one that breaks off, one that runs for half a minute.
ROUTES = """
[routes.error]
model = "demo:error"
max_calls = 1
[routes.broken]
model = "demo:broken"
[routes.long]
model = "demo:long"
"""


@pytest_asyncio.fixture(loop_scope="session", scope="package")
async def browser() -> AsyncIterator[Browser]:
    path = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    page = await context.new_page()
    problems: list[str] = []

    def note_console(message: ConsoleMessage) -> None:
        # What the network refused is what many tests are about; everything else is a fault of ours.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            problems.append(message.text)

    def note_error(error: Error) -> None:
        problems.append(str(error))

    page.on("console", note_console)
    page.on("pageerror", note_error)
    yield page
    assert problems == []


@pytest_asyncio.fixture(loop_scope="session")
async def fake(page: Page) -> AsyncIterator[FakeService]:
    """A scripted service; the page is at its site, which embeds the widget by one script tag."""
    async with FakeService() as service:
        await page.goto(service.origin)
        await page.get_by_label("Message").wait_for()
        yield service


@pytest_asyncio.fixture(loop_scope="session")
async def kept(fake: FakeService, page: Page) -> FakeService:
    """A service that has conversations; the page lists them."""
    fake.lists, fake.conversations = [TWO], [TEA]
    await page.goto(f"{fake.origin}/history")
    await expect(row(page, "Of tea")).to_be_visible()
    return fake


@pytest_asyncio.fixture(loop_scope="session", scope="package")
async def bench(browser: Browser) -> AsyncIterator[Page]:
    """One page for all who only import modules of ours and call them."""
    async with FakeService() as service:
        page = await browser.new_page()
        await page.goto(service.origin)
        yield page
        await page.close()


@pytest.fixture(scope="package")
def up_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up")


@pytest.fixture(scope="package")
def chat_page(up_folder: Path) -> Iterator[str]:
    """The address that a real `streamer up` prints. Its demo takes some seconds for an answer; see ROUTES for others."""
    (up_folder / "routes.toml").write_text(ROUTES)
    settings = {"STREAMER_DEMO_TOKENS_PER_SECOND": "60", "STREAMER_ROUTES": str(up_folder / "routes.toml")}
    with running_service(up_folder, **settings) as address:
        yield address


@pytest.fixture
def admin_key(chat_page: str, up_folder: Path) -> str:
    """The first API key of that service."""
    return (up_folder / "service" / "api_key").read_text().strip()
