"""Who is calling: a server with an API key, a visitor with a token, a viewer with a token or a ticket.

Whatever is wrong with a credential, the answer is the same Unauthorized: nobody learns how close a guess came. All that an API
key minted is good only while the key is.
"""

import contextlib
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from models.api_key import public_id_of, verify_key
from models.database_threads import DatabaseThreads
from models.errors import Forbidden, Unauthorized, Unavailable
from models.generation import Generation
from models.secret import Secret
from models.settings import Settings
from streamer.admin_session import AdminSessionOffice, refuse_strangers, sessions_in
from streamer.grant import OWNER, GrantOffice
from streamer.live_keys import LiveKey, LiveKeys
from streamer.stream_ticket import TicketOffice
from streamer.visitor_token import TokenOffice

# RFC 6750 §2.1; whatever can be printed may stand in the credential, the offices look closer.
_BEARER = re.compile(r"bearer +([!-~]{1,8192}) *", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Server:
    """A caller with an API key. `tenant`: the tenant's public id."""

    tenant_id: int
    key_id: str
    scopes: frozenset[str]
    tenant: str

    def require(self, scope: str) -> None:
        """Raises Forbidden where the key does not have this scope."""
        if scope not in self.scopes:
            raise Forbidden(f"This API key does not have the scope `{scope}`.")

    def as_viewer(self) -> "Viewer":
        """Who may watch what the tenant's servers asked: it has no visitor."""
        return Viewer(self.tenant_id, "", self.key_id, math.inf)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A caller with a visitor token. `tenant`: the tenant's public id; `expires_at`: Unix seconds."""

    tenant_id: int
    tenant: str
    user: str
    roles: tuple[str, ...]
    key_id: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who may watch the generations of `user`, or the one that the ticket is for. `expires_at`: Unix seconds."""

    tenant_id: int
    user: str
    key_id: str
    expires_at: float


class Authenticator:
    """Checks credentials and mints them. `headers` are looked up in lower case, as Starlette's `Headers` are."""

    def __init__(self, settings: Settings, secret: Secret, threads: DatabaseThreads) -> None:
        self._settings = settings
        self._secret = secret
        self._threads = threads
        self._keys = LiveKeys(threads)
        self._tokens = TokenOffice(secret)
        self._tickets = TicketOffice(secret)
        self._grants = GrantOffice(settings, secret)
        self._admin_sessions = AdminSessionOffice(secret)

    async def server(self, headers: Mapping[str, str]) -> Server:
        """Who shows an API key; a revoked one is refused at once. Raises Unauthorized, Unavailable."""
        plain = _bearer(headers) or ""
        key = await self._threads.run(verify_key, plain, self._secret) if public_id_of(plain) else None
        if key is None:
            raise Unauthorized
        return Server(key.tenant_id, key.public_id, key.scope_set, key.tenant.public_id)

    async def chat_server(self, headers: Mapping[str, str]) -> Server:
        """Who shows an API key that may chat. Raises Unauthorized, Forbidden, Unavailable."""
        server = await self.server(headers)
        server.require("chat")
        return server

    async def visitor(self, headers: Mapping[str, str]) -> Visitor:
        """Who shows a visitor token. Raises Unauthorized, Unavailable."""
        return await self._visitor(_bearer(headers) or "")

    async def viewer(self, headers: Mapping[str, str], ticket: str | None, generation_id: str) -> Viewer:
        """Who shows a visitor token, else a ticket for this generation. Raises Unauthorized, Unavailable.

        That the generation is the viewer's is still to be seen: look it up with `tenant_id` and `user`. A header of another
        scheme, such as a staging site's `Basic`, does not stand in the ticket's way.
        """
        token = _bearer(headers)
        if token is not None or ticket is None:
            visitor = await self._visitor(token or "")
            return Viewer(visitor.tenant_id, visitor.user, visitor.key_id, visitor.expires_at)
        found = self._tickets.read(ticket, generation_id)
        key = await self._live_key(found.key_id)
        return Viewer(key.tenant_id, found.user, key.key_id, found.expires_at)

    async def admin(self, headers: Mapping[str, str], session: str | None) -> Viewer:
        """Who shows an API key with the scope `admin`, else an admin session, from a page of ours.

        Raises Unauthorized, Forbidden, Unavailable.
        """
        if _bearer(headers) is not None or session is None:
            server = await self.server(headers)
            server.require("admin")
            return server.as_viewer()
        refuse_strangers(headers)
        found = self._admin_sessions.read(session)
        key = await self._live_key(found.key_id)
        return Viewer(key.tenant_id, "", key.key_id, found.expires_at)

    def session_of(self, cookies: str) -> str | None:
        """The genuine admin session among a `Cookie` header's, else any of that name, else None."""
        shown = sessions_in(cookies)
        for each in shown:
            with contextlib.suppress(Unauthorized):
                self._admin_sessions.read(each)
                return each
        return shown[0] if shown else None

    async def still_good(self, viewer: Viewer) -> bool:
        """Whether an open stream may go on. Cheap: a statement per API key and 5 s, however many viewers.

        While the database is away a revocation can't be seen, and streams go on until their credential expires.
        """
        if viewer.expires_at <= time.time():
            return False
        try:
            return await self._keys.find(viewer.key_id) is not None
        except Unavailable:
            return True

    def mint_token(self, server: Server, user: str, roles: tuple[str, ...], ttl_seconds: int) -> tuple[str, int]:
        """A visitor token under the server's API key, and for how many seconds it is good."""
        return self._tokens.mint(server.tenant, server.key_id, user, roles, ttl_seconds), ttl_seconds

    def mint_admin_session(self, server: Server) -> tuple[str, int]:
        """A session for the admin pages under the server's API key, and for how many seconds it is good."""
        ttl_seconds = self._settings.admin_session_seconds
        return self._admin_sessions.mint(server.key_id, ttl_seconds), ttl_seconds

    def mint_ticket(self, generation: Generation, key_id: str) -> str:
        """A ticket to read this one generation, good while the API key `key_id`, the visitor's, is. See `TicketOffice.mint`."""
        return self._tickets.mint(generation, key_id)

    def mint_grant(self) -> str:
        """What the first page changes for a visitor token. Raises SettingInvalid where `<data>/api_key` holds no API key."""
        return self._grants.mint()

    async def redeem_grant(self, grant: str) -> tuple[str, int]:
        """A visitor token for the owner, and for how many seconds it is good. Raises Unauthorized, Unavailable."""
        key = await self._live_key(self._grants.read(grant).key_id)
        ttl_seconds = min(self._settings.session_seconds, self._settings.max_session_seconds)
        return self._tokens.mint(key.tenant, key.key_id, OWNER, (), ttl_seconds), ttl_seconds

    async def _visitor(self, token: str) -> Visitor:
        read = self._tokens.read(token)
        key = await self._live_key(read.key_id)
        if read.tenant != key.tenant:
            raise Unauthorized
        return Visitor(key.tenant_id, key.tenant, read.user, read.roles, key.key_id, float(read.expires_at))

    async def _live_key(self, key_id: str) -> LiveKey:
        key = await self._keys.find(key_id)
        if key is None:
            raise Unauthorized
        return key


def _bearer(headers: Mapping[str, str]) -> str | None:
    """The credential of an `Authorization: Bearer` header; None where there is none of this scheme; "" where it is malformed."""
    header = headers.get("authorization", "")
    if header[:6].lower() != "bearer":
        return None
    found = _BEARER.fullmatch(header)
    return found[1] if found else ""
