"""The element itself: what is written and read in it, and what it tells the page and is told by it."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.browser.fake_service import FakeService, delta, done, frame, started, stream
from tests.browser.visitor import WHOLE, expect_end, last_text, send

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_shift_enter_makes_a_new_line_and_an_empty_message_is_not_sent(fake: FakeService, page: Page) -> None:
    box = page.get_by_label("Message")
    await box.press("Enter")
    await expect(page.get_by_role("button", name="Send")).to_be_disabled()
    await box.press_sequentially("a")
    await box.press("Shift+Enter")
    await box.press_sequentially("b")
    await expect(box).to_have_value("a\nb")
    assert fake.requests("POST", "/ai/v1/chat") == []


async def test_markup_in_a_text_stays_text(fake: FakeService, page: Page) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>\n\n  **kept** as it is"
    fake.streams = [stream(started(), delta("1-1", evil), done("1-2", evil))]
    await send(page, evil)
    await expect_end(page, evil)
    assert await last_text(page).evaluate("(node) => [node.children.length, node.textContent]") == [0, evil]


async def test_reasoning_and_tool_calls_are_shown_beside_the_text(fake: FakeService, page: Page) -> None:
    call = frame("tool_call", "1-2", index=0, id="t", name="find", arguments='{"a":1}')
    thought = frame("reasoning", "1-1", text="Because")
    fake.streams = [stream(started(), thought, call, delta("1-3", "So"), done("1-4", "So"))]
    await send(page)
    await expect_end(page, "So")
    await expect(page.get_by_text('find({"a":1})')).to_be_visible()
    await page.get_by_text("Reasoning").click()
    await expect(page.get_by_text("Because")).to_be_visible()


async def test_the_log_follows_the_text_only_while_its_end_is_seen(fake: FakeService, page: Page) -> None:
    lines = "line\n" * 80
    more = asyncio.Event()
    fake.streams = [stream(started(), delta("1-1", lines), more, delta("1-2", "end"), done("1-3", lines + "end"))]
    await page.set_viewport_size({"width": 800, "height": 500})
    await page.locator("ai-chat").evaluate("(chat) => { chat.style.height = '480px'; }")
    await send(page)
    log = page.get_by_role("log")
    distance = "(log) => log.scrollHeight - log.scrollTop - log.clientHeight"
    jump = page.get_by_role("button", name="Jump to the latest")
    await expect(last_text(page)).to_contain_text("line")
    await expect(jump).to_be_hidden()
    assert await log.evaluate(distance) < 2
    await log.evaluate("(log) => { log.scrollTop = 0; }")
    await expect(jump).to_be_visible()
    more.set()
    await expect_end(page, lines + "end")
    assert await log.evaluate("(log) => log.scrollTop") == 0
    await jump.click()
    assert await log.evaluate(distance) < 2


async def test_the_page_is_told_of_the_start_the_text_and_the_end(fake: FakeService, page: Page) -> None:
    fake.streams = [WHOLE]
    await page.evaluate("""() => {
      globalThis.told = [];
      for (const name of ["start", "delta", "end"])
        document.addEventListener(`ai-chat-${name}`, ({ detail }) => told.push([name, detail.phase, detail.piece]));
    }""")
    await send(page)
    await expect_end(page, "Hello world")
    told = await page.evaluate("() => told")
    assert told[0][:2] == ["start", "queued"]
    assert [piece for name, _, piece in told if name == "delta"] == ["Hello", " world"]
    assert told[-1][:2] == ["end", "done"]


async def test_a_page_may_give_the_token_by_a_function(fake: FakeService, page: Page) -> None:
    fake.streams = [WHOLE]
    await page.evaluate("""() => { document.querySelector("ai-chat").getToken = async () => "mine"; }""")
    await send(page)
    await expect_end(page, "Hello world")
    assert fake.requests("POST", "/ai/v1/chat")[0].headers["authorization"] == "Bearer mine"
    assert fake.requests("POST", "/token") == []


async def test_what_is_set_before_the_script_is_loaded_is_kept(fake: FakeService, page: Page) -> None:
    await page.evaluate("""async () => {
      document.querySelector("ai-chat").remove();
      const early = document.createElement("ai-chat-early");
      const looks = { greeting: "Welcome", suggestions: ["Only this"], words: { send: "Go" } };
      Object.assign(early, { getToken: async () => "early", ...looks });
      document.body.append(early);
      const { AiChat } = await import("/static/widget.js");
      customElements.define("ai-chat-early", class extends AiChat {});
    }""")
    await expect(page.get_by_text("Welcome")).to_be_visible()
    await expect(page.get_by_role("button", name="Go")).to_be_visible()
    fake.streams = [WHOLE]
    await page.get_by_role("button", name="Only this").click()
    await expect(last_text(page)).to_have_text("Hello world")
    (post,) = fake.requests("POST", "/ai/v1/chat")
    assert (post.headers["authorization"], post.json) == ("Bearer early", {"message": "Only this"})


async def test_a_service_under_a_path_is_called_there_and_nowhere_else(fake: FakeService, page: Page) -> None:
    script = """async (links) => {
      const { Api } = await import("/static/widget/api.js");
      return links.map((link) => {
        try { return new Api("https://host.example/chat/", async () => "t").resolve(link).href; }
        catch (error) { return error.code; }
      });
    }"""
    links = ["/ai/v1/chat/1", "ai/v1/chat", "/chat/ai/v1/chat/1", "//evil.example/x", "https://evil.example/x"]
    *ours, protocol_relative, foreign = await page.evaluate(script, links)
    assert ours == [f"https://host.example/chat/ai/v1/chat{end}" for end in ("/1", "", "/1")]
    for link in (protocol_relative, foreign):
        assert link == "foreign_link" or link.startswith("https://host.example/"), link
