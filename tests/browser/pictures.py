"""Takes pictures of the page that `streamer up` serves: those of `docs/pictures`, or all into the folder that is given.

`python -m tests.browser.pictures [folder]`
"""

import asyncio
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, Page, async_playwright, expect

from tests.browser.chromium import ARGUMENTS, find_chromium
from tests.browser.running_service import ROOT, running_service
from tests.browser.visitor import last_text, send

SIZES = {"wide": (1280, 800), "narrow": (360, 740)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

ROUTES = """
[routes.error]
model = "demo:error"
max_calls = 1
"""


async def empty(page: Page) -> None:
    await expect(page.get_by_role("button", name="What happens when I press Send?", exact=True)).to_be_visible()


async def streaming(page: Page) -> None:
    await send(page, "What happens when I press Send?")
    await expect(last_text(page)).to_have_text(re.compile(".{600}", re.DOTALL))


async def stopped(page: Page) -> None:
    await streaming(page)
    await page.get_by_role("button", name="Stop", exact=True).click()
    await expect(page.locator(".meta")).to_be_visible()


async def failed(page: Page) -> None:
    await page.locator("ai-chat").evaluate("(chat) => chat.setAttribute('route', 'error')")
    await send(page, "What happens when I press Send?")
    await expect(page.get_by_role("button", name="Try again")).to_be_visible()


async def done(page: Page) -> None:
    await send(page, "What happens when I press Send?")
    await expect(page.locator(".foot")).to_be_visible(timeout=60_000)


async def underneath(page: Page) -> None:
    await done(page)
    if await page.locator("#inside").get_attribute("open") is None:
        await page.locator("#inside summary").click()
    await expect(page.locator("#curl")).to_be_visible()


SCENES: tuple[Callable[[Page], Awaitable[None]], ...] = (empty, streaming, stopped, failed, done, underneath)

KEPT = ("streaming-wide-light", "done-wide-dark", "stopped-narrow-light", "underneath-narrow-dark")
"""What stands in `docs/pictures`."""


async def take(browser: Browser, address: str, folder: Path, names: Collection[str] | None) -> None:
    """Takes those in `names`; None: all."""
    for size, (width, height) in SIZES.items():
        for scheme in SCHEMES:
            for scene in SCENES:
                name = f"{scene.__name__}-{size}-{scheme}"
                if names is not None and name not in names:
                    continue
                context = await browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
                )
                page = await context.new_page()
                await page.goto(address)
                await scene(page)
                await page.screenshot(path=folder / f"{name}.png")
                await context.close()


async def main(folder: Path, names: Collection[str] | None) -> None:
    with tempfile.TemporaryDirectory() as data:
        routes = Path(data) / "routes.toml"
        routes.write_text(ROUTES)
        settings = {"STREAMER_DEMO_TOKENS_PER_SECOND": "80", "STREAMER_ROUTES": str(routes)}
        with running_service(Path(data), **settings) as address:
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
                await take(browser, address, folder, names)
                await browser.close()


if __name__ == "__main__":
    everything = len(sys.argv) > 1
    where = Path(sys.argv[1]) if everything else ROOT / "docs" / "pictures"
    where.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(where, None if everything else KEPT))
