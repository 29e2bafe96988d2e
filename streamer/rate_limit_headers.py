"""`RateLimit-*`: what a visitor's window of requests has left, as the answers to a POST tell it."""

import math

from models.rate_limit import Window
from streamer.operation import Parameter

RATE_LIMIT_HEADERS = [
    Parameter(name=name, place="header", type=kind, description=description)
    for name, kind, description in (
        ("RateLimit-Limit", int, "Requests that the window holds at most."),
        ("RateLimit-Remaining", int, "Requests that are left now."),
        ("RateLimit-Reset", int, "Seconds until the oldest request leaves the window, and makes room for another."),
        ("RateLimit-Policy", str, "The limit and its window in seconds, such as `30;w=300`."),
    )
]


def rate_limit_headers(window: Window) -> dict[str, str]:
    """`RateLimit-Reset` is in seconds, as `Retry-After` is: until the oldest request leaves the window."""
    limit = window.limit
    return {
        "ratelimit-limit": str(limit.requests),
        "ratelimit-remaining": str(window.remaining),
        "ratelimit-reset": str(window.reset_seconds),
        "ratelimit-policy": f"{limit.requests};w={math.ceil(limit.seconds)}",
    }
