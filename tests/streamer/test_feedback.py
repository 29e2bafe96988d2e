"""`POST /ai/v1/chat/{id}/feedback`: the last word on an answer that has ended."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from peewee import Database

from models.event_log import EventLog
from models.feedback import Feedback, Rating, rate
from models.settings import Settings
from streamer import feedback
from tests.streamer.site import Site, running_site


@pytest.fixture
async def site(live: Settings, database: Database, api_key: str, log: EventLog) -> AsyncIterator[Site]:
    async with running_site(live, log, api_key) as site:
        yield site


async def told(site: Site) -> Any:
    """What the conversation says of its only turn."""
    return (await site.call("GET", "/ai/v1/conversations/c")).json()["turns"][0]["feedback"]


@pytest.mark.parametrize("status", ["done", "incomplete", "cancelled", "error"])
async def test_an_ended_answer_is_rated_and_the_last_word_counts(site: Site, status: str) -> None:
    row = await site.turn("hello", status=status)
    path = f"/ai/v1/chat/{row.id}/feedback"

    first = await site.call("POST", path, {"rating": "up"})
    assert (first.status_code, first.json()) == (200, {"id": row.id, "rating": "up", "comment": ""})
    assert await told(site) == {"rating": "up", "comment": ""}

    second = await site.call("POST", path, {"rating": "down", "comment": "Too long. 🙂"})
    assert second.json() == {"id": row.id, "rating": "down", "comment": "Too long. 🙂"}
    assert await told(site) == {"rating": "down", "comment": "Too long. 🙂"}
    assert Feedback.select().count() == 1


async def test_null_takes_it_back(site: Site) -> None:
    row = await site.turn("hello")
    path = f"/ai/v1/chat/{row.id}/feedback"
    await site.call("POST", path, {"rating": "up", "comment": "Good."})

    for _ in range(2):
        response = await site.call("POST", path, {"rating": None})
        assert (response.status_code, response.json()) == (200, {"id": row.id, "rating": None, "comment": ""})
        assert await told(site) is None


async def test_an_answer_that_is_under_way_can_not_be_rated_yet(site: Site) -> None:
    answer = await site.ask("hello")
    for step in (answer.begin, answer.finish):
        response = await site.call("POST", f"/ai/v1/chat/{answer.id}/feedback", {"rating": "up"})
        assert response.status_code == 400
        assert "ended" in response.json()["message"]
        await step()
    assert (await site.call("POST", f"/ai/v1/chat/{answer.id}/feedback", {"rating": "up"})).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"comment": "a"},
        {"rating": "UP"},
        {"rating": ""},
        {"rating": 1},
        {"rating": True},
        {"rating": "up", "comment": "x" * 2001},
        {"rating": "up", "comment": None},
        {"rating": None, "comment": "a"},
        {"rating": "up", "user": "u2"},
        ["up"],
    ],
)
async def test_what_is_not_as_documented_is_refused(site: Site, body: Any) -> None:
    row = await site.turn("hello")

    assert (await site.call("POST", f"/ai/v1/chat/{row.id}/feedback", body)).status_code == 400
    assert Feedback.select().count() == 0


async def test_a_strangers_answer_and_one_that_is_none_are_answered_alike(site: Site) -> None:
    row = await site.turn("hello")
    answers = [
        await site.call("POST", f"/ai/v1/chat/{named}/feedback", {"rating": "up"}, "u2", x_request_id="r")
        for named in (row.id, "019c0000-0000-7000-8000-000000000000", "x")
    ]

    assert {response.status_code for response in answers} == {404}
    assert len({response.text for response in answers}) == 1
    assert Feedback.select().count() == 0
    assert (await site.client.post(f"/ai/v1/chat/{row.id}/feedback", json={"rating": "up"})).status_code == 401


async def test_an_answer_that_is_erased_at_that_moment_is_not_found(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await site.turn("hello")

    def erased_before(generation_id: str, rating: Rating, comment: str) -> None:
        rate("none", rating, comment)

    monkeypatch.setattr(feedback, "rate", erased_before)
    answer = await site.call("POST", f"/ai/v1/chat/{row.id}/feedback", {"rating": "up"})

    assert answer.status_code == 404


async def test_the_links_of_a_chat_lead_there(site: Site) -> None:
    row = await site.turn("hello")

    links = (await site.call("GET", f"/ai/v1/chat/{row.id}")).json()["links"]

    assert links["feedback"] == f"/ai/v1/chat/{row.id}/feedback"
