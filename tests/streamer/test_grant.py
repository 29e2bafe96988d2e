"""Grants: minted under the API key in the data folder, good for a time."""

import time

import pytest

from models.api_key import public_id_of
from models.errors import SettingInvalid, Unauthorized
from models.secret import Secret
from models.settings import Settings
from streamer.grant import GrantOffice
from streamer.stream_ticket import StreamTicket


def test_a_grant_is_tied_to_the_first_api_key(settings: Settings, secret: Secret, api_key: str) -> None:
    office = GrantOffice(settings, secret)
    found = office.read(office.mint())

    assert found.key_id == public_id_of(api_key)
    assert abs(found.expires_at - time.time() - settings.grant_seconds) < 5


def test_a_grant_holds_nothing_of_the_key_but_its_public_id(settings: Settings, secret: Secret, api_key: str) -> None:
    assert api_key.split("-", 2)[2] not in repr(
        GrantOffice(settings, secret).read(GrantOffice(settings, secret).mint())
    )


def test_an_expired_grant_is_refused(secret: Secret, settings: Settings, api_key: str) -> None:
    office = GrantOffice(Settings(data=settings.data, grant_seconds=-1), secret)

    with pytest.raises(Unauthorized):
        office.read(office.mint())


def test_a_grant_is_no_ticket(settings: Settings, secret: Secret, api_key: str) -> None:
    office = GrantOffice(settings, secret)
    with pytest.raises(Unauthorized):
        office._seal.open(office.mint(), StreamTicket)


@pytest.mark.parametrize("content", [None, b"", b"key_0123456789abcdef", b"sk-x", b"\xff\xfe"])
def test_without_an_api_key_in_the_data_folder_no_grant_is_minted(
    settings: Settings, secret: Secret, content: bytes | None
) -> None:
    if content is not None:
        (settings.data_path / "api_key").write_bytes(content)

    with pytest.raises(SettingInvalid, match="api_key holds no API key"):
        GrantOffice(settings, secret).mint()
