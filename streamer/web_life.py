"""Whether a web process answers, and whether it is ready."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any
from urllib.parse import urlsplit

from models.settings import Settings
from streamer.doctor.check import Finding, failed, ok

#: Seconds that a web process gets to answer.
ANSWER_SECONDS = 2.0


def lives(settings: Settings, *, url: str) -> Iterator[Finding]:
    """Whether a web process answers at all."""
    status, _ = _get(url, "/healthz")
    if status == 200:
        yield ok(f"{url} answers")
    else:
        yield failed(f"{url} does not answer", "see its log; a restart may mend it")


def is_ready(settings: Settings, *, url: str) -> Iterator[Finding]:
    """Whether it says that all it needs is there, else what is missing."""
    status, body = _get(url, "/readyz")
    checks = {} if status == 200 else body.get("checks", {"web": "does not answer"})
    missing = {name: words for name, words in checks.items() if words != "ok"}
    for name, words in missing.items():
        yield failed(f"{url}: {name}: {words}", "see `streamer doctor`")
    if not missing:
        yield ok(f"{url} is ready")


def _get(url: str, path: str) -> tuple[int, dict[str, Any]]:
    """The status and the JSON of an answer; 0 where there was none."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_SECONDS)
    with closing(connection), suppress(OSError, http.client.HTTPException, ValueError):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    return 0, {}
