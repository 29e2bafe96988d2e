"""The demo page against the real service, from the address that `streamer up` prints to the last word."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from tests.browser.contrast import FAINT
from tests.browser.visitor import last_text, send

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: How the demo's answer begins and ends.
BEGINNING = "Hello! You wrote"
END = "no browser ever sees it."

LONG_MS = 60_000


async def ask(page: Page, address: str, message: str, route: str | None = None) -> Locator:
    """Opens the page, sends a message and gives the answer, whose text has begun."""
    await page.goto(address)
    if route:
        await page.locator("ai-chat").evaluate("(chat, route) => chat.setAttribute('route', route)", route)
    await send(page, message)
    return last_text(page)


async def expect_end(page: Page) -> None:
    await expect(page.get_by_role("article", name="Assistant").last).to_have_attribute(
        "aria-busy", "false", timeout=LONG_MS
    )
    await expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


async def poll(page: Page, address: str) -> Any:
    """The answer that is shown, as another client polls it: by the curl command's address and the page's own token."""
    curl = await page.locator("#curl").inner_text()
    script = """async ([url, grant]) => {
      const { exchangeGrant } = await import("/static/widget/api.js");
      const { token } = await exchangeGrant(new URL("/", location.href), grant);
      return (await fetch(url, { headers: { Authorization: `Bearer ${token}` } })).json();
    }"""
    url, grant = curl.split('"')[3], urlsplit(address).fragment.removeprefix("grant=")
    return await page.evaluate(script, [url, grant])


async def test_the_printed_address_opens_a_chat_that_answers(chat_page: str, page: Page) -> None:
    text = await ask(page, chat_page, "How do you do?")
    await expect(text).to_contain_text(BEGINNING)
    begun = await text.inner_text()
    assert END not in begun, "it is shown while it grows"
    await expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    await expect_end(page)
    await expect(text).to_contain_text(END)
    stored = await poll(page, chat_page)
    assert (stored["status"], stored["result"]["text"]) == ("done", await text.text_content())
    await expect(page.locator("#verified")).to_have_text("✓ SHA-256")
    await expect(page.locator("#resumes")).to_have_text("0")
    await expect(page.locator("#tokens")).to_have_text(str(stored["tokens"]["out"]))
    await expect(page.locator("#generation-id")).to_have_text(stored["id"])


async def test_a_suggested_prompt_is_sent_by_a_click(chat_page: str, page: Page) -> None:
    await page.goto(chat_page)
    await page.get_by_role("button", name="What happens when I press Send?", exact=True).click()
    await expect(page.get_by_role("article", name="You")).to_have_text("What happens when I press Send?")
    await expect(last_text(page)).to_contain_text(BEGINNING)


async def test_a_reload_in_the_middle_of_an_answer_loses_and_doubles_nothing(chat_page: str, page: Page) -> None:
    text = await ask(page, chat_page, "Reload me")
    await expect(text).to_contain_text(BEGINNING)
    await page.reload()
    await expect(last_text(page)).to_contain_text(BEGINNING)
    await expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    await page.reload()
    await expect_end(page)
    stored = await poll(page, chat_page)
    assert (stored["status"], stored["result"]["text"]) == ("done", await last_text(page).text_content())
    await expect(page.locator("#resumes")).to_have_text("2")
    await expect(page.locator("#verified")).to_have_text("✓ SHA-256")
    await expect(page.get_by_role("article", name="You")).to_have_text("Reload me")


async def test_stop_keeps_what_was_read_and_is_what_is_stored(chat_page: str, page: Page) -> None:
    text = await ask(page, chat_page, "Stop me", route="long")
    await expect(text).to_contain_text("Chapter 1")
    await page.get_by_role("button", name="Stop", exact=True).click()
    await expect(page.locator(".meta")).to_have_text("Stopped")
    await expect_end(page)
    stored = await poll(page, chat_page)
    assert (stored["status"], stored["result"]["text"]) == ("cancelled", await text.text_content())
    await expect(page.locator("#verified")).to_have_text("✓ SHA-256")
    await expect(page.get_by_label("Message", exact=True)).to_be_focused()


async def test_the_next_message_belongs_to_the_same_conversation(chat_page: str, page: Page) -> None:
    await ask(page, chat_page, "One")
    await page.get_by_role("button", name="Stop", exact=True).click()
    await expect_end(page)
    async with page.expect_request("**/ai/v1/chat") as sent:
        await send(page, "Two")
    assert json.loads((await sent.value).post_data or "")["conversation_id"]
    await expect(last_text(page)).to_contain_text("“Two”")
    await expect(page.get_by_role("article", name="Assistant")).to_have_count(2)


async def test_a_provider_that_breaks_off_leaves_a_partial_answer_that_says_so(chat_page: str, page: Page) -> None:
    text = await ask(page, chat_page, "Break", route="broken")
    await expect(page.get_by_text("The provider broke off. This is what arrived.")).to_be_visible()
    await expect_end(page)
    stored = await poll(page, chat_page)
    assert (stored["status"], stored["result"]["text"]) == ("incomplete", await text.text_content())


async def test_a_provider_that_fails_is_shown_with_its_code_and_a_retry(chat_page: str, page: Page) -> None:
    await ask(page, chat_page, "Fail", route="error")
    await expect(page.get_by_role("alert").last).to_contain_text("The answer failed.")
    await expect_end(page)
    stored = await poll(page, chat_page)
    assert stored["status"] == "error"
    await expect(page.get_by_role("alert").last).to_contain_text(stored["error"]["code"])
    assert stored["error"]["retryable"]
    await page.locator("ai-chat").evaluate("(chat) => chat.setAttribute('route', 'chat')")
    await page.get_by_role("button", name="Try again").click()
    await expect(last_text(page)).to_contain_text(BEGINNING)
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_a_reload_keeps_the_visitor_signed_in_and_the_grant_in_the_address(chat_page: str, page: Page) -> None:
    await page.goto(chat_page)
    await page.reload()
    assert page.url == chat_page
    await page.goto(chat_page.partition("#")[0])
    await expect(last_text(page)).to_have_count(0)
    await send(page, "Still here?")
    await expect(last_text(page)).to_contain_text(BEGINNING)


@pytest.mark.parametrize("fragment", ["", "#grant=forged"])
async def test_a_page_without_a_good_grant_says_which_address_to_open(
    chat_page: str, page: Page, fragment: str
) -> None:
    await page.goto(chat_page.partition("#")[0] + fragment)
    await expect(page.locator("#banner")).to_contain_text("Open the address that streamer link prints.")
    await send(page, "Hello?")
    await expect(page.get_by_role("alert").last).to_contain_text("Open the address that “streamer link” prints.")


async def test_a_grant_that_is_pasted_into_an_open_page_signs_in(chat_page: str, page: Page) -> None:
    await page.goto(chat_page.partition("#")[0])
    await expect(page.locator("#banner")).to_be_visible()
    await page.evaluate("(hash) => { location.hash = hash; }", urlsplit(chat_page).fragment)
    await expect(page.locator("#banner")).to_be_hidden()


async def test_two_tabs_of_one_visitor_have_conversations_of_their_own(
    chat_page: str, page: Page, context: BrowserContext
) -> None:
    first = await ask(page, chat_page, "First")
    other = await context.new_page()
    second = await ask(other, chat_page, "Second")
    await expect(first).to_contain_text("“First”")
    await expect(second).to_contain_text("“Second”")


async def test_a_second_tab_shows_the_same_answer_as_it_grows(chat_page: str, page: Page) -> None:
    text = await ask(page, chat_page, "Two of us")
    await expect(text).to_contain_text(BEGINNING)
    async with page.expect_popup() as opened:
        await page.get_by_role("button", name="Second tab").click()
    other = await opened.value
    await expect(last_text(other)).to_contain_text(BEGINNING)
    await expect(other.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    await expect_end(page)
    await expect_end(other)
    assert await last_text(other).text_content() == await text.text_content()
    await expect(other.locator("#verified")).to_have_text("✓ SHA-256")


async def test_the_copied_curl_command_holds_the_token_that_the_page_does_not_show(
    chat_page: str, page: Page, context: BrowserContext
) -> None:
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    await ask(page, chat_page, "Curl")
    await page.get_by_role("button", name="Copy with token").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = await page.evaluate("() => navigator.clipboard.readText()")
    shown = await page.locator("#curl").inner_text()
    assert "$TOKEN" in shown
    token = copied.split("Bearer ")[1].split('"')[0]
    assert copied == shown.replace("$TOKEN", token)
    answer = await context.request.get(shown.split('"')[3], headers={"Authorization": f"Bearer {token}"})
    assert answer.status == 200


async def test_the_keyboard_alone_is_enough(chat_page: str, page: Page) -> None:
    await page.goto(chat_page)
    await page.locator("ai-chat").evaluate("(chat) => chat.setAttribute('route', 'long')")  # there is time to stop it
    await page.get_by_role("button", name="What happens when I press Send?", exact=True).focus()
    for label in ("What if I reload the page while you answer?", "Who gets to see the provider's key?"):
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name=label, exact=True)).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(page.get_by_label("Message", exact=True)).to_be_focused()
    await page.keyboard.type("By keyboard")
    await page.keyboard.press("Enter")
    await expect(last_text(page)).to_contain_text("Chapter 1")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Stop", exact=True)).to_be_focused()
    await page.keyboard.press("Enter")
    await expect_end(page)
    await expect(page.get_by_label("Message", exact=True)).to_be_focused()


@pytest.mark.parametrize(("width", "height"), [(360, 740), (800, 600), (1280, 800), (1920, 1080)])
async def test_nothing_is_wider_than_the_window_and_the_composer_is_in_sight(
    chat_page: str, page: Page, width: int, height: int
) -> None:
    await page.set_viewport_size({"width": width, "height": height})
    await ask(page, chat_page, "w" * 200, "long")
    await expect(last_text(page)).to_contain_text("Chapter 1")
    size = await page.evaluate("() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert size == [width, height]
    log = page.get_by_role("log")
    assert await log.evaluate("(log) => log.scrollWidth <= log.clientWidth")
    box = await page.get_by_role("button", name="Stop", exact=True).bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= width
    assert box["y"] + box["height"] <= height


async def test_what_happens_underneath_unfolds_on_a_narrow_screen(chat_page: str, page: Page) -> None:
    await page.set_viewport_size({"width": 360, "height": 740})
    await ask(page, chat_page, "Underneath")
    await expect(page.locator("#generation-id")).to_be_hidden()
    await page.locator("#inside summary").click()
    await expect(page.locator("#generation-id")).to_be_visible()
    await expect(page.get_by_label("Message", exact=True)).to_be_in_viewport()


async def test_whoever_prefers_less_motion_gets_none(chat_page: str, browser: Browser) -> None:
    context = await browser.new_context(reduced_motion="reduce")
    page = await context.new_page()
    await ask(page, chat_page, "Calm")
    await expect(last_text(page)).to_contain_text(BEGINNING)
    moving = """() => [document, document.querySelector("ai-chat").shadowRoot]
      .flatMap((root) => root.getAnimations()).filter((each) => each.playState === "running").length"""
    assert await page.evaluate(moving) == 0
    await context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_has_contrast_in_both_schemes(chat_page: str, browser: Browser, scheme: Any) -> None:
    context = await browser.new_context(color_scheme=scheme)
    page = await context.new_page()
    await ask(page, chat_page, "Contrast")
    await expect(last_text(page)).to_contain_text(BEGINNING)
    faint = await page.evaluate(FAINT)
    await context.close()
    assert faint == []
