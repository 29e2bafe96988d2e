"""Verifies a signed result of /v1/chat.

    SIGNING_SECRET="$(streamer keys signing-secret show)" python verify.py "$X_SIGNATURE" < body.json

Prints `genuine` (exit code 0) or `not genuine` (1). Copy `is_genuine`, and give it the body as it came, byte for byte.
"""

import hashlib
import hmac
import json
import os
import sys
import time

TOLERANCE_SECONDS = 300


def is_genuine(body: bytes, header: str, secret: str, now: float | None = None) -> bool:
    """Whether `header`, the value of X-Signature, is for these bytes, by this secret, and not older than the tolerance."""
    parts = [part.partition("=") for part in header.split(",")]
    seconds = next((value for name, _, value in parts if name == "t"), "")
    if not (seconds.isascii() and seconds.isdigit()) or len(seconds) > 12:
        return False
    if abs((time.time() if now is None else now) - int(seconds)) > TOLERANCE_SECONDS:
        return False
    try:
        id_ = json.loads(body)["id"]
    except (ValueError, KeyError, TypeError):
        return False
    said = f"{seconds}.{id_}.{hashlib.sha256(body).hexdigest()}"
    wanted = hmac.new(secret.encode(), said.encode(), hashlib.sha256).hexdigest()
    # One of several signatures is enough: during a rotation there are two.
    return any(name == "v1" and hmac.compare_digest(value.encode(), wanted.encode()) for name, _, value in parts)


if __name__ == "__main__":
    genuine = is_genuine(sys.stdin.buffer.read(), sys.argv[1], os.environ["SIGNING_SECRET"])
    print("genuine" if genuine else "not genuine")
    sys.exit(0 if genuine else 1)
