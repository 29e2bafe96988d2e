"""A conversation's title, and who finds it."""

import pytest

from models.conversation import TITLE_CHARACTERS, Conversation, conversation_of, find_conversation, rename, title_of
from models.database import database, read_now
from tests.models.rows import other_tenant, tenant_id


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("hello", "hello"),
        ("  two\n\n lines\tand\u2028more ", "two lines and more"),
        ("a\x07b\u202ec", "a b c"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
        ("word " * 12, "word " * 11 + "word"),
        ("word " * 13, "word " * 11 + "word…"),
        ("a " + "x" * 100, "a…"),
        ("x" * 59 + " y" * 9, "x" * 59 + "…"),
        ("🙂" * 100, "🙂" * 59 + "…"),
        ("\x01", ""),
    ],
)
def test_a_title_is_the_messages_first_words_in_one_line(message: str, title: str) -> None:
    assert title_of(message) == title
    assert len(title) <= TITLE_CHARACTERS


def test_a_title_of_a_huge_message_is_made_of_its_beginning() -> None:
    assert title_of(" " * 10_000_000 + "x") == "x"
    assert title_of("word " * 2_000_000) == "word " * 11 + "word…"


@pytest.mark.usefixtures("database")
def test_a_conversation_is_its_visitors_alone() -> None:
    with database.atomic():
        mine = conversation_of(tenant_id(), "visitor", "talk", "Hello.")

    assert find_conversation(tenant_id(), "visitor", "talk") == mine
    assert (mine.title, mine.created_at) == ("Hello.", mine.updated_at)
    for tenant, visitor, name in (
        (tenant_id(), "another", "talk"),
        (tenant_id(other_tenant()), "visitor", "talk"),
        (tenant_id(), "visitor", "Talk"),
    ):
        assert find_conversation(tenant, visitor, name) is None
        assert not rename(tenant, visitor, name, "theirs")
    assert Conversation.get().title == "Hello."


@pytest.mark.usefixtures("database")
def test_a_title_can_be_changed_and_leaves_the_rest_as_it_is() -> None:
    with database.atomic():
        before = conversation_of(tenant_id(), "visitor", "talk", "Hello.")

    assert rename(tenant_id(), "visitor", "talk", "Greetings")

    after = Conversation.get()
    assert (after.title, after.name, after.updated_at) == ("Greetings", "talk", before.updated_at)


@pytest.mark.usefixtures("database")
def test_a_deleted_conversation_is_found_by_nobody() -> None:
    with database.atomic():
        conversation_of(tenant_id(), "visitor", "talk", "Hello.")
    Conversation.update(deleted_at=read_now()).execute()

    assert find_conversation(tenant_id(), "visitor", "talk") is None
    assert not rename(tenant_id(), "visitor", "talk", "Greetings")
