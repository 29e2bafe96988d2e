"""Request bodies: every bad one is a refusal that says what to do, and never anything else."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from models.errors import BadRequest, PayloadTooLarge, RequestError, RequestTimeout, UnsupportedMediaType
from streamer.strict_json import MAX_DEPTH, Body, StrictBody, parse_object, read_body


class Colour(StrEnum):
    RED = "red"


class Inner(StrictBody, frozen=True):
    flag: bool = False


class Note(StrictBody, frozen=True):
    message: str
    count: int = 0
    rate: float = 0.0
    colour: Colour = Colour.RED
    mode: Literal["a", "b"] = "a"
    inner: Inner = Inner()
    tags: list[str] = []


class Lenient(msgspec.Struct, frozen=True):
    message: str


def request_of(*chunks: bytes, headers: dict[str, str] | None = None, endless: bool = False) -> Request:
    """A request whose body comes in these chunks; `endless`: the end of it never comes."""
    parts: Iterator[bytes] = iter(chunks)
    given = {"content-type": "application/json"} | (headers or {})

    async def receive() -> Message:
        part = next(parts, None)
        if part is None and endless:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    raw = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


async def read(*chunks: bytes, headers: dict[str, str] | None = None, max_bytes: int = 1000) -> Body[Note]:
    return await read_body(request_of(*chunks, headers=headers), Note, max_bytes=max_bytes, seconds=5)


async def test_a_good_body_becomes_the_struct() -> None:
    body = await read(b'{"message":', b' "hello, w\xc3\xb6rld", "count": 3, "rate": 1, "tags": ["x"]}')

    assert body.value == Note(message="hello, wörld", count=3, rate=1.0, tags=["x"])


async def test_a_multibyte_character_may_be_split_over_chunks() -> None:
    assert (await read(b'{"message": "\xf0\x9f', b'\x99\x82"}')).value.message == "🙂"


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF8",
        'application/json ; charset="utf-8"',
        " application/json;",
    ],
)
async def test_json_is_taken_under_every_spelling_of_its_name(media_type: str) -> None:
    assert (await read(b'{"message": "x"}', headers={"content-type": media_type})).value.message == "x"


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "text/json"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/json, text/plain"},
        {"content-type": "application/jsonp"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "applicatıon/json".encode().decode("latin-1")},
        {"content-encoding": "gzip"},
        {"content-encoding": "identity, br"},
    ],
)
async def test_another_media_type_is_refused_before_anything_is_read(headers: dict[str, str]) -> None:
    request = request_of(headers=headers, endless=True)

    with pytest.raises(UnsupportedMediaType, match="Send the body"):
        await read_body(request, Note, max_bytes=1000, seconds=5)


async def test_a_request_without_a_media_type_is_refused() -> None:
    request = request_of(b"{}")
    request.scope["headers"] = []

    with pytest.raises(UnsupportedMediaType):
        await read_body(Request(request.scope, request.receive), Note, max_bytes=1000, seconds=5)


async def test_a_body_of_just_the_bound_is_taken_and_one_more_byte_is_not() -> None:
    raw = b'{"message": "x"}'

    assert (await read(raw, max_bytes=len(raw))).value.message == "x"
    with pytest.raises(PayloadTooLarge, match="15 bytes at most"):
        await read(raw, max_bytes=len(raw) - 1)


async def test_a_declared_length_beyond_the_bound_is_refused_before_anything_is_read() -> None:
    request = request_of(headers={"content-length": "1001"}, endless=True)

    with pytest.raises(PayloadTooLarge):
        await read_body(request, Note, max_bytes=1000, seconds=5)


async def test_a_streamed_body_is_refused_as_soon_as_it_passes_the_bound() -> None:
    request = request_of(b"x" * 600, b"x" * 600, endless=True)

    with pytest.raises(PayloadTooLarge):
        await read_body(request, Note, max_bytes=1000, seconds=5)


async def test_a_body_that_is_longer_than_it_said_is_refused() -> None:
    with pytest.raises(PayloadTooLarge):
        await read(b"x" * 2000, headers={"content-length": "10"})


@pytest.mark.parametrize("length", ["", "-1", "1.0", "0x10", "ten", "²", "1 2", "9" * 5000])
async def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(BadRequest, match="Content-Length"):
        await read(b"{}", headers={"content-length": length})


async def test_a_body_that_does_not_arrive_is_given_up() -> None:
    with pytest.raises(RequestTimeout, match=r"within 0.01 s"):
        await read_body(request_of(b'{"mess', endless=True), Note, max_bytes=1000, seconds=0.01)


async def test_a_caller_who_hangs_up_is_told_nothing() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    request = Request(request_of().scope, receive)
    with pytest.raises(ClientDisconnect):
        await read_body(request, Note, max_bytes=1000, seconds=5)


BAD_JSON: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is not JSON"),
    "spaces": (b"   ", "is not JSON"),
    "half": (b'{"message": "x"', "is not JSON"),
    "two": (b"{}{}", "is not JSON"),
    "a comma too many": (b'{"message": "x",}', "is not JSON"),
    "single quotes": (b"{'message': 'x'}", "is not JSON"),
    "a comment": (b'{"message": "x"} // x', "is not JSON"),
    "a raw line end in a text": (b'{"message": "a\nb"}', "is not JSON"),
    "a bare word": (b"{message: 1}", "is not JSON"),
    "an octal number": (b'{"count": 010}', "is not JSON"),
    "a hexadecimal number": (b'{"count": 0x10}', "is not JSON"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "is not JSON"),
    "a null byte": (b"{}\0", "is not JSON"),
    "a bad escape": (b'{"message": "\\x41"}', "is not JSON"),
    "a short escape": (b'{"message": "\\u12"}', "is not JSON"),
    "latin-1": (b'{"message": "\xe9"}', "is not UTF-8: see byte 13"),
    "an overlong encoding": (b'{"message": "\xc0\xaf"}', "is not UTF-8"),
    "an encoded surrogate": (b'{"message": "\xed\xa0\x80"}', "is not UTF-8"),
    "utf-16": ('{"message": "x"}'.encode("utf-16"), "is not UTF-8"),
    "a list": (b"[]", "must be a JSON object"),
    "a text": (b'"x"', "must be a JSON object"),
    "a number": (b"1", "must be a JSON object"),
    "null": (b"null", "must be a JSON object"),
    "NaN": (b'{"rate": NaN}', "has NaN, which JSON does not know"),
    "Infinity": (b'{"rate": Infinity}', "has Infinity"),
    "-Infinity": (b'{"rate": -Infinity}', "has -Infinity"),
    "a number that becomes infinite": (b'{"rate": 1e999}', "a number that is too large"),
    "a number that becomes minus infinite": (b'{"rate": -1e999}', "a number that is too large"),
    "a whole number of 5,000 digits": (b'{"count": ' + b"9" * 5000 + b"}", "64 bits"),
    "a whole number of 65 bits": (b'{"count": 9223372036854775808}', "64 bits"),
    "a negative whole number of 65 bits": (b'{"count": -9223372036854775809}', "64 bits"),
    "a doubled key": (b'{"role": "user", "role": "system"}', "has the field `role` twice"),
    "a doubled key within": (b'{"inner": {"flag": true, "flag": false}}', "has the field `flag` twice"),
    "a doubled key in escapes": (b'{"role": 1, "\\u0072ole": 2}', "has the field `role` twice"),
    "a doubled key that is a text": (b'{"my secret": 1, "my secret": 2}', "has a field twice"),
    "a null character": (b'{"message": "a\\u0000b"}', r"U\+0000"),
    "a null character in a key": (b'{"a\\u0000b": 1}', r"U\+0000"),
    "a null character deep inside": (b'{"tags": [[{"x": ["\\u0000"]}]]}', r"U\+0000"),
    "half a surrogate pair": (b'{"message": "\\ud83d"}', "half of a surrogate pair"),
    "the other half": (b'{"message": "\\ude42\\ud83d"}', "half of a surrogate pair"),
    "deep lists": (b"[" * 5000 + b"]" * 5000, "levels"),
    "deep lists without an end": (b'{"x":' + b"[" * 100_000, "levels"),
    "deep objects": (b'{"x":' * 5000 + b"1" + b"}" * 5000, "levels"),
    "deep after a text with brackets": (b'{"a":"[[\\"{{","x":' + b"[" * 40 + b"]" * 40 + b"}", "levels"),
    "deep after an escaped backslash": (b'{"a":"\\\\","x":' + b"[" * 40 + b"]" * 40 + b"}", "levels"),
    "closed before it was opened": (b"]" * 40 + b"[" * 40, "is not JSON"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_is_refused_with_the_reason(name: str) -> None:
    raw, reason = BAD_JSON[name]

    with pytest.raises(BadRequest, match=reason) as caught:
        parse_object(raw)
    assert caught.value.__cause__ is None


def nested(levels: int) -> bytes:
    return b'{"x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_as_many_levels_as_allowed_are_taken_and_one_more_is_not() -> None:
    assert parse_object(nested(MAX_DEPTH)).keys() == {"x"}
    with pytest.raises(BadRequest):
        parse_object(nested(MAX_DEPTH + 1))


def test_brackets_in_texts_are_no_levels() -> None:
    text = '[{"\\' * 200

    assert parse_object(json.dumps({"message": text, text: [text] * 50}).encode())["message"] == text


def test_many_objects_side_by_side_are_not_deep() -> None:
    assert len(parse_object(json.dumps({"x": [{"y": []}] * 1000}).encode())["x"]) == 1000


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0, -1])
def test_the_numbers_of_64_bits_are_taken(number: int) -> None:
    assert parse_object(b'{"x": %d}' % number) == {"x": number}


def test_a_whole_surrogate_pair_in_escapes_is_a_character() -> None:
    assert parse_object(b'{"x": "\\ud83d\\ude42"}') == {"x": "🙂"}


def test_a_written_backslash_u0000_is_not_a_null_character() -> None:
    assert parse_object(b'{"x": "\\\\u0000"}') == {"x": "\\u0000"}


@pytest.mark.parametrize("unit", [b'\\"', b'"', b"\\", b'"[', b"[", b'\\\\"', b'""', b'{"'])
def test_no_body_takes_more_than_linear_time(unit: bytes) -> None:
    raw = b'{"x":' + b"[[" * 20 + b'"' + unit * (1_000_000 // len(unit))
    started = time.process_time()

    with pytest.raises(BadRequest):
        parse_object(raw)

    # A megabyte in quadratic time takes minutes.
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({}, "missing required field `message`"),
        ({"message": 1}, r"Expected `str`, got `int` - at `\$.message`"),
        ({"message": None}, r"at `\$.message`"),
        ({"message": "x", "count": "1"}, r"Expected `int`, got `str` - at `\$.count`"),
        ({"message": "x", "count": 1.5}, r"at `\$.count`"),
        ({"message": "x", "count": True}, r"at `\$.count`"),
        ({"message": "x", "rate": "1"}, r"at `\$.rate`"),
        ({"message": "x", "tags": "x"}, r"at `\$.tags`"),
        ({"message": "x", "tags": ["a", 1]}, r"at `\$.tags\[1\]`"),
        ({"message": "x", "inner": []}, r"at `\$.inner`"),
        ({"message": "x", "inner": {"flag": 1}}, r"at `\$.inner.flag`"),
        ({"message": "x", "model": "gpt"}, "the field `model`, which is not known here: leave it out"),
        ({"message": "x", "base_url": "http://evil"}, "the field `base_url`, which is not known"),
        (
            {"message": "x", "inner": {"more": 1}},
            r"the field `more`, which is not known here - at `\$.inner`: leave it out",
        ),
    ],
)
async def test_a_body_that_does_not_fit_is_refused_by_field(raw: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        await read(json.dumps(raw).encode())


@pytest.mark.parametrize(
    "raw",
    [
        {"message": "x", "my deepest secret": 1},
        {"message": "x", "colour": "my deepest secret"},
        {"message": "x", "mode": "my deepest secret"},
        {"message": "x", "inner": {"my deepest secret": 1}},
        {"message": "x", "count": "my deepest secret"},
        {"message": "x", "` - at `$.my deepest secret": 1},
        {"message": "x", "a\nmy deepest secret": 1},
    ],
)
async def test_a_refusal_does_not_repeat_what_was_sent(raw: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        await read(json.dumps(raw).encode())

    assert "deepest" not in str(caught.value)
    assert caught.value.__suppress_context__


async def test_a_struct_that_allows_it_ignores_unknown_fields() -> None:
    body = await read_body(request_of(b'{"message": "x", "n": 1}'), Lenient, max_bytes=100, seconds=5)

    assert body.value == Lenient("x")


async def test_the_digest_does_not_depend_on_how_the_body_was_written() -> None:
    bodies = [
        b'{"message":"\xc3\xb6","count":1}',
        b'{ "count" : 1 ,\n "message" : "\\u00f6" }',
        b'{"message": "\xc3\xb6", "count": 1}',
    ]

    digests = {(await read(raw)).digest for raw in bodies}

    assert len(digests) == 1
    assert len(digests.pop()) == 64


async def test_the_digest_tells_all_else_apart() -> None:
    bodies = [
        b'{"message":"x"}',
        b'{"message":"y"}',
        b'{"message":"x ","count":0}',
        b'{"message":"x","count":0}',
        b'{"message":"x","count":1}',
        b'{"message":"x","tags":["a","b"]}',
        b'{"message":"x","tags":["b","a"]}',
        b'{"message":"x","tags":["ab"]}',
    ]

    assert len({(await read(raw)).digest for raw in bodies}) == len(bodies)


async def test_the_digest_covers_what_a_lenient_struct_ignores() -> None:
    one, other = [
        await read_body(request_of(raw), Lenient, max_bytes=100, seconds=5)
        for raw in (b'{"message": "x", "n": 1}', b'{"message": "x", "n": 2}')
    ]

    assert one.value == other.value
    assert one.digest != other.digest


@settings(deadline=None)
@given(st.binary())
def test_no_bytes_at_all_raise_anything_but_a_refusal(raw: bytes) -> None:
    with contextlib.suppress(RequestError):
        parse_object(raw)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda each: (
        st.lists(each)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), each)
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text("abc"), json_values), st.booleans())
def test_every_allowed_object_comes_out_as_it_was_sent(value: dict[str, Any], ascii_only: bool) -> None:
    assert parse_object(json.dumps(value, ensure_ascii=ascii_only).encode()) == value
