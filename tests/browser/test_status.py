"""The status page: in with a key, live figures, what is wrong in words, out again."""

import json
from typing import Any
from urllib.parse import urljoin

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.contrast import FAINT
from tests.browser.visitor import last_text, send

pytestmark = pytest.mark.asyncio(loop_scope="session")

REPORT: dict[str, Any] = {
    "at": 1764300000.5,
    "checks": {"database": "ok", "redis": "ok", "queue": "ok"},
    "answers": {"queued": 12345, "waiting_for_turn": 3, "oldest_queued_seconds": 75.2, "running": 200},
    "queue_messages": 40,
    "viewers": {"here": 9, "everywhere": 14, "processes": 2},
    "failures": {
        "within_seconds": 3600,
        "total": 10000,
        "more": True,
        "codes": [
            {"code": "provider_timeout", "count": 9000, "newest_seconds": 8000.0},
            {"code": "crashed", "count": 1000, "newest_seconds": 71.3},
        ],
    },
    "workers": {
        "total": 101,
        "listed": [
            {
                "id": "worker_0123456789abcdef",
                "host": "a-host-with-quite-a-long-name.example.org",
                "pid": 4194304,
                "running": 200,
                "up_seconds": 200000.0,
                "heartbeat_seconds": 42.0,
                "silent": True,
            }
        ],
    },
}

AWAY: dict[str, Any] = {
    **REPORT,
    "at": 1764300002.5,
    "checks": dict.fromkeys(REPORT["checks"], "away"),
    **dict.fromkeys(("answers", "queue_messages", "failures", "workers")),
    "viewers": {"here": 9, "everywhere": None, "processes": None},
}


async def sign_in(page: Page, address: str, key: str) -> None:
    await page.goto(urljoin(address, "/admin/status"))
    await page.get_by_label("API key").fill(key)
    await page.keyboard.press("Enter")


async def answer_with(page: Page, *reports: dict[str, Any], status: int = 200, body: str | None = None) -> None:
    """From now on streams say these reports and end, or are refused."""
    frames = "".join(f"event: status\ndata: {json.dumps(each)}\n\n" for each in reports)
    media_type = "text/event-stream" if status == 200 else "application/json"

    async def fulfil(route: Route) -> None:
        await route.fulfill(status=status, content_type=media_type, body=frames if body is None else body)

    await page.unroute("**/admin/status/events")
    await page.route("**/admin/status/events", fulfil)


async def test_an_operator_signs_in_sees_a_failure_come_and_signs_out(
    chat_page: str, page: Page, admin_key: str
) -> None:
    await sign_in(page, chat_page, f"{admin_key[:-1]}{'A' if admin_key[-1] != 'A' else 'B'}")
    await expect(page.get_by_role("alert")).to_contain_text("is not one of this installation")
    await sign_in(page, chat_page, admin_key)
    await expect(page.get_by_role("status")).to_have_text("Live")
    await expect(page.get_by_role("row")).to_have_count(2)
    await expect(page.locator("#key")).to_have_value("")
    kept = "() => JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}, location.href])"
    assert admin_key[-20:] not in await page.evaluate(kept)
    assert "streamer_admin" not in await page.evaluate("() => document.cookie")

    before = int(await page.locator("#failed").inner_text())
    other = await page.context.new_page()
    await other.goto(chat_page)
    await other.locator("ai-chat").evaluate("(chat) => chat.setAttribute('route', 'error')")
    await send(other, "Fail")
    await expect(page.locator("#failed")).to_have_text(str(before + 1))
    await other.locator("ai-chat").evaluate("(chat) => chat.setAttribute('route', 'chat')")
    await send(other, "Now answer")
    await expect(last_text(other)).to_contain_text("Hello!")
    await expect(page.locator("#viewers")).to_have_text("1")
    await other.close()

    await page.reload()
    await expect(page.get_by_role("status")).to_have_text("Live")
    second = await page.context.new_page()
    await second.goto(page.url)
    await expect(second.get_by_role("status")).to_have_text("Live")
    await page.get_by_role("button", name="Sign out").click()
    for each in (page, second):
        await expect(each.get_by_role("status")).to_have_text("Signed out")
        await expect(each.get_by_label("API key")).to_be_focused()
    await page.reload()
    await expect(page.get_by_role("status")).to_have_text("Signed out")
    await expect(page.locator("#figures")).to_be_hidden()


async def test_figures_are_told_and_what_is_wrong_is_said_in_words(chat_page: str, page: Page) -> None:
    await answer_with(page, REPORT)
    await page.goto(urljoin(chat_page, "/admin/status"))
    for name, value in (("queued", "12,345"), ("oldest", "1 min"), ("depth", "40"), ("failed", "10,000+")):
        await expect(page.locator(f"#{name}")).to_have_text(value)
    await expect(page.get_by_role("status")).to_contain_text("Reconnecting… The figures are of ")
    await expect(page.locator("#troubles")).to_have_text("Every worker is silent: nothing is answered.")
    await expect(page.get_by_role("row").last).to_contain_text("42 s ago, silent")
    await expect(page.locator("#more-workers")).to_have_text("and 100 more")
    await expect(page.locator("#failures li").first).to_contain_text("provider_timeout9,000last 2 h 13 min ago")
    await expect(page.locator("#plot")).to_have_attribute(
        "aria-label", "Queued 12345, at most 12345; running 200, at most 200"
    )
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        assert await page.evaluate(FAINT) == []
    await page.set_viewport_size({"width": 360, "height": 740})
    assert await page.evaluate("() => document.documentElement.scrollWidth") == 360

    await answer_with(page, AWAY)
    await expect(page.locator("#troubles li")).to_have_count(3)
    await expect(page.locator("#queued")).to_have_text("–")
    await expect(page.locator("#viewers")).to_have_text("9")
    await expect(page.locator("#viewers-more")).to_have_text("of this web process alone")
    await answer_with(page, status=503, body='{"message": "The database is away.", "retry_after": 1}')
    await expect(page.get_by_role("status")).to_contain_text("The database is away. Reconnecting…")
    await answer_with(page, status=403, body='{"message": "Not for you."}')
    await expect(page.get_by_role("alert")).to_have_text("Not for you.")
    await expect(page.locator("#figures")).to_be_hidden()
