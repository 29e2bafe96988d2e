"""Times that differ a little, so that those who came together don't come back together."""

import random


def jittered_ms(milliseconds: int) -> int:
    """Between one and two times as long."""
    return int(milliseconds * (1 + random.random()))  # noqa: S311


def shortened(seconds: float) -> float:
    """Up to a fifth less."""
    return seconds * (1 - random.random() / 5)  # noqa: S311
