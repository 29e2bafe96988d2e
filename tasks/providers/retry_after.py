"""When a provider wants to be asked again, as its response headers say it."""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The pause in seconds that the headers ask for, never negative; None where they ask for none, or say garbage.

    `retry-after-ms` goes before `retry-after`, which is a number of seconds (RFC 9110 §10.2.3 says whole ones, providers
    send fractions) or an HTTP date. A date is measured against the response's own `Date`, so that a wrong clock here
    does not matter. There is no upper bound: how long is too long is the caller's to say.
    """
    milliseconds = _decimal(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after", "")
    seconds = _decimal(text)
    if seconds is not None:
        return seconds
    until = _http_date(text)
    if until is None:
        return None
    now = _http_date(headers.get("date", ""))
    return max(0.0, until - (time.time() if now is None else now))


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """What `x-should-retry` says; it goes before what the status suggests. None where it says nothing."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def _decimal(text: str) -> float | None:
    return float(text) if _DECIMAL.fullmatch(text := text.strip()) else None


def _http_date(text: str) -> float | None:
    try:
        seconds = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return seconds if math.isfinite(seconds) else None
