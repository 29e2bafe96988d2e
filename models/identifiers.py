"""Random ids: none can be guessed, and none tells how many there are."""

import secrets
import time
import uuid


def uuid7() -> str:
    """A UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then randomness, so that newer ids sort after older ones."""
    millis = time.time_ns() // 1_000_000
    value = (millis & (1 << 48) - 1) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))


def random_name(prefix: str) -> str:
    """`<prefix>_` and 16 random lower-case hex digits."""
    return f"{prefix}_{secrets.token_hex(8)}"
