"""A TOML table held against a struct's fields: what is wrong with a key or a value, in words for whoever wrote it."""

import difflib
import json
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec


def value_fault(kind: Any, value: Any) -> str | None:
    """What is wrong with `value` where a field's type asks for `kind`; None where nothing is."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return f"must be {wanted(kind)}, not {shown(value)}"
    return None


def wanted(kind: Any) -> str:
    """The values that a type allows, in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(wanted(each) for each in arguments if each is not type(None))
    if origin is Literal:
        return " or ".join(map(shown, arguments))
    if origin is Annotated:
        low, high = arguments[1].ge, arguments[1].le
        return f"{wanted(arguments[0])} from {low} to {high:.15g}"
    if origin is tuple:
        return 'a list of texts, such as ["…"]'
    if origin is dict:
        return 'a table of texts, such as { name = "…" }'
    return {str: 'text, such as "…"', int: "a whole number", float: "a number", bool: "true or false"}[kind]


def shown(value: Any) -> str:
    """A value as a message shows it: as the file has it, and short."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def guess(key: str, known: list[str]) -> str:
    """The known key that an unknown one may have meant, as the end of a sentence."""
    close = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {close[0]}?" if close else ""
