"""Long lists a page at a time: how many a page has, and where the next one begins."""

import base64
import re
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request

from models.conversation_list import Place
from models.errors import BadRequest
from streamer.operation import Parameter

T = TypeVar("T")

#: Entries of one page at most.
MAX_LIMIT = 100

_LIMIT = re.compile(r"[0-9]{1,3}")
_CURSOR = re.compile(r"[A-Za-z0-9_-]{1,2000}")

LIMIT = Parameter(
    name="limit",
    place="query",
    type=Annotated[int, Meta(ge=1, le=MAX_LIMIT)],
    description=f"Entries of a page, 1 to {MAX_LIMIT}.",
)
CURSOR = Parameter(name="cursor", place="query", description="`next` of the page before; without it the first page.")


def limit_of(request: Request, default: int) -> int:
    """`?limit=`. Raises BadRequest."""
    given = request.query_params.get("limit", str(default))
    if not _LIMIT.fullmatch(given) or not 1 <= int(given) <= MAX_LIMIT:
        raise BadRequest(f"`limit` must be a number from 1 to {MAX_LIMIT}.")
    return int(given)


def cursor_of(request: Request) -> Place | None:
    """`?cursor=`; it only says where to go on, whoever made it. Raises BadRequest."""
    given = request.query_params.get("cursor")
    if given is None:
        return None
    try:
        if not _CURSOR.fullmatch(given):
            raise ValueError
        return msgspec.json.decode(base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)), type=Place)
    except ValueError:  # binascii's and msgspec's errors are kinds of it
        raise BadRequest("`cursor` must be the `next` of an earlier page; leave it out for the first.") from None


def page_of(found: Sequence[T], limit: int, place_of: Callable[[T], Place]) -> tuple[Sequence[T], str | None]:
    """The page out of `limit + 1` entries, and the cursor of the next one, if there is more."""
    page = found[:limit]
    if len(found) <= limit:
        return page, None
    return page, base64.urlsafe_b64encode(msgspec.json.encode(place_of(page[-1]))).rstrip(b"=").decode()
