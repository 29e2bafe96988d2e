"""Signing secrets: one per tenant and version, two live while a rotation goes on."""

import pytest

from models.secret import Secret
from models.signing import find_signer, rotate, signing_secret
from tests.models.rows import other_tenant, pass_seconds, tenant_id

pytestmark = pytest.mark.usefixtures("database")

SECRET = Secret("s" * 40)


def test_each_tenant_version_and_installation_has_a_secret_of_its_own() -> None:
    found = {
        signing_secret(SECRET, "ten_a", 1),
        signing_secret(SECRET, "ten_a", 2),
        signing_secret(SECRET, "ten_b", 1),
        signing_secret(Secret("t" * 40), "ten_a", 1),
    }

    assert len(found) == 4
    assert all(len(each) == 47 and each.startswith("sig-") for each in found)


def test_the_first_version_signs_alone() -> None:
    assert find_signer(tenant_id(), 60.0).versions == (1,)


def test_two_versions_sign_until_the_overlap_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rotate(tenant_id(), 60.0).versions == (2, 1)

    pass_seconds(monkeypatch, 59.0)
    assert find_signer(tenant_id(), 60.0).versions == (2, 1)
    pass_seconds(monkeypatch, 2.0)
    assert find_signer(tenant_id(), 60.0).versions == (2,)


def test_a_second_rotation_ends_the_oldest_version() -> None:
    rotate(tenant_id(), 60.0)

    assert rotate(tenant_id(), 60.0).versions == (3, 2)


def test_a_rotation_is_one_tenants_alone() -> None:
    other = tenant_id(other_tenant())
    rotate(other, 60.0)

    assert find_signer(tenant_id(), 60.0).versions == (1,)
