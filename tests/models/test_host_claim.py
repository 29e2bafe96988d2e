"""A SQLite file is one machine's: another that starts on it meanwhile is told; a Postgres is everybody's."""

import socket
from typing import Any

import pytest

from models import host_claim
from models.clock import boot_id
from models.database import read_now
from models.errors import SettingInvalid
from models.host_claim import FORGET_SECONDS, FRESH_SECONDS, HostClaim, check_host, claim_host
from tests.models.rows import pass_seconds

pytestmark = pytest.mark.usefixtures("database")


def other_machine(seconds_ago: float = 0.0, host: str = "elsewhere") -> None:
    HostClaim.create(boot_id="another boot", host=host, seen_at=read_now() - seconds_ago)


def claims() -> dict[str, str]:
    return {each.boot_id: each.host for each in HostClaim.select()}


@pytest.mark.one_store
def test_a_file_that_another_machine_uses_is_refused() -> None:
    other_machine(seconds_ago=FRESH_SECONDS / 2)

    with pytest.raises(SettingInvalid, match=r"the machine elsewhere uses this SQLite database: .* DATABASE_URL"):
        check_host()
    assert claims() == {"another boot": "elsewhere"}


@pytest.mark.one_store
@pytest.mark.parametrize("apart", [FRESH_SECONDS + 1, -FRESH_SECONDS - 1])
def test_a_machine_that_says_nothing_more_is_no_hindrance(apart: float) -> None:
    other_machine(seconds_ago=apart)

    check_host()

    assert claims() == {"another boot": "elsewhere", boot_id(): socket.gethostname()}


@pytest.mark.one_store
def test_a_machine_that_has_booted_again_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    check_host()
    monkeypatch.setattr(host_claim, "boot_id", lambda: "the next boot")

    check_host()

    assert len(claims()) == 2


@pytest.mark.one_store
def test_a_claim_is_renewed_and_old_ones_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    other_machine(seconds_ago=FORGET_SECONDS + 1)
    check_host()
    assert list(claims()) == [boot_id()]
    pass_seconds(monkeypatch, 100)

    claim_host()

    assert read_now() - HostClaim.get().seen_at < 50


def test_nobody_claims_a_postgres(store: str, database: Any) -> None:
    check_host()
    claim_host()

    assert bool(claims()) == (store == "sqlite")
