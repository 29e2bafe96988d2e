"""`X-Signature`: over time, id and body, by each live secret."""

import hashlib
import hmac

import pytest
from peewee import Database

from models.secret import Secret
from models.signing import rotate, signing_secret
from streamer.signature import Signatures, signature
from tests.models.rows import other_tenant, tenant_id

SECRET = Secret("s" * 40)


def test_it_is_the_hmac_of_time_id_and_the_bodys_digest() -> None:
    digest = hashlib.sha256(b"{}").hexdigest()
    wanted = hmac.new(b"sig-x", f"7.id.{digest}".encode(), hashlib.sha256).hexdigest()

    assert signature(["sig-x"], "id", b"{}", 7) == f"t=7,v1={wanted}"


@pytest.mark.parametrize(("id_", "body", "seconds"), [("other", b"{}", 7), ("id", b"{ }", 7), ("id", b"{}", 8)])
def test_whatever_changes_is_another_signature(id_: str, body: bytes, seconds: int) -> None:
    first = signature(["sig-x"], "id", b"{}", 7).partition(",")[2]

    assert signature(["sig-x"], id_, body, seconds).partition(",")[2] != first


def test_each_live_secret_signs_the_newest_first(database: Database) -> None:
    signer = rotate(tenant_id(), 60.0)
    header = Signatures(SECRET, 60.0).header(tenant_id(), "id", b"{}")

    seconds = int(header.partition(",")[0].removeprefix("t="))
    secrets = [signing_secret(SECRET, signer.tenant, version) for version in (2, 1)]
    assert header == signature(secrets, "id", b"{}", seconds)


def test_a_tenant_signs_with_its_own_secret(database: Database) -> None:
    signatures = Signatures(SECRET, 60.0)
    headers = {signatures.header(each, "id", b"{}") for each in (tenant_id(), tenant_id(other_tenant()))}

    assert len({header.partition(",")[2] for header in headers}) == 2
