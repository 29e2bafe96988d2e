"""Sealed text: it opens only unchanged, in time and under its own key."""

import time

import itsdangerous
import msgspec
import pytest

from models.errors import Unauthorized
from streamer.seal import Seal


class Note(msgspec.Struct, frozen=True):
    text: str
    expires_at: float


class Other(msgspec.Struct, frozen=True):
    another: int
    expires_at: float


KEY = b"k" * 32
SPELLING = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def note(seconds: float = 60) -> Note:
    return Note("hello, wörld", time.time() + seconds)


def signed(content: bytes) -> str:
    """Anything at all, under the genuine key."""
    return Seal(KEY)._signer.sign(itsdangerous.encoding.base64_encode(content)).decode()


def test_what_was_sealed_comes_out_again() -> None:
    content = note()

    assert Seal(KEY).open(Seal(KEY).close(content), Note) == content


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(Unauthorized):
        Seal(b"o" * 32).open(Seal(KEY).close(note()), Note)


def test_it_opens_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    content = Note("x", 1000.0)
    text = Seal(KEY).close(content)

    monkeypatch.setattr("streamer.seal.time.time", lambda: 999.9)
    assert Seal(KEY).open(text, Note) == content
    monkeypatch.setattr("streamer.seal.time.time", lambda: 1000.0)
    with pytest.raises(Unauthorized):
        Seal(KEY).open(text, Note)


def test_no_change_of_any_one_character_goes_unnoticed() -> None:
    text = Seal(KEY).close(note())

    for place, character in enumerate(text):
        for other in SPELLING:
            if other != character:
                with pytest.raises(Unauthorized):
                    Seal(KEY).open(text[:place] + other + text[place + 1 :], Note)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b"\xff", b'{"text":1,"expires_at":9e12}', b'{"text":"x","expires_at":"x"}']
)
def test_content_of_another_kind_is_refused_even_under_the_key(content: bytes) -> None:
    with pytest.raises(Unauthorized):
        Seal(KEY).open(signed(content), Note)


def test_one_kind_is_not_taken_for_another() -> None:
    with pytest.raises(Unauthorized):
        Seal(KEY).open(Seal(KEY).close(note()), Other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "x",
        "x.",
        ".x",
        "x.y",
        "é.é",
        "\udc80.x",
        "x.y\n",
        "\0",
        "a" * 5000,
        "a" * 1_000_000 + ".b",
        "=.=",
        "a b.c",
    ],
)
def test_what_was_never_sealed_is_refused_always_in_the_same_words(text: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        Seal(KEY).open(text, Note)

    assert str(caught.value) == str(Unauthorized())
    assert caught.value.__cause__ is None
