"""Signed text: what the server says to itself by way of a client, which may read it but not change it."""

import hashlib
import hmac
import re
import time
from typing import Protocol, TypeVar

import itsdangerous
import msgspec

from models.errors import Unauthorized

# Longer text is none of ours.
_SHAPE = re.compile(r"[A-Za-z0-9_.-]{1,4096}")


class Expiring(Protocol):
    """Something that is good until `expires_at`, in Unix seconds."""

    @property
    def expires_at(self) -> float: ...


E = TypeVar("E", bound=Expiring)


class Seal:
    """Seals msgspec structs with HMAC-SHA256 under one key; what one Seal made no other opens."""

    def __init__(self, key: bytes) -> None:
        self._signer = itsdangerous.Signer(key, salt=b"seal", key_derivation="none", digest_method=hashlib.sha256)

    def close(self, content: Expiring) -> str:
        """Url-safe text that holds `content` in the clear."""
        return self._signer.sign(itsdangerous.encoding.base64_encode(msgspec.json.encode(content))).decode()

    def open(self, text: str, type_: type[E]) -> E:
        """What was sealed. Raises Unauthorized, always in the same words, for anything else, and for what has expired."""
        encoded = text.rpartition(".")[0]
        # Signed anew and compared as text: decoding first would take several spellings of a signature's last character.
        if not _SHAPE.fullmatch(text) or not hmac.compare_digest(self._signer.sign(encoded), text.encode()):
            raise Unauthorized
        try:
            content = msgspec.json.decode(itsdangerous.encoding.base64_decode(encoded), type=type_)
        except (itsdangerous.BadData, msgspec.MsgspecError):
            raise Unauthorized from None
        if content.expires_at <= time.time():
            raise Unauthorized
        return content
