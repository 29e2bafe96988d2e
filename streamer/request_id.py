"""The id that one request has in its answer, its errors and the log."""

import re
from collections.abc import MutableMapping
from typing import Any

from models.identifiers import random_name

_SANE = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def request_id_of(scope: MutableMapping[str, Any]) -> str:
    """The request's id: the caller's `x-request-id` where it is sane, else one made here; the same for the whole request."""
    state = scope.setdefault("state", {})
    if "request_id" not in state:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        state["request_id"] = given.decode("ascii") if _SANE.fullmatch(given) else random_name("req")
    found: str = state["request_id"]
    return found
