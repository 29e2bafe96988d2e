"""Request bodies: bounded in bytes, time and depth, read strictly, then fitted to the struct that the endpoint expects.

`json.loads` alone lets a second `"role"` win, takes NaN and Infinity, and falls over deep nesting and numbers of 5,000 digits.
"""

import asyncio
import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

import msgspec
from starlette.requests import Request

from models.errors import BadRequest, PayloadTooLarge, RequestTimeout, UnsupportedMediaType

#: Longer bodies are parsed in a thread.
INLINE_BYTES = 64 * 1024

#: Levels of arrays and objects within each other.
MAX_DEPTH = 32

_CONTENT_LENGTH = re.compile(r"[0-9]{1,18}")
_MEDIA_TYPE = re.compile(r'application/json\s*(;\s*charset\s*=\s*"?utf-?8"?\s*)?;?', re.IGNORECASE)
# A string, ended or not: each quote is looked at once, so that no input takes more than linear time.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_A_BRACKET = re.compile(r"[^\[\]{}]+")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*?)`( - at `\$[\w.\[\]]*`)?", re.DOTALL | re.ASCII)
_INVALID_VALUE = re.compile(r"Invalid (?:enum )?value .*?( - at `\$[\w.\[\]]*`)?", re.DOTALL | re.ASCII)

T = TypeVar("T", bound=msgspec.Struct)


class StrictBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the bodies in which an unknown field is an error: what a caller means must not be dropped in silence.

    Write `class MessageBody(StrictBody, frozen=True)`.
    """


@dataclass(frozen=True, slots=True)
class Body(Generic[T]):
    """A body as the struct that was asked for. `digest`: SHA-256, in hex, over the canonical JSON of what was *sent*.

    Canonical is: keys sorted, no spaces, no escapes but the necessary ones. So two bodies that differ in spacing, order or
    escapes alone have one digest, and a field that is given its default has another than one left out.
    """

    value: T
    digest: str


async def read_body(request: Request, type_: type[T], *, max_bytes: int, seconds: float) -> Body[T]:
    """The request's JSON body. Nothing is parsed before all of it is there and within `max_bytes`.

    Raises UnsupportedMediaType, PayloadTooLarge, RequestTimeout (after `seconds`), BadRequest; each says what to do instead.
    """
    if not _MEDIA_TYPE.fullmatch(request.headers.get("content-type", "").strip()):
        raise UnsupportedMediaType("Send the body as JSON, with `Content-Type: application/json`.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("Send the body uncompressed, without `Content-Encoding`.")
    try:
        async with asyncio.timeout(seconds):
            raw = await _read_bounded(request, max_bytes)
    except TimeoutError:
        raise RequestTimeout(f"The body did not arrive within {seconds:g} s.") from None
    if len(raw) > INLINE_BYTES:  # nobody's stream waits for it
        return await asyncio.to_thread(_body, raw, type_)
    return _body(raw, type_)


def _body(raw: bytes, type_: type[T]) -> Body[T]:
    value = parse_object(raw)
    return Body(fit(value, type_), _digest(value))


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object (RFC 8259) that `raw` is.

    Raises BadRequest for invalid UTF-8 or JSON, more than MAX_DEPTH levels, doubled keys, NaN and Infinity, numbers outside of
    64 bits, lone surrogates, U+0000 and for anything but an object.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: see byte {error.start}.") from None
    _check_depth(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg}, line {error.lineno}, column {error.colno}.") from None
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object: {…}.")
    if "\\u" in text:  # only an escape can bring in what UTF-8 and JSON themselves forbid
        _check_text(value)
    return value


def fit(value: dict[str, Any], type_: type[T]) -> T:
    """`value` as a `type_`. Raises BadRequest, which names the field, but never repeats what stands in one."""
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise BadRequest(_explain(str(error))) from None


async def _read_bounded(request: Request, max_bytes: int) -> bytes:
    too_large = PayloadTooLarge(f"The body may have {max_bytes} bytes at most.")
    declared = request.headers.get("content-length")
    if declared is not None:
        if not _CONTENT_LENGTH.fullmatch(declared):
            raise BadRequest("`Content-Length` must be a number of bytes.")
        if int(declared) > max_bytes:
            raise too_large
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > max_bytes:
            raise too_large
    return bytes(raw)


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _NOT_A_BRACKET.sub("", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise BadRequest(f"The body has more than {MAX_DEPTH} levels of arrays and objects.")


def _check_text(value: Any) -> None:
    """Neither a database nor UTF-8 can hold these, so they are refused here, once."""
    todo: list[Any] = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            todo += each
            todo += each.values()
        elif isinstance(each, list):
            todo += each
        elif isinstance(each, str) and ("\0" in each or not _encodes(each)):
            raise BadRequest("The body has U+0000 or half of a surrogate pair in a text: take it out.")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest(f"The body has {_doubled(key for key, _ in pairs)} twice in one object.")
    return found


def _doubled(keys: Iterable[str]) -> str:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return _field(key)
        seen.add(key)
    return "a field"


def _integer(digits: str) -> int:
    # Counted first: int() of very many digits is slow, and from 4,300 on an error.
    if len(digits) <= 20 and -(2**63) <= (value := int(digits)) < 2**63:
        return value
    raise BadRequest("The body has a whole number that 64 bits can't hold.")


def _real(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise BadRequest("The body has a number that is too large.")
    return value


def _constant(name: str) -> NoReturn:
    raise BadRequest(f"The body has {name}, which JSON does not know.")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_real, parse_constant=_constant)


def _digest(value: dict[str, Any]) -> str:
    canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _explain(problem: str) -> str:
    """msgspec's message without the caller's own text, which may be a prompt."""
    if found := _UNKNOWN_FIELD.fullmatch(problem):
        return f"The body has {_field(found[1])}, which is not known here{found[2] or ''}: leave it out."
    if found := _INVALID_VALUE.fullmatch(problem):
        return f"The body has a value that is not among those allowed{found[1] or ''}."
    return f"The body does not fit: {problem}."


def _field(name: str) -> str:
    return f"the field `{name}`" if _NAME.fullmatch(name) else "a field"
