"""The JSON of a provider's event, as a struct of what is known of it."""

import json
from typing import Generic, TypeVar

import msgspec

from models.errors import ProviderProtocolBroken
from tasks.providers.failures import failure

T = TypeVar("T")


class EventJson(Generic[T]):
    """Reads events of one kind."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._decoder = msgspec.json.Decoder(kind)

    def read(self, data: str) -> T:
        """The event in `data`. Raises ProviderProtocolBroken, which quotes nothing."""
        try:
            try:
                return self._decoder.decode(data)
            except msgspec.ValidationError:
                raise
            except msgspec.DecodeError:  # half a surrogate pair is valid JSON, but not to msgspec
                return msgspec.convert(json.loads(data, parse_constant=_no_number), self._kind)
        except (ValueError, RecursionError):
            raise failure(ProviderProtocolBroken, "The provider sent an event that can't be understood") from None


def token_count(counts: object, name: str) -> int:
    """A token count out of an object that may be anything: never negative, never beyond what a database holds."""
    value = counts.get(name) if isinstance(counts, dict) else None
    return min(max(value, 0), 2**31 - 1) if isinstance(value, int) else 0


def error_in(data: str) -> object:
    """The error object in an `error` event's data, as far as there is one."""
    try:
        found = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return None
    return found.get("error", found) if isinstance(found, dict) else found


def _no_number(name: str) -> float:
    raise ValueError(name)
