"""`/ai/v1/conversations`: each visitor's own, listed, read and renamed, a page at a time."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from peewee import Database

from models.api_key import create_key
from models.conversation import Conversation
from models.database import read_now
from models.event_log import CANCEL_CHANNEL, EventLog
from models.feedback import Feedback
from models.generation import Generation, Status
from models.secret import Secret
from models.settings import Settings
from streamer import conversations
from streamer.conversations import time_of
from streamer.page import MAX_LIMIT
from tasks.maintenance import Maintenance
from tests.models.rows import SENT, changed, other_tenant
from tests.streamer.conftest import bearer
from tests.streamer.eventually import eventually
from tests.streamer.frames import parse
from tests.streamer.site import Site, running_site

LIST = "/ai/v1/conversations"


@pytest.fixture
async def site(live: Settings, database: Database, api_key: str, log: EventLog) -> AsyncIterator[Site]:
    async with running_site(live, log, api_key) as site:
        yield site


async def names(site: Site, query: str = "", user: str = "u1") -> tuple[list[str], str | None]:
    """The ids of a page, and the cursor of the next."""
    response = await site.call("GET", LIST + query, user=user)
    assert response.status_code == 200, response.text
    page = response.json()
    return [each["id"] for each in page["conversations"]], page["next"]


# The list


async def test_who_has_said_nothing_has_an_empty_list(site: Site) -> None:
    response = await site.call("GET", LIST)

    assert (response.status_code, response.json()) == (200, {"conversations": [], "next": None})
    assert response.headers["cache-control"] == "no-store"


async def test_conversations_are_listed_the_newest_turn_first(site: Site) -> None:
    await site.turn("How do stars burn?", conversation="stars")
    await site.turn("What is rain?", conversation="rain")
    await site.turn("And suns?", conversation="stars")
    busy = await site.ask("Why wind?", conversation="wind")

    found = (await site.call("GET", LIST)).json()

    assert [each["id"] for each in found["conversations"]] == ["wind", "stars", "rain"]
    wind, stars, _ = found["conversations"]
    row = Conversation.get(name="stars")
    assert stars == {
        "id": "stars",
        "title": "How do stars burn?",
        "created_at": time_of(row.created_at),
        "updated_at": time_of(row.updated_at),
        "turns": 2,
        "busy": False,
    }
    assert (wind["busy"], wind["turns"]) == (True, 1)
    assert stars["created_at"] < stars["updated_at"] < wind["updated_at"]
    await busy.begun_and_finished()
    assert not any(each["busy"] for each in (await site.call("GET", LIST)).json()["conversations"])


async def test_pages_follow_each_other_without_a_gap_or_a_double(site: Site) -> None:
    for number in range(7):
        await site.turn("hello", conversation=f"c{number}")
    same = read_now()
    Conversation.update(updated_at=same).where(Conversation.name.in_(["c2", "c3", "c4"])).execute()
    wanted = ["c4", "c3", "c2", "c6", "c5", "c1", "c0"]

    seen: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor:
        page, cursor = await names(site, "?limit=2" + (f"&cursor={cursor}" if cursor else ""))
        seen += page
        pages += 1

    assert seen == wanted
    assert pages == 4
    assert (await names(site, "?limit=7"))[1] is None
    assert (await names(site, "?limit=100"))[0] == wanted


GARBAGE = ["", "x", "%00", "=", "null", "x" * 5000, "é", base64.urlsafe_b64encode(b"[1]").decode().rstrip("=")]
GARBAGE += [base64.urlsafe_b64encode(text).decode().rstrip("=") for text in (b'["a","b"]', b"[1,2]", b"{}", b"[NaN,1]")]


@pytest.mark.parametrize("cursor", GARBAGE)
async def test_a_cursor_that_is_none_is_refused(site: Site, cursor: str) -> None:
    await site.turn("hello")
    for path in (LIST, f"{LIST}/c"):
        response = await site.call("GET", f"{path}?cursor={quote(cursor, safe='%')}")
        assert response.status_code == 400
        assert "cursor" in response.json()["message"]


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "", "1.5", "1e1", "٣", "9" * 30])
async def test_a_limit_that_is_none_is_refused(site: Site, limit: str) -> None:
    await site.turn("hello")
    for path in (LIST, f"{LIST}/c"):
        response = await site.call("GET", f"{path}?limit={quote(limit)}")
        assert response.status_code == 400
        assert str(MAX_LIMIT) in response.json()["message"]


async def test_another_visitors_cursor_shows_nothing_of_theirs(site: Site) -> None:
    for number in range(3):
        await site.turn("hello", conversation=f"c{number}")
    await site.turn("mine", conversation="mine", user="u2")
    _, cursor = await names(site, "?limit=1")

    assert (await names(site, f"?cursor={cursor}", "u2"))[0] == []
    assert set(json.loads(base64.urlsafe_b64decode(f"{cursor}==="))[1:]) == {"c2"}


# One of them


async def test_a_conversation_is_read_with_its_turns_oldest_first(site: Site) -> None:
    first = await site.turn("one", "first")
    second = changed(await site.turn("two", "half", status="cancelled"), **dict(zip(COLUMNS, SENT, strict=True)))
    response = await site.call("POST", "/ai/v1/chat", {"regenerate": second.id})
    third = await site.answer(response)

    found = (await site.call("GET", f"{LIST}/c")).json()

    assert {key: found[key] for key in ("id", "title", "busy", "next")} == {
        "id": "c",
        "title": "one",
        "busy": True,
        "next": None,
    }
    assert [(turn["id"], turn["parent"], turn["message"]) for turn in found["turns"]] == [
        (first.id, None, "one"),
        (second.id, first.id, "two"),
        (third.id, first.id, "two"),
    ]
    told = found["turns"][1]
    polled = (await site.call("GET", f"/ai/v1/chat/{second.id}")).json()
    assert told == polled | {
        "parent": first.id,
        "message": "two",
        "route": "chat",
        "created_at": time_of(second.created_at),
        "feedback": None,
        "history": {"turns": 0, "dropped": 0, "tokens": 1},
    }
    assert (told["status"], told["result"]["text"], told["cached"]) == ("cancelled", "half", False)
    assert (found["turns"][2]["history"], found["turns"][2]["result"]) == (None, None)


COLUMNS = ("history_turns", "history_dropped", "history_tokens")


async def test_the_newest_turns_come_first_and_the_cursor_leads_to_older_ones(site: Site) -> None:
    ids = [(await site.turn(f"{number}")).id for number in range(5)]
    same = read_now()
    Generation.update(created_at=same).where(Generation.id.in_(ids[1:4])).execute()

    pages: list[list[str]] = []
    cursor = ""
    while not pages or cursor:
        page = (await site.call("GET", f"{LIST}/c?limit=2" + (f"&cursor={cursor}" if cursor else ""))).json()
        pages.append([turn["id"] for turn in page["turns"]])
        cursor = page["next"]

    assert [len(page) for page in pages] == [2, 2, 1]
    newest_first = [each for page in pages for each in reversed(page)]
    assert newest_first == [*sorted(ids[1:4], reverse=True), ids[4], ids[0]]


@pytest.mark.parametrize("name", ["a/b", "../../etc", "💬", " ", "%2F", "x" * 200, "?limit=0", "a//b/"])
async def test_any_name_is_found_by_its_percent_encoding(site: Site, name: str) -> None:
    await site.turn("hello", conversation=name)
    path = f"{LIST}/{quote(name, safe='')}"

    assert (await site.call("GET", path)).json()["id"] == name
    assert (await site.call("PATCH", path, {"title": "t"})).json()["title"] == "t"


# Renaming


async def test_a_title_is_changed_and_told_as_the_list_has_it(site: Site) -> None:
    await site.turn("hello")
    before = (await site.call("GET", LIST)).json()["conversations"][0]

    response = await site.call("PATCH", f"{LIST}/c", {"title": "  Greetings 💬 "})

    assert (response.status_code, response.json()) == (200, before | {"title": "Greetings 💬"})
    assert (await site.call("GET", LIST)).json()["conversations"] == [response.json()]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": ""},
        {"title": " \n"},
        {"title": "x" * 201},
        {"title": None},
        {"title": 1},
        {"title": "a", "id": "b"},
        {"name": "a"},
        [],
    ],
)
async def test_a_title_that_is_none_is_refused(site: Site, body: Any) -> None:
    await site.turn("hello")

    response = await site.call("PATCH", f"{LIST}/c", body)

    assert response.status_code == 400
    assert Conversation.get().title == "hello"


# Deleting


async def gone(site: Site, *rows: Generation) -> None:
    """Nothing of the conversation, nor of its answers, is found any more, whoever asks."""
    ids = [row.id for row in rows]
    assert Generation.select().where(Generation.id.in_(ids)).count() == 0
    assert await site.log.tails(ids) == [None] * len(ids)
    for row in rows:
        for method, suffix in (("GET", ""), ("GET", "?wait=1"), ("POST", "/cancel")):
            assert (await site.call(method, f"/ai/v1/chat/{row.id}{suffix}")).status_code == 404
        assert (await site.call("POST", f"/ai/v1/chat/{row.id}/feedback", {"rating": "up"})).status_code == 404
        assert (await site.call("POST", "/ai/v1/chat", {"regenerate": row.id})).status_code == 404


@pytest.mark.parametrize("status", ["done", "incomplete", "cancelled", "error"])
async def test_what_has_ended_is_erased_at_once(site: Site, status: str) -> None:
    first = await site.turn("one", "first")
    second = await site.turn("two", "second", status=status)
    other = await site.turn("other", conversation="other")
    await site.call("POST", f"/ai/v1/chat/{first.id}/feedback", {"rating": "up"})

    response = await site.call("DELETE", f"{LIST}/c")

    assert (response.status_code, response.content) == (204, b"")
    await gone(site, first, second)
    assert (await names(site))[0] == ["other"]
    assert await site.log.tails([other.id]) != [None]
    assert Feedback.select().count() == 0
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"title": "t"})):
        assert (await site.call(method, f"{LIST}/c", body)).status_code == 404


async def test_what_is_queued_is_ended_and_its_viewers_are_told_before_it_is_erased(site: Site) -> None:
    answer = await site.ask("one")
    row = await answer.row()
    viewer = await site.services.hub.join(answer.id, None)

    response = await site.call("DELETE", f"{LIST}/c")

    assert response.status_code == 204
    await eventually(lambda: viewer.channel.ended)
    end = parse(viewer.take()[0])[-1]
    assert (end.kind, end.data["status"]) == ("done", "cancelled")
    site.services.hub.leave(viewer)
    await gone(site, row)


async def test_what_runs_is_stopped_by_its_worker_and_its_viewers_are_told(site: Site) -> None:
    first = await site.turn("one")
    answer = await site.ask("two")
    await answer.begin()
    await answer.say("half")
    viewer = await site.services.hub.join(answer.id, None)

    async with site.log.client.pubsub() as heard:
        await heard.subscribe(CANCEL_CHANNEL)
        assert await heard.get_message(timeout=60)
        deleting = asyncio.create_task(site.call("DELETE", f"{LIST}/c"))
        message: Any = await heard.get_message(timeout=60)
    assert message["data"].decode() == answer.id
    row = await answer.row()
    assert row.cancel_requested_at is not None
    await answer.finish(status=Status.CANCELLED)

    assert (await asyncio.wait_for(deleting, 2.5)).status_code == 204
    end = parse(viewer.take()[0])[-1]
    assert (end.kind, end.data["status"]) == ("done", "cancelled")
    site.services.hub.leave(viewer)
    await gone(site, first, row)


async def test_what_does_not_stop_in_time_is_gone_for_everybody_and_erased_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "STOP_SECONDS", 0.1)
    answer = await site.ask("one", idempotency_key="k")
    await answer.begin()
    await answer.say("half")

    response = await site.call("DELETE", f"{LIST}/c")

    assert (response.status_code, response.json()) == (202, {"id": "c", "status": "deleting"})
    assert (await names(site))[0] == []
    for method, path in (("GET", f"{LIST}/c"), ("DELETE", f"{LIST}/c"), ("GET", f"/ai/v1/chat/{answer.id}")):
        assert (await site.call(method, path)).status_code == 404
    body = {"message": "one", "conversation_id": "c"}
    assert (await site.call("POST", "/ai/v1/chat", body, idempotency_key="k")).status_code == 404
    assert (await site.call("POST", "/ai/v1/chat", body)).status_code == 202

    row = await answer.finish(status=Status.CANCELLED)
    await Maintenance(site.services.settings, site.services.threads, "owner").erase(site.log)
    await gone(site, row)
    assert [each.name for each in Conversation.select()] == ["c"]


async def test_two_deletions_at_once_do_no_harm(site: Site) -> None:
    rows = [await site.turn(f"{number}") for number in range(3)]

    answers = await asyncio.gather(*(site.call("DELETE", f"{LIST}/c") for _ in range(5)))

    assert sorted(each.status_code for each in answers) == [204, 404, 404, 404, 404]
    await gone(site, *rows)


async def test_a_viewer_who_missed_the_end_is_let_go(
    live: Settings, database: Database, api_key: str, log: EventLog
) -> None:
    async with running_site(replace(live, idle_check_seconds=0.1), log, api_key) as site:
        answer = await site.ask("one")
        await answer.begin()
        viewer = await site.services.hub.join(answer.id, None)
        Generation.delete().where(Generation.id == answer.id).execute()
        await site.log.delete(answer.id)

        await eventually(lambda: viewer.closing == ("deleted", False))
        site.services.hub.leave(viewer)


async def test_who_watches_what_waits_in_the_queue_is_not_let_go(
    live: Settings, database: Database, api_key: str, log: EventLog
) -> None:
    async with running_site(replace(live, idle_check_seconds=0.05), log, api_key) as site:
        answer = await site.ask("one")
        viewer = await site.services.hub.join(answer.id, None)
        looked = viewer.channel.touched
        await eventually(lambda: viewer.channel.touched > looked + 0.2)

        assert viewer.closing is None
        site.services.hub.leave(viewer)


# Whose


async def test_two_visitors_and_two_tenants_never_meet(site: Site, secret: Secret, auth: Any) -> None:
    other: Any = other_tenant()
    _, plain = create_key(other.id, "other", ["session"], secret=secret)
    foreign = await auth.server(bearer(plain))
    await site.turn("mine", "for u1", conversation="c")
    before = (await site.call("GET", f"{LIST}/c")).json()

    for headers in (site.headers("u2"), site.headers("u1", foreign)):
        assert (await site.client.get(LIST, headers=headers)).json()["conversations"] == []
        told = set()
        for method, body in (("GET", None), ("PATCH", {"title": "theirs"}), ("DELETE", None)):
            for name in ("c", "nothing", "%00", "x" * 5000, ""):
                given = headers | {"x-request-id": "r"}
                content = {} if body is None else {"json": body}
                response = await site.client.request(method, f"{LIST}/{name}", headers=given, **content)  # type: ignore[arg-type]
                assert response.status_code == 404, (method, name)
                told.add(response.text)
        assert len(told) == 1
        posted = await site.client.post(
            "/ai/v1/chat", json={"message": "theirs", "conversation_id": "c"}, headers=headers
        )
        assert posted.status_code == 202
        theirs = (await site.client.get(f"{LIST}/c", headers=headers)).json()
        assert [turn["message"] for turn in theirs["turns"]] == ["theirs"]
    assert (await site.call("GET", f"{LIST}/c")).json() == before


async def test_without_a_credential_nothing_is_told(site: Site) -> None:
    await site.turn("hello")
    for method, path in (("GET", LIST), ("GET", f"{LIST}/c"), ("PATCH", f"{LIST}/c"), ("DELETE", f"{LIST}/c")):
        assert (await site.client.request(method, path)).status_code == 401
