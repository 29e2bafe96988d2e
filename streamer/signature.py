"""`X-Signature`: by which a caller knows that a result came from here, as it was sent, and when."""

import hashlib
import hmac
import time

from models.secret import Secret
from models.signing import Signer, find_signer

HEADER = "x-signature"


class Signatures:
    """Signs with the tenants' secrets."""

    def __init__(self, secret: Secret, overlap_seconds: float) -> None:
        self._secret = secret
        self._overlap_seconds = overlap_seconds

    def header(self, tenant_id: int, generation_id: str, body: bytes) -> str:
        """The header's value for `body`, with a signature by each live secret. It reads the database."""
        signer: Signer = find_signer(tenant_id, self._overlap_seconds)
        return signature(signer.secrets(self._secret), generation_id, body, int(time.time()))


def signature(secrets: list[str], generation_id: str, body: bytes, seconds: int) -> str:
    """`t=<Unix seconds>,v1=<hex>`, with a `v1` for each secret.

    Each is HMAC-SHA256, under the secret's bytes, of `<t>.<id>.<SHA-256 of the body, in hex>`.
    """
    said = f"{seconds}.{generation_id}.{hashlib.sha256(body).hexdigest()}".encode()
    each = [f"v1={hmac.new(secret.encode(), said, hashlib.sha256).hexdigest()}" for secret in secrets]
    return ",".join([f"t={seconds}", *each])
