"""The connections to one provider: made when needed, kept for a while after a whole response."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterable
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

import httpx

from models.errors import ProviderTimeout, ProviderUnreachable
from models.host_address import Reach, allowed_reaches, reach_of
from tasks.providers.failures import failure
from tasks.providers.http_connection import Connection

logger = logging.getLogger(__name__)

#: Idle connections kept, and for how long in seconds: a fresh one costs a TLS handshake before the first token.
MAX_IDLE = 100
IDLE_SECONDS = 30.0

#: Seconds for each address of a name but the last: one that swallows packets must not use up the whole time.
ADDRESS_SECONDS = 2.0

_PORTS = {"http": 80, "https": 443}


class Pool:
    """As many connections to the origin of `url` as there are calls. It belongs to one event loop.

    A name is resolved once for each connection, all its addresses are checked, and what was checked is connected to: public
    ones, over TLS only; loopback and private ones where they are allowed; never where a cloud keeps its machines' credentials.
    """

    def __init__(self, url: str, connect_seconds: float, *, allow_private: bool = False) -> None:
        parts = urlsplit(url)
        assert parts.hostname, "the registry has checked the address"
        self._host = parts.hostname
        self._port = parts.port or _PORTS[parts.scheme]
        self._tls = tls_context() if parts.scheme == "https" else None
        self._connect_seconds = connect_seconds
        self._allowed = allowed_reaches(tls=self._tls is not None, allow_private=allow_private)
        self._family: int = socket.AF_UNSPEC  # the kind of address that answered last
        self._idle: dict[Connection, asyncio.TimerHandle] = {}
        self._open: set[Connection] = set()

    async def take(self) -> Connection:
        """A connection for the caller alone, until it gives it back. Raises ProviderUnreachable or ProviderTimeout."""
        while self._idle:
            connection, expiry = self._idle.popitem()  # the one used last, so that the others may expire
            expiry.cancel()
            if connection.reusable:
                return connection
        try:
            async with asyncio.timeout(self._connect_seconds):
                return await self._connected()
        except TimeoutError:
            raise failure(ProviderTimeout, "The connection to the provider was not made in time") from None
        except (OSError, UnicodeError) as error:
            message = f"The connection to the provider failed ({type(error).__name__})"
            raise failure(ProviderUnreachable, message) from None

    def give_back(self, connection: Connection) -> None:
        """Keeps the connection for the next call if its response is complete, else closes it at once."""
        if connection.reusable and len(self._idle) < MAX_IDLE:
            self._idle[connection] = asyncio.get_running_loop().call_later(IDLE_SECONDS, connection.close)
        else:
            connection.close()

    def close(self) -> None:
        """Closes all connections, those in use too."""
        for connection in list(self._open):
            connection.close()

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        self._check(str(address[0]) for *_, address in found)
        first_of_family = {info[0]: info for info in reversed(found)}.values()
        addresses = sorted(dict.fromkeys([*first_of_family, *found]), key=lambda info: info[0] != self._family)
        made = partial(Connection, self._lost)
        tls: dict[str, Any] = {"ssl": self._tls, "server_hostname": self._host} if self._tls else {}
        for number, (family, _, _, _, address) in enumerate(addresses, 1):
            last = number == len(addresses)
            try:
                async with asyncio.timeout(None if last else ADDRESS_SECONDS):
                    _, connection = await loop.create_connection(made, *address[:2], family=family, **tls)
            except (OSError, TimeoutError):
                if last:
                    raise
            else:
                self._family = family
                self._open.add(connection)
                return connection
        raise OSError("the name has no address")

    def _check(self, addresses: Iterable[str]) -> None:
        """Refuses a name of which any address is not allowed: a name of two kinds is a trick. Keys go nowhere else then."""
        for address in addresses:
            reach = reach_of(address)
            if reach not in self._allowed:
                logger.error(
                    "%s leads to %s, which is %s: no connection is made; see allow_private in docs/providers.md",
                    self._host,
                    address,
                    "a public address without TLS" if reach is Reach.PUBLIC else f"no public address ({reach})",
                )
                raise failure(
                    ProviderUnreachable,
                    "The provider's name leads to an address that is not allowed",
                    should_retry=False,
                )

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if expiry := self._idle.pop(connection, None):
            expiry.cancel()


@cache
def tls_context() -> ssl.SSLContext:
    """Trusts the authorities that come with the package and those of the machine. Reading them takes some 50 ms, once."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    return context
