"""Visitor tokens: short-lived JWTs (RFC 7519) that say which end user of which tenant speaks.

Header `kid`: the public id of the API key that minted it. Claims: `iss` the tenant's public id, `aud` "ai-chat", `sub` the user,
`roles`, `iat`, `exp`, `jti`. The algorithm is pinned, and each `kid` has a key of its own, derived from the secret.
"""

import hashlib
import re
import time
from collections import OrderedDict
from typing import Annotated, Any

import jwt
import msgspec
from itsdangerous import BadData
from itsdangerous.encoding import base64_decode, base64_encode

from models.api_key import is_public_id
from models.errors import Unauthorized
from models.identifiers import uuid7
from models.secret import Secret

ALGORITHM = "HS256"
AUDIENCE = "ai-chat"

#: Characters of the longest token that is looked at.
MAX_LENGTH = 8192

#: Tokens that are remembered at most; the one read longest ago goes first.
REMEMBERED = 4096

_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

_OPTIONS: Any = {
    "require": ["aud", "exp", "iat", "iss", "jti", "sub"],
    # Another host's clock may be a little ahead: that a token is from the future is no reason to refuse it.
    "verify_iat": False,
}


class VisitorToken(
    msgspec.Struct, frozen=True, kw_only=True, rename={"tenant": "iss", "user": "sub", "expires_at": "exp"}
):
    """What a token says. `expires_at`: Unix seconds."""

    tenant: str
    user: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    expires_at: int
    roles: tuple[str, ...] = ()
    key_id: str = ""


class TokenOffice:
    """Mints visitor tokens and reads them.

    What a genuine one says is remembered until it expires, by the token's hash: each request of a visitor shows the same one.
    """

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._known: OrderedDict[bytes, VisitorToken] = OrderedDict()

    def mint(self, tenant: str, key_id: str, user: str, roles: tuple[str, ...], ttl_seconds: int) -> str:
        """A token for `ttl_seconds` from now."""
        issued = int(time.time())
        claims = {
            "iss": tenant,
            "aud": AUDIENCE,
            "sub": user,
            "roles": list(roles),
            "iat": issued,
            "exp": issued + ttl_seconds,
            "jti": uuid7(),
        }
        return jwt.encode(claims, self._key(key_id), ALGORITHM, headers={"kid": key_id})

    def read(self, token: str) -> VisitorToken:
        """What the token says, its `kid` as `key_id`; whether that API key is still good, and the tenant's, is not looked at.

        Raises Unauthorized, always in the same words, for whatever is not a genuine token of ours that has not expired.
        """
        if len(token) > MAX_LENGTH or not _SHAPE.fullmatch(token):
            raise Unauthorized
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is None or known.expires_at <= time.time():
            known = self._known[digest] = self._read(token)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known

    def _read(self, token: str) -> VisitorToken:
        if not _one_spelling(token):
            raise Unauthorized
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            if not isinstance(key_id, str) or not is_public_id(key_id):
                raise Unauthorized
            claims = jwt.decode(token, self._key(key_id), [ALGORITHM], options=_OPTIONS, audience=AUDIENCE)
            return msgspec.convert({**claims, "key_id": key_id}, VisitorToken)
        except (jwt.PyJWTError, msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
            raise Unauthorized from None

    def _key(self, key_id: str) -> bytes:
        return self._secret.derive(f"visitor-token/{key_id}")


def _one_spelling(token: str) -> bool:
    """Whether the signature's last character has no stray bits, which a decoder would overlook."""
    signature = token.rpartition(".")[2].encode()
    try:
        return base64_encode(base64_decode(signature)) == signature
    except BadData:
        return False
