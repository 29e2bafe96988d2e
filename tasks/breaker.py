"""The circuit breaker: a model that fails and fails is left in peace for a while, by all workers at once.

    key                          type   content                                                   lives
    breaker:<provider>:<model>   hash   failures: in a row, while it is closed                    the window
                                        open_until, cool_down, probe_until: ms, while it is open  the cool-down, and two longest

Two models share nothing. Where Redis is away there is no breaker: every call may go.
"""

import asyncio
import hashlib
import logging
from enum import IntEnum
from pathlib import Path

import redis.asyncio
from redis.exceptions import NoScriptError

from models.errors import ProviderFailure, ProviderOverloaded, ProviderTimeout, ProviderUnreachable
from models.event_log import LOG_AWAY
from models.settings import Settings

logger = logging.getLogger(__name__)

#: Seconds that a call waits for what Redis says about it.
ANSWER_SECONDS = 1.0

#: What is the provider's own fault, and not the request's, the key's or the account's.
FAULTS = (ProviderOverloaded, ProviderTimeout, ProviderUnreachable)

_SCRIPT = (Path(__file__).parent / "breaker.lua").read_text()
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()  # the name that Redis gives a script


class Permit(IntEnum):
    """What the breaker says to a call: the script's numbers."""

    REFUSED = 0
    FREE = 1
    PROBE = 2


def circuit_key(provider: str, model: str) -> str:
    return f"breaker:{provider}:{model}"


class Breaker:
    """The circuits in one Redis. No call of it raises anything: a breaker that is away breaks nothing."""

    def __init__(self, client: redis.asyncio.Redis, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._telling: set[asyncio.Task[int | None]] = set()

    async def enter(self, provider: str, model: str) -> Permit:
        """Whether a call may start now. One of all that ask after a cool-down is the probe."""
        found = await self._step(provider, model, "enter", _ms(self._settings.breaker_probe_seconds))
        return Permit.FREE if found is None else Permit(found)

    async def leave(self, provider: str, model: str, permit: Permit, failure: Exception | None, *, came: bool) -> None:
        """What became of a call: `came` says whether it brought anything, `failure` what it ended with, if with any."""
        probe = str(int(permit is Permit.PROBE))
        if isinstance(failure, FAULTS):
            settings = self._settings
            opened = await self._step(
                provider,
                model,
                "fail",
                str(settings.breaker_failures),
                _ms(settings.breaker_window_seconds),
                _ms(settings.breaker_cool_down_seconds),
                _ms(settings.breaker_max_cool_down_seconds),
                probe,
            )
            if opened:
                logger.warning("%s:%s keeps failing (%s): it is not called for a while", provider, model, failure.code)
        elif came or (isinstance(failure, ProviderFailure) and permit is Permit.PROBE):
            await self._recover(provider, model, probe)
        elif permit is Permit.PROBE:  # stopped before it could show anything
            await self._step(provider, model, "release")

    def note_text(self, provider: str, model: str, permit: Permit) -> None:
        """The call's first piece has come: a probe closes the circuit now, not only at the end of its answer."""
        if permit is Permit.PROBE:
            telling = asyncio.create_task(self._recover(provider, model, "1"))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    async def _recover(self, provider: str, model: str, probe: str) -> int | None:
        return await self._step(provider, model, "recover", "", "", "", "", probe)

    async def _step(self, provider: str, model: str, *arguments: str) -> int | None:
        """What the script answers; None where Redis is away."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return int(await self._run(circuit_key(provider, model), *arguments))
        except LOG_AWAY as error:
            logger.debug("no breaker: Redis is away (%s)", type(error).__name__)
            return None

    async def _run(self, key: str, *arguments: str) -> int:
        try:
            reply = await self._client.evalsha(_SHA, 1, key, *arguments)
        except NoScriptError:  # Redis was restarted or flushed: nothing ran
            reply = await self._client.eval(_SCRIPT, 1, key, *arguments)
        return int(reply)


def _ms(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
