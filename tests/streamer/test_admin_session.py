"""Admin sessions: sealed under a key of their own, in a cookie that goes to the admin pages alone."""

import time

import pytest
from starlette.requests import Request
from starlette.responses import Response

from models.errors import Forbidden, Unauthorized
from models.secret import Secret
from models.settings import Settings
from streamer.admin_session import AdminSessionOffice, forget, keep, refuse_strangers
from streamer.grant import Grant, GrantOffice

KEY_ID = "key_0123456789abcdef"


def request(scheme: str = "http", origin: str = "") -> Request:
    headers = [(b"host", b"x")] + ([(b"origin", origin.encode())] if origin else [])
    return Request(
        {"type": "http", "scheme": scheme, "path": "/admin/session", "query_string": b"", "headers": headers}
    )


def test_a_session_says_whose_it_is_and_until_when(secret: Secret) -> None:
    office = AdminSessionOffice(secret)
    found = office.read(office.mint(KEY_ID, 60))

    assert found.key_id == KEY_ID
    assert abs(found.expires_at - time.time() - 60) < 5


@pytest.mark.parametrize("text", ["", "x", "a.b", "é", "x" * 10_000])
def test_whatever_else_is_refused(secret: Secret, text: str) -> None:
    with pytest.raises(Unauthorized):
        AdminSessionOffice(secret).read(text)


def test_an_expired_a_changed_and_a_foreign_session_are_refused(
    secret: Secret, settings: Settings, api_key: str
) -> None:
    office = AdminSessionOffice(secret)
    good = office.mint(KEY_ID, 60)
    grants = GrantOffice(settings, secret)

    for text in (office.mint(KEY_ID, -1), good[:-1], "A" + good, AdminSessionOffice(Secret("t" * 40)).mint(KEY_ID, 60)):
        with pytest.raises(Unauthorized):
            office.read(text)
    with pytest.raises(Unauthorized):
        office.read(grants.mint())
    with pytest.raises(Unauthorized):
        grants._seal.open(good, Grant)


@pytest.mark.parametrize(
    ("asked", "secure"),
    [
        (request(), False),
        (request(origin="http://x"), False),
        (request("https"), True),
        (request(origin="https://chat.example.org"), True),
    ],
)
def test_no_script_reads_the_cookie_and_no_other_site_sends_it(asked: Request, secure: bool) -> None:
    kept, forgotten = Response(), Response()
    keep(kept, asked, "session", 60)
    forget(forgotten, asked)

    words = "HttpOnly; Max-Age={}; SameSite=strict" + ("; Secure" if secure else "")
    assert kept.headers["set-cookie"] == "streamer_admin=session; " + words.format(60)
    assert forgotten.headers["set-cookie"] == 'streamer_admin=""; ' + words.format(0)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "garbage", ""])
def test_another_origins_page_is_refused(site: str) -> None:
    with pytest.raises(Forbidden):
        refuse_strangers({"sec-fetch-site": site})


@pytest.mark.parametrize("headers", [{}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}])
def test_our_own_page_and_who_is_no_browser_pass(headers: dict[str, str]) -> None:
    refuse_strangers(headers)
