"""How long things take under test: the same code, a fraction of the time."""

from dataclasses import dataclass

#: The settings of the short durations; what is not here is as users have it.
SHORT = {
    "STREAMER_LEASE_SECONDS": "2",
    "STREAMER_RENEW_SECONDS": "0.6",
    "STREAMER_SWEEP_SECONDS": "0.3",
    "STREAMER_REENQUEUE_SECONDS": "0.8",
    "STREAMER_HEARTBEAT_SECONDS": "3",
    "STREAMER_IDLE_CHECK_SECONDS": "1",
    "STREAMER_KEEPALIVE_SECONDS": "1",
    "STREAMER_FINISH_FLUSH_SECONDS": "0.5",
}

#: A machine that does other things as well takes longer: a bound is only a deadline then.
BUSY_FACTOR = 5


@dataclass(frozen=True, slots=True)
class Durations:
    """`real`: as users have them. `strict`: bounds are asserted as they are, not as deadlines."""

    real: bool = False
    strict: bool = False

    @property
    def environment(self) -> dict[str, str]:
        return {} if self.real else SHORT

    @property
    def lease_seconds(self) -> float:
        return 9.0 if self.real else 2.0

    @property
    def sweep_seconds(self) -> float:
        return 2.0 if self.real else 0.3

    @property
    def reenqueue_seconds(self) -> float:
        return 4.0 if self.real else 0.8

    @property
    def idle_check_seconds(self) -> float:
        return 5.0 if self.real else 1.0

    def bound(self, real_seconds: float) -> float:
        """The time that something may take, given what it may take at the real durations."""
        seconds = real_seconds if self.real else max(2.0, real_seconds * 0.4)
        return seconds if self.strict else seconds * BUSY_FACTOR
