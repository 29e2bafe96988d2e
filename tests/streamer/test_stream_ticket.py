"""Stream tickets: one generation, for as long as its log can be there."""

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from peewee import Database

from models.database import read_now
from models.errors import Unauthorized
from models.generation import Generation
from models.secret import Secret
from streamer.stream_ticket import TicketOffice

KEY = "key_0123456789abcdef"


@pytest.fixture
def office(secret: Secret, database: Database) -> TicketOffice:
    return TicketOffice(secret)


def generation(**changes: Any) -> Generation:
    """The columns that a ticket is made from."""
    columns = {"id": "g1", "visitor": "Zoë", "deadline_at": read_now() + 600, "retention_seconds": 300.0} | changes
    return cast("Generation", SimpleNamespace(**columns))


def test_a_ticket_names_its_generation_its_visitor_and_their_key(office: TicketOffice) -> None:
    found = office.read(office.mint(generation(), KEY), "g1")

    assert (found.generation_id, found.user, found.key_id) == ("g1", "Zoë", KEY)


def test_a_ticket_lives_as_long_as_the_log_at_the_latest(office: TicketOffice) -> None:
    found = office.read(office.mint(generation(), KEY), "g1")

    assert abs(found.expires_at - time.time() - 900) < 5


def test_a_ticket_of_a_generation_long_past_lives_for_one_retention(office: TicketOffice) -> None:
    found = office.read(office.mint(generation(deadline_at=read_now() - 86400), KEY), "g1")

    assert abs(found.expires_at - time.time() - 300) < 5


def test_a_database_clock_that_is_not_the_wall_clock_does_not_matter(
    office: TicketOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.stream_ticket.read_now", lambda: 5000.0)
    found = office.read(office.mint(generation(deadline_at=5600.0), KEY), "g1")

    assert abs(found.expires_at - time.time() - 900) < 5


def test_a_ticket_for_another_generation_is_refused(office: TicketOffice) -> None:
    with pytest.raises(Unauthorized) as caught:
        office.read(office.mint(generation(), KEY), "g2")

    assert str(caught.value) == str(Unauthorized())


def test_an_expired_ticket_is_refused(office: TicketOffice) -> None:
    past = generation(deadline_at=read_now() - 10, retention_seconds=-5.0)

    with pytest.raises(Unauthorized):
        office.read(office.mint(past, KEY), "g1")


def test_a_ticket_of_another_installation_is_refused(office: TicketOffice) -> None:
    foreign = TicketOffice(Secret("t" * 40)).mint(generation(), KEY)

    with pytest.raises(Unauthorized):
        office.read(foreign, "g1")


def test_a_ticket_can_stand_in_an_address_as_it_is(office: TicketOffice) -> None:
    ticket = office.mint(generation(visitor="🙂" * 128), KEY)

    assert ticket.replace("-", "").replace("_", "").replace(".", "").isalnum()
    assert ticket.isascii()
    assert len(ticket) < 1000


def test_a_ticket_holds_no_number_of_the_tenant(office: TicketOffice) -> None:
    assert set(office.read(office.mint(generation(), KEY), "g1").__struct_encode_fields__) == {"g", "u", "k", "e"}
