"""Visitor tokens: one algorithm, one key an API key, every claim required, one answer to every forgery."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import Unauthorized
from models.secret import Secret
from streamer import visitor_token
from streamer.visitor_token import TokenOffice

SECRET = Secret("s" * 40)
OFFICE = TokenOffice(SECRET)
KID = "key_0123456789abcdef"
TENANT = "ten_0123456789abcdef"


def part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def key(kid: str = KID) -> bytes:
    return SECRET.derive(f"visitor-token/{kid}")


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims with `changes`; a change to None takes the claim away."""
    now = int(time.time())
    good = {"iss": TENANT, "aud": "ai-chat", "sub": "u1", "roles": ["read"], "iat": now, "exp": now + 60, "jti": "j"}
    return {name: value for name, value in (good | changes).items() if value is not None}


def forged(header: Any, payload: Any, secret: bytes = b"", digest: str = "sha256") -> str:
    """A token signed with HMAC, whatever its header says."""
    body = ".".join(part(each if isinstance(each, bytes) else json.dumps(each).encode()) for each in (header, payload))
    return f"{body}.{part(hmac.digest(secret or key(), body.encode(), digest))}"


def header(**changes: Any) -> dict[str, Any]:
    return {"alg": "HS256", "typ": "JWT", "kid": KID} | changes


def test_a_token_says_who_speaks() -> None:
    token = OFFICE.mint(TENANT, KID, "Zoë 🙂", ("read", "edit"), 900)
    read = OFFICE.read(token)

    assert (read.tenant, read.user, read.roles, read.key_id) == (TENANT, "Zoë 🙂", ("read", "edit"), KID)
    assert abs(read.expires_at - time.time() - 900) < 5


def test_a_token_has_the_claims_and_the_header_that_are_documented() -> None:
    token = OFFICE.mint(TENANT, KID, "u1", (), 900)
    content = jwt.decode(token, key(), ["HS256"], audience="ai-chat", issuer=TENANT)

    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": KID}
    assert sorted(content) == ["aud", "exp", "iat", "iss", "jti", "roles", "sub"]
    assert content["exp"] - content["iat"] == 900


def test_no_two_tokens_are_alike() -> None:
    assert OFFICE.mint(TENANT, KID, "u1", (), 900) != OFFICE.mint(TENANT, KID, "u1", (), 900)


def test_the_longest_user_and_roles_fit_into_a_token() -> None:
    read = OFFICE.read(OFFICE.mint(TENANT, KID, "🙂" * 128, ("r" * 64,) * 16, 900))

    assert read.user == "🙂" * 128
    assert len(read.roles) == 16


def test_the_forger_of_this_file_can_forge() -> None:
    # Without this the refusals below would prove nothing.
    assert OFFICE.read(forged(header(), claims())).user == "u1"


def test_a_token_of_a_host_whose_clock_is_ahead_is_taken() -> None:
    assert OFFICE.read(forged(header(), claims(iat=int(time.time()) + 30))).user == "u1"


FORGERIES = {
    "no algorithm": forged(header(alg="none"), claims()),
    "no algorithm, no signature": forged(header(alg="none"), claims()).rpartition(".")[0] + ".",
    "no algorithm in capitals": forged(header(alg="NONE"), claims()),
    "algorithm missing": forged({"kid": KID}, claims()),
    "algorithm is no text": forged(header(alg=1), claims()),
    "another algorithm": forged(header(alg="HS512"), claims(), digest="sha512"),
    "an asymmetric algorithm": forged(header(alg="RS256"), claims()),
    "another key": forged(header(), claims(), b"x" * 32),
    "the secret itself as the key": forged(header(), claims(), b"s" * 40),
    "another kid's key": forged(header(), claims(), key("key_ffffffffffffffff")),
    "no kid": forged({"alg": "HS256"}, claims()),
    "kid of another shape": forged(header(kid="../secret"), claims(), key("../secret")),
    "kid with a line end": forged(header(kid=KID + "\n"), claims(), key(KID + "\n")),
    "kid is a number": forged(header(kid=7), claims()),
    "kid is a list": forged(header(kid=[KID]), claims()),
    "kid is null": forged(header(kid=None), claims()),
    "an unknown critical extension": forged(header(crit=["x"], x=1), claims()),
    "a detached payload": forged(header(b64=False), claims()),
    "another audience": forged(header(), claims(aud="other")),
    "no audience": forged(header(), claims(aud=None)),
    "audience is a number": forged(header(), claims(aud=1)),
    "no issuer": forged(header(), claims(iss=None)),
    "issuer is a list": forged(header(), claims(iss=[TENANT])),
    "no expiry": forged(header(), claims(exp=None)),
    "expiry is text": forged(header(), claims(exp="soon")),
    "expiry is endless": forged(header(), json.dumps(claims()).replace(str(claims()["exp"]), "1e999").encode()),
    "expired": forged(header(), claims(exp=int(time.time()) - 1)),
    "not yet": forged(header(), claims(nbf=int(time.time()) + 600)),
    "no time of issue": forged(header(), claims(iat=None)),
    "no id": forged(header(), claims(jti=None)),
    "no user": forged(header(), claims(sub=None)),
    "an empty user": forged(header(), claims(sub="")),
    "a long user": forged(header(), claims(sub="x" * 129)),
    "user is a number": forged(header(), claims(sub=1)),
    "roles are a word": forged(header(), claims(roles="admin")),
    "roles are numbers": forged(header(), claims(roles=[1])),
    "a payload that is a list": forged(header(), []),
    "a payload that is text": forged(header(), b"hello"),
    "a payload of bytes": forged(header(), b"\xff\xfe"),
    "a header that is a list": forged([], claims()),
    "a header of bytes": forged(b"\xff\xfe", claims()),
    "a deep header": forged(b"[" * 3000, claims()),
    "a deep payload": forged(header(), b"[" * 3000),
    "a header with a long number": forged(b'{"alg":' + b"1" * 5000 + b"}", b"{}"),
    "empty": "",
    "dots": "..",
    "four parts": forged(header(), claims()) + ".x",
    "two parts": "a.b",
    "an encrypted token": "a.b.c.d.e",
    "not ascii": "é.é.é",
    "half a surrogate pair": "\udc80.\udc80.\udc80",
    "a null character": "a.b.c\0",
    "a line end": forged(header(), claims()) + "\n",
    "padding": forged(header(), claims()) + "=",
    "huge": forged(header(), claims(sub="x" * 1_000_000)),
    "huge without dots": "a" * 1_000_000,
}


@pytest.mark.parametrize("name", FORGERIES)
def test_every_forgery_is_refused_in_the_same_words(name: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        OFFICE.read(FORGERIES[name])

    assert str(caught.value) == str(Unauthorized())
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_no_change_of_any_one_character_goes_unnoticed() -> None:
    token = OFFICE.mint(TENANT, KID, "u1", ("read",), 900)

    for place, character in enumerate(token):
        for other in "AQgw8_-.":  # among them those that differ in stray bits alone
            if other != character:
                with pytest.raises(Unauthorized):
                    OFFICE.read(token[:place] + other + token[place + 1 :])


def test_a_signature_has_one_spelling() -> None:
    token = OFFICE.mint(TENANT, KID, "u1", (), 900)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    assert [last for last in alphabet if _is_taken(token[:-1] + last)] == [token[-1]]


def _is_taken(token: str) -> bool:
    try:
        OFFICE.read(token)
    except Unauthorized:
        return False
    return True


@settings(deadline=None)
@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", fullmatch=True))
def test_no_text_at_all_raises_anything_else(text: str) -> None:
    with pytest.raises(Unauthorized):
        OFFICE.read(text)


def test_the_signing_key_is_not_the_secret_nor_another_purposes() -> None:
    assert key() not in {
        SECRET.derive("visitor-token"),
        hashlib.sha256(b"s" * 40).digest(),
        key("key_ffffffffffffffff"),
    }


# What was read is remembered


def test_a_token_is_verified_once_and_expires_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    office = TokenOffice(SECRET)
    token = office.mint(TENANT, KID, "u1", (), 900)
    first = office.read(token)
    with monkeypatch.context() as patched:
        patched.setattr(jwt, "decode", None)
        assert office.read(token) is first

    expired = time.time() + 901
    monkeypatch.setattr(time, "time", lambda: expired)
    monkeypatch.setattr(jwt, "decode", _refused)  # it has a clock of its own
    with pytest.raises(Unauthorized):
        office.read(token)


def _refused(*_: Any, **__: Any) -> None:
    raise jwt.ExpiredSignatureError


def test_so_many_tokens_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitor_token, "REMEMBERED", 2)
    office = TokenOffice(SECRET)
    tokens = [office.mint(TENANT, KID, f"u{number}", (), 900) for number in range(3)]
    for number, token in enumerate(tokens):
        assert office.read(token).user == f"u{number}"

    assert len(office._known) == 2
    assert office.read(tokens[0]).user == "u0"
