"""Stream tickets: what an EventSource, which can't send headers, shows in the address to read one generation."""

import time

import msgspec

from models.database import read_now
from models.errors import Unauthorized
from models.generation import Generation
from models.secret import Secret
from streamer.seal import Seal


class StreamTicket(
    msgspec.Struct, frozen=True, rename={"expires_at": "e", "generation_id": "g", "key_id": "k", "user": "u"}
):
    """Reads one generation of one visitor, and does nothing else. `expires_at`: Unix seconds."""

    generation_id: str
    user: str
    key_id: str
    expires_at: float


class TicketOffice:
    """Mints tickets and reads them. They are scoped and short-lived, since an address may end up in somebody's log."""

    def __init__(self, secret: Secret) -> None:
        self._seal = Seal(secret.derive("stream-ticket"))

    def mint(self, generation: Generation, key_id: str) -> str:
        """A ticket under the API key by which the visitor came.

        It lives as long as the generation's log at the latest, and at least for `retention_seconds`, so that the ticket of a
        repeated POST is of use too.
        """
        remaining = generation.deadline_at + generation.retention_seconds - read_now()
        expires_at = time.time() + max(remaining, generation.retention_seconds)
        return self._seal.close(StreamTicket(generation.id, generation.visitor, key_id, float(int(expires_at))))

    def read(self, ticket: str, generation_id: str) -> StreamTicket:
        """Raises Unauthorized where the ticket is forged, expired or another generation's."""
        found = self._seal.open(ticket, StreamTicket)
        if found.generation_id != generation_id:
            raise Unauthorized
        return found
