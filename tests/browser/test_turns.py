"""What can be done with a turn: asked again, asked otherwise, rated, copied; and what is said when a limit strikes."""

import asyncio
import re

import pytest
from playwright.async_api import BrowserContext, Locator, Page, expect

from tests.browser.fake_service import (
    LINKS,
    FakeService,
    accepted,
    allowance,
    answer,
    delta,
    done,
    links,
    refusal,
    started,
    stream,
    struck,
)
from tests.browser.visitor import last_text, send

pytestmark = pytest.mark.asyncio(loop_scope="session")


def says(text: str, *, cached: bool = False) -> str:
    """The frames of a whole answer."""
    return started() + delta("1-1", text) + done("1-2", text, cached=cached)


def answers(fake: FakeService, *texts: str) -> None:
    """The next requests get these texts, with the ids g1, g2, …"""
    fake.posts = [accepted(id=f"g{number}") for number in range(1, len(texts) + 1)]
    fake.streams = [stream(says(text)) for text in texts]


def question(page: Page, at: int = -1) -> Locator:
    return page.get_by_role("article", name="You").nth(at)


def version(page: Page, at: int, of: int) -> Locator:
    return page.get_by_role("group", name=f"Version {at} of {of}")


async def ask(page: Page, message: str, text: str) -> None:
    await send(page, message)
    await expect(last_text(page)).to_have_text(text)
    await expect(page.get_by_role("button", name="Regenerate").last).to_be_visible()


async def edit(page: Page, turn: Locator, message: str) -> None:
    await turn.get_by_role("button", name="Edit").click()
    box = page.get_by_label("New wording")
    await expect(box).to_be_focused()
    await box.fill(message)
    await box.press("Enter")


async def test_the_same_question_again_stands_beside_the_first_answer(fake: FakeService, page: Page) -> None:
    answers(fake, "One", "Two")
    await ask(page, "Question", "One")
    await page.get_by_role("button", name="Regenerate").click()
    await expect(last_text(page)).to_have_text("Two")
    assert fake.requests("POST", "/ai/v1/chat")[-1].json == {"regenerate": "g1"}
    await expect(page.get_by_role("article", name="Assistant")).to_have_count(1)
    await expect(version(page, 2, 2)).to_be_visible()
    await page.get_by_role("button", name="Previous version").click()
    await expect(last_text(page)).to_have_text("One")
    await expect(version(page, 1, 2)).to_be_visible()
    await expect(page.get_by_role("button", name="Next version")).to_be_focused()


async def test_whoever_asks_again_may_stop_at_once(fake: FakeService, page: Page) -> None:
    answers(fake, "One", "Two")
    fake.streams[1] = stream(started(), delta("1-1", "Tw"), asyncio.Event())
    await ask(page, "Question", "One")
    await page.get_by_role("button", name="Regenerate").click()
    await expect(page.get_by_role("button", name="Stop")).to_be_focused()
    await expect(last_text(page)).to_have_text("Tw")
    await expect(page.get_by_role("button", name="Regenerate")).to_be_hidden()


async def test_a_question_is_put_otherwise_in_its_place(fake: FakeService, page: Page) -> None:
    answers(fake, "One", "Two", "Three")
    await ask(page, "First", "One")
    await ask(page, "Second", "Two")
    await edit(page, question(page, 0), "First, otherwise")
    await expect(last_text(page)).to_have_text("Three")
    assert fake.requests("POST", "/ai/v1/chat")[-1].json == {"edit": "g1", "message": "First, otherwise"}
    await expect(page.get_by_role("article", name="You")).to_have_count(1)
    await page.get_by_role("button", name="Previous version").click()
    await expect(page.get_by_role("article", name="You")).to_have_count(2)
    await expect(last_text(page)).to_have_text("Two")


async def test_an_edit_that_is_given_up_changes_nothing(fake: FakeService, page: Page) -> None:
    answers(fake, "One")
    await ask(page, "First", "One")
    await question(page).get_by_role("button", name="Edit").click()
    await page.get_by_label("New wording").fill("Other")
    await page.keyboard.press("Escape")
    await expect(page.get_by_label("New wording")).to_have_count(0)
    await expect(question(page)).to_have_text("First")
    await expect(question(page).get_by_role("button", name="Edit")).to_be_focused()
    assert len(fake.requests("POST", "/ai/v1/chat")) == 1


async def test_what_is_sent_on_an_older_branch_follows_its_last_turn(fake: FakeService, page: Page) -> None:
    answers(fake, "One", "Two", "Three")
    await ask(page, "First", "One")
    await page.get_by_role("button", name="Regenerate").click()
    await expect(last_text(page)).to_have_text("Two")
    await page.get_by_role("button", name="Previous version").click()
    await ask(page, "More", "Three")
    sent = fake.requests("POST", "/ai/v1/chat")[-1].json
    assert sent == {"message": "More", "conversation_id": "c1", "parent": "g1"}
    await expect(page.locator(".text:not([hidden])")).to_have_text(["One", "Three"])


async def test_the_branch_that_was_shown_is_shown_after_a_reload(fake: FakeService, page: Page) -> None:
    answers(fake, "One", "Two")
    await ask(page, "First", "One")
    await page.get_by_role("button", name="Regenerate").click()
    await expect(last_text(page)).to_have_text("Two")
    await page.get_by_role("button", name="Previous version").click()
    await page.reload()
    await expect(last_text(page)).to_have_text("One")
    await expect(version(page, 1, 2)).to_be_visible()


async def test_a_message_that_was_refused_can_be_put_otherwise(fake: FakeService, page: Page) -> None:
    fake.posts = [refusal(400, "bad_request", "Too rude."), accepted()]
    fake.streams = [stream(says("One"))]
    await send(page, "Rude")
    await expect(page.get_by_role("alert")).to_contain_text("Too rude.")
    await edit(page, question(page), "Kind")
    await expect(last_text(page)).to_have_text("One")
    first, second = fake.requests("POST", "/ai/v1/chat")
    assert second.json == {"message": "Kind"}
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]
    await expect(question(page)).to_have_text("Kind")


async def test_an_answer_is_copied(fake: FakeService, page: Page, context: BrowserContext) -> None:
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    answers(fake, "Word for word\n  as it is")
    await ask(page, "Question", "Word for word as it is")
    await page.get_by_role("button", name="Copy").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("() => navigator.clipboard.readText()") == "Word for word\n  as it is"
    await expect(page.get_by_role("button", name="Copy")).to_be_visible()


async def test_a_thumb_is_kept_and_a_word_may_be_added(fake: FakeService, page: Page) -> None:
    answers(fake, "One")
    await ask(page, "Question", "One")
    thumb = page.get_by_role("button", name="Bad answer")
    await thumb.click()
    await expect(thumb).to_have_attribute("aria-pressed", "true")
    await page.get_by_label("A word about the answer").fill("Wrong year")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Thank you, noted.")).to_be_visible()
    await expect(thumb).to_be_focused()
    ratings = [each.json for each in fake.requests("POST", LINKS["feedback"])]
    assert ratings == [{"rating": "down", "comment": ""}, {"rating": "down", "comment": "Wrong year"}]


async def test_a_thumb_is_taken_back_by_a_second_press(fake: FakeService, page: Page) -> None:
    answers(fake, "One")
    await ask(page, "Question", "One")
    thumb = page.get_by_role("button", name="Good answer")
    await thumb.click()
    await thumb.click()
    await expect(thumb).to_have_attribute("aria-pressed", "false")
    await expect(page.get_by_label("A word about the answer")).to_be_hidden()
    assert (await fake.nth(2, "POST", LINKS["feedback"])).json == {"rating": None}


async def test_a_thumb_that_could_not_be_kept_is_taken_back_and_said(fake: FakeService, page: Page) -> None:
    answers(fake, "One")
    fake.ratings = [refusal(503, "unavailable", "Away.")]
    await ask(page, "Question", "One")
    thumb = page.get_by_role("button", name="Good answer")
    await thumb.click()
    await expect(page.get_by_text("Could not be kept. Away.")).to_be_visible()
    await expect(thumb).to_have_attribute("aria-pressed", "false")


async def test_an_answer_from_the_cache_says_so(fake: FakeService, page: Page) -> None:
    fake.streams = [stream(says("One", cached=True))]
    await ask(page, "Question", "One")
    await expect(page.get_by_text("from cache")).to_be_visible()


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("requests", "That was a lot of messages in a short time."),
        ("visitor_generations", "Many of your answers are still being written."),
        ("tenant_generations", "This site is writing as many answers as it can."),
    ],
)
async def test_a_limit_that_strikes_says_which_and_counts_down(
    fake: FakeService, page: Page, limit: str, said: str
) -> None:
    fake.posts, fake.streams = [struck(limit, 2), accepted()], [stream(says("One"))]
    await send(page, "Question")
    alert = page.get_by_role("alert")
    retry = page.get_by_role("button", name="Try again")
    await expect(alert).to_contain_text(re.compile(rf"^{said}\s+You can try again in\s[12]\ss\."))
    await expect(retry).to_be_disabled()
    await expect(alert).to_contain_text("You can try again now.")
    await expect(page.get_by_role("status").and_(page.locator(".status-text"))).to_have_text("You can try again now.")
    await retry.click()
    await expect(last_text(page)).to_have_text("One")
    assert len({post.headers["idempotency-key"] for post in fake.requests("POST", "/ai/v1/chat")}) == 1


async def test_the_seconds_of_a_countdown_are_not_read_out(fake: FakeService, page: Page) -> None:
    fake.posts = [struck("requests", 3725)]
    await send(page, "Question")
    await expect(page.get_by_role("timer")).to_have_text("You can try again in 1 h 2 min.")


async def test_the_rest_of_the_allowance_is_said_when_it_is_low(fake: FakeService, page: Page) -> None:
    answers(fake, "One", "Two", "Three")
    for post, remaining in zip(fake.posts, (6, 2, 0), strict=True):
        allowance(post, remaining)
    rest = page.locator(".rest")
    await ask(page, "First", "One")
    await expect(rest).to_be_hidden()
    await ask(page, "Second", "Two")
    await expect(rest).to_contain_text("2 messages left, one more in")
    await ask(page, "Third", "Three")
    await expect(rest).to_contain_text("No message left, one more in")


async def test_a_service_whose_links_name_no_feedback_is_rated_all_the_same(fake: FakeService, page: Page) -> None:
    old = {name: path for name, path in links("g1").items() if name != "feedback"}
    fake.posts = [answer({"id": "g1", "status": "queued", "conversation_id": "c1", "links": old, "ticket": "t"}, 202)]
    fake.streams = [stream(says("One"))]
    await ask(page, "Question", "One")
    async with page.expect_request(f"**{LINKS['feedback']}"):
        await page.get_by_role("button", name="Good answer").click()
