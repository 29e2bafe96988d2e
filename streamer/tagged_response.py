"""Answers with a tag, so that who has seen one is told that nothing changed."""

import hashlib
import re
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

# If-None-Match is a list, and compares weakly: a proxy that compresses makes W/"…" of our tag (RFC 9110 §13.1.2).
_TAG = re.compile(r'"[^"]*"')


def tagged_response(request: Request, content: bytes, media_type: str, headers: Mapping[str, str]) -> Response:
    """200 with `content` and its `ETag`, or 304 where the request names that tag."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    if etag in _TAG.findall(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers={**headers, "etag": etag})
    return Response(content, 200, {**headers, "etag": etag}, media_type)
