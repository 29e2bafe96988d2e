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

expect.set_options(timeout=60_000)

SIZES = {"wide": (1280, 800), "narrow": (360, 740)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

ROUTES = """
[routes.error]
model = "demo:error"
max_calls = 1
[routes.short]
model = "demo:short"
[routes.limited]
model = "demo:echo"
max_requests = 1
request_window_seconds = 15
"""

#: What the visitor has talked about before.
BEFORE = (
    "Ideas for a small kitchen",
    "How long does bread have to rise?",
    "Write a haiku about patience",
    "What does a reverse proxy do?",
    "Explain server-sent events in two sentences",
)

QUESTION = "What happens when I press Send?"

#: Both run in the page: they call the API as the widget does.
_API = """const { Api, exchangeGrant } = await import("/static/widget/api.js");
  const { token } = await exchangeGrant(new URL("/", location.href), location.hash.slice("#grant=".length));
  const api = new Api(new URL("/", location.href), async () => token);"""

_TALK = f"""async (messages) => {{
  {_API}
  for (const message of messages) {{
    const {{ links }} = await api.post({{ message, route: "short" }}, crypto.randomUUID());
    await api.poll(links, {{ waitSeconds: 25 }});
  }}
}}"""

_FORGET = f"""async () => {{
  {_API}
  const {{ conversationId }} = document.querySelector("ai-chat");
  if (conversationId) await api.remove(conversationId);
}}"""


async def empty(page: Page) -> None:
    await expect(page.get_by_role("button", name=QUESTION, exact=True)).to_be_visible()


async def streaming(page: Page) -> None:
    await send(page, QUESTION)
    await expect(last_text(page)).to_have_text(re.compile(".{600}", re.DOTALL))


async def stopped(page: Page) -> None:
    await streaming(page)
    await page.get_by_role("button", name="Stop", exact=True).click()
    await expect(page.locator(".meta")).to_be_visible()


async def failed(page: Page) -> None:
    await page.locator("ai-chat").evaluate("(chat) => chat.setAttribute('route', 'error')")
    await send(page, QUESTION)
    await expect(page.get_by_role("button", name="Try again")).to_be_visible()


async def done(page: Page) -> None:
    await send(page, QUESTION)
    await expect(page.locator(".foot")).to_be_visible(timeout=60_000)


async def branches(page: Page) -> None:
    await done(page)
    await page.get_by_role("article", name="You").hover()
    await page.get_by_role("button", name="Edit").click()
    await page.get_by_label("New wording").fill("What happens when I press Stop?")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Regenerate")).to_be_visible(timeout=60_000)
    await page.get_by_role("button", name="Good answer").click()
    await page.get_by_role("log").evaluate("(log) => { log.scrollTop = 0; }")


async def limited(page: Page) -> None:
    await page.locator("ai-chat").evaluate("(chat) => chat.setAttribute('route', 'limited')")
    await done(page)
    await send(page, "And what if I ask a lot?")
    await expect(page.get_by_text("You can try again in")).to_be_visible()


async def deleting(page: Page) -> None:
    await done(page)
    drawer = page.get_by_role("button", name="Show conversations")
    if await drawer.is_visible():
        await drawer.click()
    row = page.get_by_role("listitem").filter(has_text=BEFORE[1])
    await row.hover()
    await row.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("For good?")).to_be_visible()


async def underneath(page: Page) -> None:
    await done(page)
    if await page.locator("#inside").get_attribute("open") is None:
        await page.locator("#inside summary").click()
    await expect(page.locator("#curl")).to_be_visible()


SCENES: tuple[Callable[[Page], Awaitable[None]], ...] = (
    empty,
    streaming,
    stopped,
    failed,
    done,
    branches,
    limited,
    deleting,
    underneath,
)

KEPT = (
    "streaming-wide-light",
    "branches-wide-dark",
    "stopped-narrow-light",
    "deleting-narrow-light",
    "underneath-narrow-dark",
)
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
                await page.evaluate(_FORGET)
                await context.close()


async def talk(browser: Browser, address: str) -> None:
    """Gives the visitor conversations of before."""
    page = await browser.new_page()
    await page.goto(address)
    await page.evaluate(_TALK, list(BEFORE))
    await page.close()


async def main(folder: Path, names: Collection[str] | None) -> None:
    with tempfile.TemporaryDirectory() as data:
        routes = Path(data) / "routes.toml"
        routes.write_text(ROUTES)
        settings = {"STREAMER_DEMO_TOKENS_PER_SECOND": "40", "STREAMER_ROUTES": str(routes)}
        with running_service(Path(data), **settings) as address:
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
                await talk(browser, address)
                await take(browser, address, folder, names)
                await browser.close()


if __name__ == "__main__":
    everything = len(sys.argv) > 1
    where = Path(sys.argv[1]) if everything else ROOT / "docs" / "pictures"
    where.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(where, None if everything else KEPT))
