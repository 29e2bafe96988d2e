"""The authenticator: whose key, token, ticket or grant it is, and that all of them end with the API key."""

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from models.api_key import create_key, public_id_of, revoke_key
from models.database import read_now
from models.database_threads import DatabaseThreads
from models.errors import Forbidden, Unauthorized, Unavailable
from models.generation import Generation
from models.secret import Secret
from models.settings import Settings
from models.tenant import Tenant
from streamer.auth import Authenticator, Server
from streamer.visitor_token import TokenOffice
from tests.streamer.conftest import bearer

SAME_WORDS = str(Unauthorized())


def generation(id: str = "g1", visitor: str = "u1") -> Generation:
    columns = {"id": id, "visitor": visitor, "deadline_at": read_now() + 600, "retention_seconds": 300.0}
    return cast("Generation", SimpleNamespace(**columns))


@pytest.fixture
async def server(auth: Authenticator, api_key: str) -> Server:
    return await auth.server(bearer(api_key))


@pytest.fixture
def later(auth: Authenticator, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets the time pass for which keys are remembered."""
    passed = 0.0

    def pass_time() -> None:
        nonlocal passed
        passed += 5.0

    monkeypatch.setattr(auth._keys, "_clock", lambda: time.monotonic() + passed)
    monkeypatch.setattr("streamer.live_keys.read_now", lambda: read_now() + passed)
    return pass_time


async def refused(auth: Authenticator, name: str, headers: dict[str, str]) -> str:
    more = (None, "g1") if name == "viewer" else ()
    with pytest.raises(Unauthorized) as caught:
        await getattr(auth, name)(headers, *more)
    return str(caught.value)


async def test_an_api_key_makes_a_server(auth: Authenticator, api_key: str, tenant: Any) -> None:
    server = await auth.server(bearer(api_key))

    assert server == Server(tenant.id, str(public_id_of(api_key)), frozenset({"session"}), tenant.public_id)


async def test_a_scope_that_the_key_lacks_is_forbidden(server: Server) -> None:
    server.require("session")
    with pytest.raises(Forbidden, match="`admin`"):
        server.require("admin")


async def test_a_token_makes_the_visitor_that_it_was_minted_for(
    auth: Authenticator, server: Server, tenant: Any
) -> None:
    token, expires_in = auth.mint_token(server, "u1", ("read",), 900)
    visitor = await auth.visitor(bearer(token))

    assert expires_in == 900
    assert (visitor.tenant_id, visitor.tenant, visitor.user, visitor.roles) == (
        tenant.id,
        tenant.public_id,
        "u1",
        ("read",),
    )
    assert visitor.key_id == server.key_id
    assert abs(visitor.expires_at - time.time() - 900) < 5


async def test_a_viewer_comes_with_a_token_or_a_ticket(auth: Authenticator, server: Server) -> None:
    token, _ = auth.mint_token(server, "u1", (), 900)
    by_token = await auth.viewer(bearer(token), None, "g1")
    by_ticket = await auth.viewer({}, auth.mint_ticket(generation(), server.key_id), "g1")

    assert replace(by_token, expires_at=0) == replace(by_ticket, expires_at=0)
    assert abs(by_token.expires_at - time.time() - 900) < 5


async def test_a_token_wins_over_a_ticket(auth: Authenticator, server: Server) -> None:
    ticket = auth.mint_ticket(generation(visitor="u1"), server.key_id)
    token, _ = auth.mint_token(server, "u2", (), 900)

    assert (await auth.viewer(bearer(token), ticket, "g1")).user == "u2"
    with pytest.raises(Unauthorized):
        await auth.viewer(bearer("garbage"), ticket, "g1")
    with pytest.raises(Unauthorized):
        await auth.viewer({"authorization": "Bearer"}, ticket, "g1")


@pytest.mark.parametrize("header", ["Basic dTpw", "", "Digest x", "Negotiate"])
async def test_a_header_of_another_scheme_does_not_stand_in_a_tickets_way(
    auth: Authenticator, server: Server, header: str
) -> None:
    ticket = auth.mint_ticket(generation(), server.key_id)

    assert (await auth.viewer({"authorization": header}, ticket, "g1")).user == "u1"


async def test_a_ticket_reads_no_other_generation(auth: Authenticator, server: Server) -> None:
    ticket = auth.mint_ticket(generation("g1"), server.key_id)

    with pytest.raises(Unauthorized) as caught:
        await auth.viewer({}, ticket, "g2")
    assert str(caught.value) == SAME_WORDS


@pytest.mark.parametrize("ticket", [None, "", "x", "é", "\udc80", "a.b", "a" * 1_000_000])
async def test_a_bad_ticket_is_refused_in_the_same_words(auth: Authenticator, ticket: str | None) -> None:
    with pytest.raises(Unauthorized) as caught:
        await auth.viewer({}, ticket, "g1")
    assert str(caught.value) == SAME_WORDS


@pytest.mark.parametrize("name", ["server", "visitor", "viewer"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer  "},
        {"authorization": "Basic dTpw"},
        {"authorization": "Bearer x y"},
        {"authorization": "Bearer a, Bearer b"},
        {"authorization": "Bearerx"},
        {"authorization": "Bearer \xff\xfe"},
        {"authorization": "Bearer é"},
        {"authorization": "Bearer \udc80"},
        {"authorization": "Bearer a\0b"},
        {"authorization": "Bearer " + "a" * 1_000_000},
        {"authorization": "Bearer " + "." * 8000},
        {"authorization": "Bearer sk-0123456789abcdef-" + "x" * 43},
        {"authorization": "sk-0123456789abcdef-" + "x" * 43},
    ],
)
async def test_every_malformed_header_is_refused_in_the_same_words(
    auth: Authenticator, name: str, headers: dict[str, str]
) -> None:
    assert await refused(auth, name, headers) == SAME_WORDS


async def test_a_scheme_is_read_in_any_case(auth: Authenticator, api_key: str) -> None:
    assert await auth.server({"authorization": f"bEARER   {api_key} "}) == await auth.server(bearer(api_key))


async def test_no_credential_is_taken_for_one_of_another_kind(
    auth: Authenticator, server: Server, api_key: str
) -> None:
    token, _ = auth.mint_token(server, "u1", (), 900)
    ticket = auth.mint_ticket(generation(), server.key_id)
    grant = auth.mint_grant()

    for name, wrong in [("server", [token, ticket, grant]), ("visitor", [api_key, ticket, grant])]:
        for each in wrong:
            assert await refused(auth, name, bearer(each)) == SAME_WORDS
    for each in (api_key, token, grant):
        with pytest.raises(Unauthorized):
            await auth.viewer({}, each, "g1")
    for each in (api_key, token, ticket):
        with pytest.raises(Unauthorized):
            await auth.redeem_grant(each)


async def test_a_token_that_names_another_tenant_than_its_key_is_refused(
    auth: Authenticator, server: Server, secret: Secret
) -> None:
    token = TokenOffice(secret).mint("ten_ffffffffffffffff", server.key_id, "u1", (), 900)

    assert await refused(auth, "visitor", bearer(token)) == SAME_WORDS


async def test_a_genuine_token_of_a_key_that_is_gone_is_refused(
    auth: Authenticator, tenant: Tenant, secret: Secret
) -> None:
    token = TokenOffice(secret).mint(tenant.public_id, "key_ffffffffffffffff", "u1", (), 900)

    assert await refused(auth, "visitor", bearer(token)) == SAME_WORDS


async def test_tokens_of_two_tenants_stay_apart(auth: Authenticator, server: Server, secret: Secret) -> None:
    other: Any = Tenant.create(public_id="ten_0000000000000000", name="other", created_at=read_now())
    stranger = await auth.server(bearer(create_key(other.id, "site", ["session"], secret=secret)[1]))

    one = await auth.visitor(bearer(auth.mint_token(server, "u1", (), 900)[0]))
    two = await auth.visitor(bearer(auth.mint_token(stranger, "u1", (), 900)[0]))

    assert one.tenant_id != two.tenant_id == other.id


async def test_a_revoked_key_is_refused_at_once(auth: Authenticator, server: Server, api_key: str) -> None:
    revoke_key(server.key_id)

    assert await refused(auth, "server", bearer(api_key)) == SAME_WORDS


async def test_all_that_a_key_minted_ends_with_it(
    auth: Authenticator, server: Server, later: Callable[[], None]
) -> None:
    token, _ = auth.mint_token(server, "u1", (), 900)
    ticket = auth.mint_ticket(generation(), server.key_id)
    grant = auth.mint_grant()
    viewer = await auth.viewer(bearer(token), None, "g1")
    assert await auth.still_good(viewer)

    revoke_key(server.key_id)
    later()

    assert not await auth.still_good(viewer)
    assert await refused(auth, "visitor", bearer(token)) == SAME_WORDS
    with pytest.raises(Unauthorized):
        await auth.viewer({}, ticket, "g1")
    with pytest.raises(Unauthorized):
        await auth.redeem_grant(grant)


async def test_what_an_expired_key_minted_ends_with_it(
    auth: Authenticator, tenant: Any, secret: Secret, later: Callable[[], None]
) -> None:
    _, plain = create_key(tenant.id, "brief", ["session"], read_now() + 4, secret=secret)
    server = await auth.server(bearer(plain))
    token, _ = auth.mint_token(server, "u1", (), 900)
    viewer = await auth.viewer(bearer(token), None, "g1")
    assert await auth.still_good(viewer)

    later()

    assert not await auth.still_good(viewer)


async def test_a_stream_ends_with_its_credential(auth: Authenticator, server: Server) -> None:
    viewer = await auth.viewer(bearer(auth.mint_token(server, "u1", (), 900)[0]), None, "g1")

    assert await auth.still_good(viewer)
    assert not await auth.still_good(replace(viewer, expires_at=time.time()))


async def test_open_streams_go_on_while_the_database_is_away_and_new_ones_must_wait(
    auth: Authenticator, server: Server, later: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = auth.mint_token(server, "u1", (), 900)
    viewer = await auth.viewer(bearer(token), None, "g1")

    async def away(*_: Any) -> None:
        raise Unavailable

    monkeypatch.setattr(DatabaseThreads, "run", away)
    later()

    assert await auth.still_good(viewer)
    assert not await auth.still_good(replace(viewer, expires_at=time.time() - 1))
    with pytest.raises(Unavailable):
        await auth.visitor(bearer(token))


async def test_forged_credentials_cause_no_statement(
    auth: Authenticator, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(*_: Any) -> None:
        pytest.fail("the database was asked")

    monkeypatch.setattr(DatabaseThreads, "run", asked)
    foreign = TokenOffice(Secret("t" * 40)).mint("ten_x", "key_0123456789abcdef", "u1", (), 900)

    assert await refused(auth, "visitor", bearer(foreign)) == SAME_WORDS
    assert await refused(auth, "server", bearer("nonsense")) == SAME_WORDS
    with pytest.raises(Unauthorized):
        await auth.viewer({}, "x.y", "g1")


async def test_a_grant_is_worth_a_token_of_the_owner(auth: Authenticator, api_key: str, settings: Settings) -> None:
    token, expires_in = await auth.redeem_grant(auth.mint_grant())
    visitor = await auth.visitor(bearer(token))

    assert expires_in == settings.session_seconds == 900
    assert (visitor.user, visitor.roles, visitor.key_id) == ("owner", (), public_id_of(api_key))


async def test_no_error_and_no_log_holds_a_credential(
    auth: Authenticator, server: Server, api_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    token, _ = auth.mint_token(server, "u1", (), 900)
    ticket = auth.mint_ticket(generation(), server.key_id)
    ends = [text[-20:] for text in (api_key, token, ticket)]
    revoke_key(server.key_id)

    told = [await refused(auth, "server", bearer(api_key)), await refused(auth, "visitor", bearer(token + "x"))]
    told.append(caplog.text)

    assert not any(end in text for end in ends for text in told)
