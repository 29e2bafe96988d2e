"""What a POST writes: one generation an idempotency key, one open generation a conversation, each visitor on their own."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from models.admission import Admitted, Request, admit
from models.conversation import Conversation, conversation_of
from models.database import database, read_now
from models.dispatch import WAITS
from models.ending import Ending, end_unheld, finish
from models.errors import ConversationBusy, IdempotencyMismatch, NotFound, RateLimited
from models.event import EventId
from models.generation import Generation, Status, find, find_owned
from models.route import Route
from models.settings import Settings
from tests.models.rows import changed, other_tenant, request, running, tenant_id

pytestmark = pytest.mark.usefixtures("database")


def ended(row: Generation, status: Status = Status.DONE, **columns: Any) -> Generation:
    return changed(row, status=status, finished_at=read_now(), **columns)


def rows() -> int:
    return Generation.select().count()


def raced(settings: Settings, requests: list[Request]) -> list[Admitted | Exception]:
    """What becomes of requests that are let go at one moment, each in a thread of its own."""
    together = threading.Barrier(len(requests))

    def one(asked: Request) -> Admitted | Exception:
        together.wait(10)
        try:
            return admit(asked, settings)
        except Exception as error:
            return error
        finally:
            database.close()

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(one, requests))


def test_a_request_becomes_a_queued_generation(settings: Settings) -> None:
    found = admit(request("hello", conversation="talk", key="key"), settings)

    row = found.generation
    assert (found.fresh, found.conversation) == (True, "talk")
    assert (row.status, row.run, row.message, row.parent) == (Status.QUEUED, 0, "hello", None)
    assert (row.visitor, row.idempotency_key, row.body_hash) == ("visitor", "key", "hash")
    assert abs(row.created_at - read_now()) < 5
    assert row.enqueue_at == row.created_at + settings.reenqueue_seconds


def test_what_holds_at_post_is_written_down(settings: Settings) -> None:
    route = Route(
        model="demo:short",
        deadline_seconds=60,
        max_calls=2,
        max_crashes=1,
        on_worker_lost="keep_partial",
        on_provider_broken="restart",
    )

    row = admit(request(route=route), settings).generation

    assert (row.route, row.route_version, row.provider, row.model) == ("chat", route.version, "demo", "short")
    assert (row.max_calls, row.max_crashes, row.on_worker_lost, row.on_provider_broken) == (
        2,
        1,
        "keep_partial",
        "restart",
    )
    assert row.deadline_at == row.created_at + 60
    assert row.retention_seconds == settings.retention_seconds


def test_what_a_route_leaves_out_comes_from_the_settings(settings: Settings) -> None:
    row = admit(request(), settings).generation

    assert (row.max_calls, row.max_crashes) == (settings.max_calls, settings.max_crashes)
    assert row.deadline_at == row.created_at + settings.deadline_seconds


def test_a_conversation_is_made_where_none_is_named(settings: Settings) -> None:
    first, second = admit(request(), settings), admit(request(), settings)

    assert first.conversation != second.conversation
    assert Conversation.select().count() == 2


def test_a_conversation_goes_on_from_its_last_turn_whatever_became_of_that(settings: Settings) -> None:
    parents = []
    for status in (Status.DONE, Status.ERROR, Status.CANCELLED, Status.DONE):
        row = admit(request(conversation="talk"), settings).generation
        parents.append((row.parent, row.id))
        ended(row, status)

    ids = [row_id for _, row_id in parents]
    assert [parent for parent, _ in parents] == [None, *ids[:-1]]


def test_a_turn_moves_its_conversation_to_the_front(settings: Settings) -> None:
    first = admit(request(conversation="talk"), settings).generation
    before = Conversation.get(name="talk").updated_at
    ended(first)

    again = admit(request(conversation="talk"), settings).generation

    assert before == first.created_at
    assert Conversation.get(name="talk").updated_at == again.created_at > before


# The idempotency key


def test_a_key_that_comes_again_gives_the_generation_that_it_made(settings: Settings) -> None:
    first = admit(request(conversation="talk", key="key"), settings)
    again = admit(request(conversation="talk", key="key"), settings)

    assert (first.fresh, again.fresh) == (True, False)
    assert again.generation.id == first.generation.id
    assert again.conversation == "talk"
    assert rows() == 1


def test_a_key_is_remembered_after_the_end(settings: Settings) -> None:
    first = admit(request(key="key"), settings)
    ended(first.generation)

    again = admit(request(key="key"), settings)

    assert (again.generation.id, again.fresh, again.conversation) == (first.generation.id, False, first.conversation)


def test_a_key_with_another_body_is_refused(settings: Settings) -> None:
    admit(request(key="key", body_hash="one"), settings)

    with pytest.raises(IdempotencyMismatch):
        admit(request(key="key", body_hash="two"), settings)
    assert rows() == 1


def test_without_a_key_every_request_is_a_generation(settings: Settings) -> None:
    assert all(admit(request(), settings).fresh for _ in range(3))
    assert rows() == 3


def test_one_key_of_two_tenants_or_visitors_is_two_keys(settings: Settings) -> None:
    found = [
        admit(request(key="key"), settings),
        admit(request(key="key", visitor="another"), settings),
        admit(request(key="key", tenant=other_tenant()), settings),
        admit(request(key="key", tenant=other_tenant("ten_third"), body_hash="other"), settings),
    ]

    assert [each.fresh for each in found] == [True] * 4
    assert rows() == 4


def test_of_many_at_once_with_one_key_one_makes_the_generation(settings: Settings) -> None:
    asked = request(key="key")

    found = raced(settings, [asked] * 20)

    admitted = [each for each in found if isinstance(each, Admitted)]
    assert len(admitted) == 20
    assert sum(each.fresh for each in admitted) == 1
    assert len({each.generation.id for each in admitted}) == 1
    assert (rows(), Conversation.select().count()) == (1, 1)


# The conversation


def test_a_conversation_has_one_open_generation(settings: Settings) -> None:
    first = admit(request(conversation="talk"), settings)

    with pytest.raises(ConversationBusy) as caught:
        admit(request(conversation="talk"), settings)

    assert caught.value.extra == {"generation_id": first.generation.id}
    assert rows() == 1


def test_a_conversation_is_busy_while_its_generation_runs_and_then_free(settings: Settings) -> None:
    row = admit(request(conversation="talk"), settings).generation
    changed(row, status=Status.RUNNING)
    with pytest.raises(ConversationBusy):
        admit(request(conversation="talk"), settings)

    ended(row, Status.ERROR)
    assert admit(request(conversation="talk"), settings).fresh


def test_a_busy_conversation_writes_nothing(settings: Settings) -> None:
    row = admit(request(conversation="talk"), settings).generation
    before = Conversation.get(name="talk").updated_at

    with pytest.raises(ConversationBusy):
        admit(request(conversation="talk", key="key"), settings)

    assert Conversation.get(name="talk").updated_at == before
    ended(row)
    assert admit(request(conversation="talk", key="key"), settings).fresh


def test_the_repetition_of_a_request_is_no_second_request_to_a_busy_conversation(settings: Settings) -> None:
    first = admit(request(conversation="talk", key="key"), settings)

    assert admit(request(conversation="talk", key="key"), settings).generation.id == first.generation.id


def test_one_name_of_two_tenants_or_visitors_is_two_conversations(settings: Settings) -> None:
    tenants = [None, other_tenant()]
    asked = [request(conversation="talk", tenant=each, visitor=name) for each in tenants for name in ("a", "b")]

    found = [admit(each, settings) for each in asked]

    assert all(each.fresh for each in found)
    assert Conversation.select().count() == 4
    assert [each.generation.parent for each in found] == [None] * 4


def test_of_many_at_once_in_one_conversation_one_is_admitted(settings: Settings) -> None:
    found = raced(settings, [request(f"message {number}", conversation="talk") for number in range(12)])

    admitted = [each for each in found if isinstance(each, Admitted)]
    busy = [each for each in found if isinstance(each, ConversationBusy)]
    assert (len(admitted), len(busy)) == (1, 11)
    assert {each.extra["generation_id"] for each in busy} == {admitted[0].generation.id}
    assert rows() == 1


def test_of_many_at_once_no_more_are_admitted_than_may_be(settings: Settings) -> None:
    few = dataclasses.replace(settings, max_open_per_visitor=3, max_in_broker_per_tenant=2)

    found = raced(few, [request(conversation=f"talk {number}") for number in range(12)])

    admitted = [each.generation for each in found if isinstance(each, Admitted)]
    assert len(admitted) == 3
    assert all(isinstance(each, Admitted | RateLimited) for each in found)
    assert sum(each.enqueue_at < WAITS for each in admitted) == 2


def test_many_conversations_at_once_are_all_admitted(settings: Settings) -> None:
    settings = dataclasses.replace(settings, max_open_per_visitor=12)

    found = raced(settings, [request(conversation=f"talk {number}") for number in range(12)])

    assert all(isinstance(each, Admitted) and each.fresh for each in found)
    assert rows() == 12


def test_a_conversation_is_free_whoever_ended_its_generation(settings: Settings) -> None:
    row = running(settings)
    name = Conversation.get().name
    ending = Ending(status=Status.DONE, finish_reason="stop")
    finish(row.id, row.run, ending, terminal=EventId(1, 1), text="a", reasoning="", tool_calls=None)
    again = admit(request(conversation=name), settings).generation
    end_unheld(again, Ending(status=Status.CANCELLED), text="", reasoning="", tool_calls=None)

    assert admit(request(conversation=name), settings).generation.parent == again.id


def test_a_conversation_is_found_again_by_its_name() -> None:
    with database.atomic():
        first = conversation_of(tenant_id(), "visitor", "talk", "Hello.")
        again = conversation_of(tenant_id(), "visitor", "talk", "Another.")

    assert first == again


# Finding


def test_a_generation_is_found_by_its_owner_alone(settings: Settings) -> None:
    row = admit(request(), settings).generation

    assert find(row.id) == row
    assert find_owned(row.id, tenant_id(), "visitor") == row
    assert find_owned(row.id, tenant_id(), "another") is None
    assert find_owned(row.id, tenant_id(other_tenant()), "visitor") is None
    assert find_owned("none", tenant_id(), "visitor") is None
    assert find("none") is None


# Which turn a new one follows


def test_a_turn_follows_the_one_that_it_names(settings: Settings) -> None:
    first = ended(admit(request(conversation="talk"), settings).generation)
    ended(admit(request(conversation="talk"), settings).generation)

    found = admit(request(conversation="talk", parent=first.id), settings)

    assert (found.generation.parent, found.conversation) == (first.id, "talk")


def test_siblings_share_their_parent_and_their_conversation(settings: Settings) -> None:
    first = ended(admit(request(conversation="talk"), settings).generation)
    second = ended(admit(request(conversation="talk"), settings).generation)
    ended(admit(request(conversation="talk"), settings).generation)

    again = ended(admit(request(sibling_of=second.id, bypass_cache=True), settings).generation)
    root = admit(request(sibling_of=first.id), settings).generation

    assert (again.parent, again.conversation, again.bypass_cache) == (first.id, second.conversation, True)
    assert (root.parent, root.conversation, root.bypass_cache) == (None, second.conversation, False)


def test_a_new_turn_follows_the_newest_one_of_any_branch(settings: Settings) -> None:
    first = ended(admit(request(conversation="talk"), settings).generation)
    ended(admit(request(conversation="talk"), settings).generation)
    again = ended(admit(request(sibling_of=first.id), settings).generation)

    assert admit(request(conversation="talk"), settings).generation.parent == again.id


@pytest.mark.parametrize("whose", ["another visitor's", "another tenant's", "another conversation's", "nobody's"])
def test_a_turn_that_is_not_to_be_named_is_not_found_and_nothing_is_stored(settings: Settings, whose: str) -> None:
    theirs: dict[str, dict[str, Any]] = {
        "another visitor's": {"visitor": "another", "conversation": "talk"},
        "another tenant's": {"tenant": other_tenant(), "conversation": "talk"},
        "another conversation's": {"conversation": "another"},
    }
    named = ended(admit(request(**theirs[whose]), settings).generation).id if whose in theirs else "nobody's"
    before = (rows(), Conversation.select().count())

    with pytest.raises(NotFound):
        admit(request(conversation="talk", parent=named), settings)
    if whose != "another conversation's":
        with pytest.raises(NotFound):
            admit(request(sibling_of=named), settings)

    assert (rows(), Conversation.select().count()) == before


def test_a_sibling_waits_for_the_conversations_open_answer(settings: Settings) -> None:
    first = ended(admit(request(conversation="talk"), settings).generation)
    busy = admit(request(conversation="talk"), settings).generation

    for named in (first, busy):
        with pytest.raises(ConversationBusy) as found:
            admit(request(sibling_of=named.id), settings)
        assert found.value.extra == {"generation_id": busy.id}


def test_what_is_deleted_is_neither_found_nor_gone_on_with(settings: Settings) -> None:
    row = ended(admit(request(conversation="talk", key="key"), settings).generation)
    Conversation.update(deleted_at=read_now(), name="gone").execute()

    assert find_owned(row.id, tenant_id(), "visitor") is None
    for asked in (request(sibling_of=row.id), request(conversation="talk", parent=row.id)):
        with pytest.raises(NotFound):
            admit(asked, settings)
    with pytest.raises(NotFound):
        admit(request(conversation="talk", key="key"), settings)
    assert admit(request(conversation="talk"), settings).generation.parent is None


def test_a_server_asks_without_a_visitor_or_a_conversation(settings: Settings) -> None:
    asked = request("", visitor="", direct="{}", model="demo:echo", on_provider_broken="restart")
    row = admit(asked, settings).generation

    assert (row.conversation, row.visitor, row.request, row.message) == (None, "", "{}", "")
    assert (row.provider, row.model, row.on_provider_broken) == ("demo", "echo", "restart")
    assert Conversation.select().count() == 0


def test_what_a_route_says_of_a_broken_provider_goes_before_the_default(settings: Settings) -> None:
    route = Route(model="demo:echo", on_provider_broken="keep_partial")
    asked = request("", visitor="", direct="{}", route=route, on_provider_broken="restart")

    assert admit(asked, settings).generation.on_provider_broken == "keep_partial"


def test_a_server_gets_the_same_generation_for_the_same_key(settings: Settings) -> None:
    first = admit(request("", visitor="", direct="{}", key="k"), settings)
    second = admit(request("", visitor="", direct="{}", key="k"), settings)

    assert (second.generation.id, second.fresh) == (first.generation.id, False)
    with pytest.raises(IdempotencyMismatch):
        admit(request("", visitor="", direct="{}", key="k", body_hash="other"), settings)


def test_a_server_has_its_tenants_limit_alone(settings: Settings) -> None:
    few = dataclasses.replace(settings, max_open_per_visitor=1, max_open_per_tenant=2)
    for _ in range(2):
        admit(request("", visitor="", direct="{}"), few)

    with pytest.raises(RateLimited) as caught:
        admit(request("", visitor="", direct="{}"), few)
    assert caught.value.extra["limit"] == "tenant_generations"
