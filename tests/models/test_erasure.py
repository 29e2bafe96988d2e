"""Marking and erasing conversations: by their owner alone, in batches, never what is under way, and not the ledger."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from models import erasure
from models.admission import admit
from models.conversation import Conversation
from models.database import database, read_now, truncate_wal
from models.ending import mark_published
from models.erasure import (
    DAY_SECONDS,
    ERASE_ROWS,
    Marked,
    erase_conversation,
    erase_generations,
    find_aged,
    find_deleted,
    find_erasable,
    find_unsaid,
    mark_aged,
    mark_deleted,
)
from models.feedback import Feedback, Rating, rate
from models.generation import Generation, Status
from models.ownership import claim, give_back, still_holds
from models.provider_call import ProviderCall, begin_call
from models.settings import Settings
from tests.models.rows import SENT, changed, other_tenant, request, reread, tenant_id

pytestmark = pytest.mark.usefixtures("database")


def turn(settings: Settings, *, conversation: str = "talk", said: bool = True, **more: Any) -> Generation:
    """A turn that has ended, and whose viewers know."""
    row = admit(request(conversation=conversation, **more), settings).generation
    return changed(row, status=Status.DONE, finished_at=read_now(), terminal_id="1-1", terminal_published=said)


def opened(settings: Settings, **more: Any) -> Generation:
    """A turn that a worker has begun."""
    row = claim(admit(request(conversation="talk", **more), settings).generation.id, "worker", 9.0, judge_leases=True)
    assert row is not None
    return row


def delete(**more: Any) -> Marked | None:
    owner: dict[str, Any] = {"tenant": tenant_id(), "visitor": "visitor", "name": "talk"} | more
    return mark_deleted(owner["tenant"], owner["visitor"], owner["name"])


def test_only_the_owner_marks_a_conversation(settings: Settings) -> None:
    turn(settings)

    assert delete(visitor="another") is None
    assert delete(tenant=tenant_id(other_tenant())) is None
    assert delete(name="Talk") is None
    assert find_deleted(10) == []

    marked = delete()
    assert marked is not None
    assert marked.running is None
    assert find_deleted(10) == [marked.conversation_id]
    assert delete() is None


def test_the_name_is_free_at_once(settings: Settings) -> None:
    old = turn(settings)
    delete()

    fresh = turn(settings)

    assert (fresh.conversation, fresh.parent) != (old.conversation, old.id)
    assert Conversation.select().count() == 2
    delete()
    assert len(find_deleted(10)) == 2


def test_who_asks_while_it_is_deleted_asks_in_another_one_or_is_stopped(settings: Settings) -> None:
    together = threading.Barrier(2)

    def ask_again(_: int) -> None:
        together.wait(60)
        admit(request(conversation="talk"), settings)
        database.close()

    for number in range(8):
        turn(settings)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask_again, number)
            together.wait(60)
            delete()
            asked.result(60)
        delete()
    hidden = Conversation.select(Conversation.id).where(Conversation.deleted_at.is_null(False))
    in_them = Generation.select().where(Generation.conversation.in_(hidden))
    assert {row.status for row in in_them} == {Status.DONE, Status.CANCELLED}


def test_what_nobody_has_begun_is_ended_with_the_mark(settings: Settings) -> None:
    row = admit(request(conversation="talk"), settings).generation

    marked = delete()

    assert marked is not None
    assert marked.running is None
    row = reread(row)
    assert (row.status, row.terminal_id, row.terminal_published) == (Status.CANCELLED, "1-1", False)
    assert [each.id for each in find_unsaid(marked.conversation_id)] == [row.id]


@pytest.mark.parametrize("given_back", [False, True])
def test_what_runs_is_asked_to_stop_and_stays_until_it_has_ended(settings: Settings, given_back: bool) -> None:
    turn(settings)
    row = opened(settings)
    if given_back:
        give_back(row.id, row.run)

    marked = delete()

    assert marked is not None
    assert marked.running == row.id
    assert reread(row).cancel_requested_at is not None
    assert find_deleted(10) == []
    erase_generations([row.id])
    assert not erase_conversation(marked.conversation_id)
    assert reread(row).ended is False


def test_an_answer_goes_only_when_its_viewers_have_heard_of_its_end(settings: Settings) -> None:
    row = turn(settings, said=False)
    marked = delete()
    assert marked is not None

    assert find_erasable(marked.conversation_id) == []
    mark_published(row.id)
    assert find_erasable(marked.conversation_id) == [row.id]
    changed(row, terminal_published=False, finished_at=read_now() - row.retention_seconds)
    assert find_unsaid(marked.conversation_id) == []
    assert find_erasable(marked.conversation_id) == [row.id]


def test_rows_go_with_their_feedback_and_the_ledger_stays(settings: Settings) -> None:
    row = opened(settings)
    begin_call(row.id, 1, "openai", "gpt-4o", SENT)
    row = changed(row, status=Status.DONE, terminal_id="1-1", terminal_published=True)
    rate(row.id, Rating.UP, "good")
    other = turn(settings, conversation="other")
    rate(other.id, Rating.DOWN, "")
    marked = delete()
    assert marked is not None

    erase_generations(find_erasable(marked.conversation_id))
    assert erase_conversation(marked.conversation_id)
    assert erase_conversation(marked.conversation_id)

    assert [each.id for each in Generation.select()] == [other.id]
    assert [each.name for each in Conversation.select()] == ["other"]
    assert [each.__data__["generation"] for each in Feedback.select()] == [other.id]
    assert [(line.generation_id, line.number) for line in ProviderCall.select()] == [(row.id, 1)]
    assert not still_holds(row.id, 1)


def test_a_conversation_that_is_not_marked_is_never_erased(settings: Settings) -> None:
    row = turn(settings)
    found = Conversation.get()
    Generation.delete().where(Generation.id == row.id).execute()

    erase_conversation(found.id)

    assert Conversation.select().count() == 1


# By age


def test_conversations_are_marked_by_the_age_of_their_last_turn(settings: Settings) -> None:
    turn(settings, conversation="old")
    turn(settings, conversation="new")
    Conversation.update(updated_at=read_now() - 2 * DAY_SECONDS - 1).where(Conversation.name == "old").execute()

    assert mark_aged(3) == 0
    assert mark_aged(2) == 1
    assert mark_aged(2) == 0
    assert [each.name for each in Conversation.select().where(Conversation.deleted_at.is_null())] == ["new"]


def test_no_more_are_marked_at_once_than_one_statement_takes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "ERASE_ROWS", 2)
    for number in range(5):
        turn(settings, conversation=f"c{number}")
    Conversation.update(updated_at=0).execute()

    assert [mark_aged(1) for _ in range(4)] == [2, 2, 1, 0]


def test_answers_without_a_conversation_are_found_by_their_own_age(settings: Settings) -> None:
    old, new, under_way, talk = (turn(settings, conversation=name) for name in "abcd")
    for row in (old, new, under_way):
        changed(row, conversation=None, created_at=read_now() - (10 if row is new else DAY_SECONDS + 1))
    changed(under_way, status=Status.QUEUED)
    changed(talk, created_at=0)

    assert find_aged(1) == [old.id]


def test_a_batch_is_bounded(settings: Settings) -> None:
    first = turn(settings)
    rows = [{**first.__data__, "id": f"turn {number:04}"} for number in range(ERASE_ROWS + 5)]
    Generation.insert_many(rows).execute()
    marked = delete()
    assert marked is not None

    assert len(find_erasable(marked.conversation_id)) == ERASE_ROWS


# The file


def test_nothing_of_what_was_erased_is_left_in_the_files(settings: Settings) -> None:
    marks = [f"canary{number}·" for number in range(3)]
    for mark in marks:
        row = turn(settings, conversation="talk", message=mark * 10)
        changed(row, text=mark * 4000)
        rate(row.id, Rating.DOWN, mark * 100)
    marked = delete()
    assert marked is not None

    erase_generations(find_erasable(marked.conversation_id))
    erase_conversation(marked.conversation_id)
    assert truncate_wal()

    for path in settings.data_path.glob("streamer.db*"):
        found = path.read_bytes()
        assert not any(mark.encode() in found for mark in marks), path
