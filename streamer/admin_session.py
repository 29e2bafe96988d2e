"""Admin sessions: the cookie for which a browser changes an API key with the scope `admin`, so that it need not keep the key."""

import re
import time
from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from models.errors import Forbidden
from models.secret import Secret
from streamer.seal import Seal

#: The cookie's name.
COOKIE = "streamer_admin"

_SHOWN = re.compile(rf"(?:^|; ?){COOKIE}=([A-Za-z0-9_.-]*)(?=;|$)")


class AdminSession(msgspec.Struct, frozen=True, rename={"expires_at": "e", "key_id": "k"}):
    """Good for what the API key `key_id` may see, while that key is good, until `expires_at`, in Unix seconds."""

    key_id: str
    expires_at: float


class AdminSessionOffice:
    """Seals sessions and reads them."""

    def __init__(self, secret: Secret) -> None:
        self._seal = Seal(secret.derive("admin-session"))

    def mint(self, key_id: str, ttl_seconds: int) -> str:
        """A session under that key, for `ttl_seconds` from now."""
        return self._seal.close(AdminSession(key_id, float(int(time.time()) + ttl_seconds)))

    def read(self, text: str) -> AdminSession:
        """Raises Unauthorized where it is forged or expired. Whether its key is still good is not looked at."""
        return self._seal.open(text, AdminSession)


def keep(response: Response, request: Request, session: str, ttl_seconds: int) -> None:
    """Hands the session to the browser, for the pages beside the address that was called, whatever proxy stands before it.

    Without a path a cookie is for the folder of the call (RFC 6265 §5.1.4): `/admin`, and what a proxy has in front of that. A
    script can't read it, and no other site's page sends it along.
    """
    response.set_cookie(
        COOKIE, session, max_age=ttl_seconds, path=None, secure=_is_https(request), httponly=True, samesite="strict"
    )


def forget(response: Response, request: Request) -> None:
    """Takes the session away from the browser."""
    keep(response, request, "", 0)


def sessions_in(cookies: str) -> list[str]:
    """What a `Cookie` header has under our name, a few at most: a sister domain's page can set one beside ours, before or after."""
    return _SHOWN.findall(cookies)[:8]


def refuse_strangers(headers: Mapping[str, str]) -> None:
    """Raises Forbidden where the browser says that another origin's page makes it call.

    `SameSite` lets pages of sister domains pass (Fetch Metadata: `same-site`); `none` is an address that somebody typed.
    """
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise Forbidden("Another site's page may not call this.")


def _is_https(request: Request) -> bool:
    """Whether the browser speaks TLS, with a proxy or with us: its own word counts, as it harms nobody else."""
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
