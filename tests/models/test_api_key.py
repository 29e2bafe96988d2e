"""API keys: only a hash is stored, and nothing but the live key itself is taken for it."""

import hmac
from pathlib import Path
from typing import Any

import pytest
from peewee import Database

from models import api_key
from models.api_key import create_key, find_key, is_public_id, list_keys, public_id_of, revoke_key, verify_key
from models.database import read_now
from models.errors import BadRequest
from models.secret import Secret
from models.settings import Settings
from models.tenant import Tenant, first_tenant

SECRET = Secret("s" * 40)

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def tenant(database: Database) -> Tenant:
    return first_tenant()


def id_of(tenant: Any) -> int:
    return int(tenant.id)


def other_tenant() -> Tenant:
    found: Tenant = Tenant.create(public_id="ten_0000000000000000", name="other", created_at=read_now())
    return found


def made(tenant: Tenant, expires_at: float | None = None) -> str:
    return create_key(id_of(tenant), "site", ["session"], expires_at, secret=SECRET)[1]


def test_a_key_tells_its_public_id_and_nothing_else(tenant: Tenant) -> None:
    row, plain = create_key(id_of(tenant), "site", ["session", "chat", "chat"], secret=SECRET)

    prefix, digits, rest = plain.split("-", 2)
    assert (prefix, f"key_{digits}", len(rest)) == ("sk", row.public_id, 43)
    assert is_public_id(row.public_id)
    assert public_id_of(plain) == row.public_id
    assert row.scopes == "chat session"


def test_a_genuine_key_is_found_with_its_tenant_and_scopes(tenant: Tenant) -> None:
    found = verify_key(made(tenant), SECRET)

    assert found is not None
    assert (found.tenant_id, found.tenant.public_id, found.scope_set) == (
        id_of(tenant),
        tenant.public_id,
        frozenset({"session"}),
    )


@pytest.mark.one_store
def test_neither_the_key_nor_a_plain_digest_of_it_is_stored(tenant: Tenant, settings: Settings) -> None:
    plain = made(tenant)

    stored = b"".join(path.read_bytes() for path in Path(settings.data).iterdir())
    assert plain.encode() not in stored
    assert plain.split("-", 2)[2].encode() not in stored
    assert api_key._hash(plain, SECRET) != api_key._hash(plain, Secret("t" * 40))
    assert api_key._hash(plain, SECRET).encode() in stored


def test_a_key_is_worth_nothing_under_another_secret(tenant: Tenant) -> None:
    assert verify_key(made(tenant), Secret("t" * 40)) is None


def test_a_key_whose_end_was_changed_is_refused(tenant: Tenant) -> None:
    plain = made(tenant)

    assert verify_key(plain[:-1] + ("A" if plain[-1] != "A" else "B"), SECRET) is None


def test_the_public_id_of_one_key_does_not_carry_the_end_of_another(tenant: Tenant) -> None:
    one, other = made(tenant), made(tenant)

    assert verify_key(one[:20] + other[20:], SECRET) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sk-",
        "key_0123456789abcdef",
        "sk-0123456789abcdef-" + "x" * 42,
        "sk-0123456789abcdef-" + "x" * 44,
        "sk-0123456789ABCDEF-" + "x" * 43,
        "sk-0123456789abcdef-" + "x" * 42 + "\n",
        "sk-0123456789abcdef-" + "x" * 43 + "\n",
        "sk-٠123456789abcdef-" + "x" * 43,
        "sk-0123456789abcdef-" + "é" * 43,
        "sk-0123456789abcdef-" + "x" * 42 + "\0",
        "sk-%' OR 1=1 --",
        "\udc80" * 63,
        "sk-0123456789abcdef-" + "x" * 1_000_000,
    ],
)
def test_what_does_not_have_the_shape_of_a_key_is_refused_without_a_statement(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_key, "find_key", lambda public_id: pytest.fail("looked up"))

    assert verify_key(text, SECRET) is None


def test_an_unknown_key_is_compared_like_a_known_one(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    real = hmac.compare_digest
    monkeypatch.setattr("models.api_key.hmac.compare_digest", compare)

    assert verify_key("sk-0123456789abcdef-" + "x" * 43, SECRET) is None
    assert verify_key(made(tenant), SECRET) is not None
    assert compared == [(64, 64), (64, 64)]


def test_a_key_is_good_until_it_expires(tenant: Tenant) -> None:
    assert verify_key(made(tenant, read_now() + 60), SECRET) is not None
    assert verify_key(made(tenant, read_now() - 0.001), SECRET) is None


def test_a_revoked_key_is_refused_at_once_and_for_good(tenant: Tenant) -> None:
    plain = made(tenant)
    public_id = str(public_id_of(plain))

    assert revoke_key(public_id)
    row = find_key(public_id)
    assert row is not None
    first = row.revoked_at
    assert first is not None
    assert abs(first - read_now()) < 60
    assert not row.live
    assert verify_key(plain, SECRET) is None

    assert not revoke_key(public_id)
    row = find_key(public_id)
    assert row is not None
    assert row.revoked_at == first


def test_an_unknown_key_can_not_be_revoked_and_no_other_is(tenant: Tenant) -> None:
    plain = made(tenant)

    assert not revoke_key("key_0000000000000000")
    assert verify_key(plain, SECRET) is not None


def test_revoking_one_key_leaves_the_others(tenant: Tenant) -> None:
    one, other = made(tenant), made(tenant)

    revoke_key(str(public_id_of(one)))

    assert verify_key(other, SECRET) is not None


def test_keys_are_listed_oldest_first_and_by_tenant(tenant: Tenant) -> None:
    stranger = other_tenant()
    keys = [made(tenant), made(stranger), made(tenant)]
    revoke_key(str(public_id_of(keys[0])))
    ids = [public_id_of(key) for key in keys]

    assert [row.public_id for row in list_keys()] == ids
    assert [row.public_id for row in list_keys(id_of(tenant))] == [ids[0], ids[2]]
    assert [row.tenant.name for row in list_keys(id_of(stranger))] == ["other"]


def test_a_missing_key_is_not_found(tenant: Tenant) -> None:
    assert find_key("key_0000000000000000") is None


@pytest.mark.parametrize("scope", ["", "two words", "Session", "a" * 33, "x\n", "é"])
def test_a_scope_that_is_no_word_is_refused_and_no_key_is_made(tenant: Tenant, scope: str) -> None:
    with pytest.raises(BadRequest):
        create_key(id_of(tenant), "site", ["session", scope], secret=SECRET)

    assert list_keys() == []


@pytest.mark.parametrize(
    "text",
    ["", "key_", "key_0123456789ABCDEF", "key_0123456789abcdef\n", "sk-0123456789abcdef", "ten_0123456789abcdef"],
)
def test_what_is_no_public_id_is_not_taken_for_one(text: str) -> None:
    assert not is_public_id(text)
