"""`/admin/status`: a page for everybody, and a stream for whom an admin key let in, which ends when that key does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from peewee import Database

from models.api_key import create_key, public_id_of, revoke_key
from models.secret import Secret
from models.settings import Settings
from streamer import live_keys, status
from tests.streamer.answers import Answer
from tests.streamer.conftest import bearer, client_of
from tests.streamer.eventually import eventually
from tests.streamer.frames import Event
from tests.streamer.web_server import WebServer, web_server

EVENTS = "/admin/status/events"


@pytest.fixture
def admin_key(tenant: Any, secret: Secret) -> str:
    return create_key(tenant.id, "operator", ["admin"], secret=secret)[1]


@pytest.fixture
def quick(live: Settings, database: Database, api_key: str) -> Settings:
    return replace(live, status_seconds=0.05)


@pytest.fixture
async def web(quick: Settings) -> AsyncIterator[WebServer]:
    async with web_server(quick) as web:
        yield web


def cookie(web: WebServer, admin_key: str, ttl_seconds: int = 60) -> dict[str, str]:
    session = web.services.auth._admin_sessions.mint(str(public_id_of(admin_key)), ttl_seconds)
    return {"cookie": f"streamer_admin={session}"}


def after(count: int) -> Callable[[list[Event]], bool]:
    return lambda events: len(events) >= count


async def test_a_stream_tells_what_changes(web: WebServer, admin_key: str, threads: Any, log: Any) -> None:
    async with await web.get(EVENTS, cookie(web, admin_key)) as response:
        assert response.status == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store, no-transform"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        (first,) = await response.events(after(1))
        assert (first.kind, first.id, first.data["answers"]["queued"]) == ("status", None, 0)
        await Answer.queued(web.services.settings, threads, log)
        events = await response.events(lambda found: bool(found) and found[-1].data["answers"]["queued"] == 1)
        assert events[-1].data["checks"] == {"database": "ok", "redis": "ok", "queue": "ok"}
    await eventually(lambda: web.services.board.watchers == 0)


async def test_a_program_watches_with_the_key_itself(web: WebServer, admin_key: str) -> None:
    async with await web.get(EVENTS, bearer(admin_key)) as response:
        assert [event.kind for event in await response.events(after(1))] == ["status"]


@pytest.mark.parametrize("shown", ["{good}; streamer_admin=x", "streamer_admin=x; {good}"])
async def test_a_cookie_that_another_site_of_the_domain_put_beside_is_passed_over(
    web: WebServer, admin_key: str, shown: str
) -> None:
    good = cookie(web, admin_key)["cookie"]
    async with await web.get(EVENTS, {"cookie": shown.format(good=good)}) as response:
        assert response.status == 200


async def test_whoever_else_is_refused(web: WebServer, admin_key: str, api_key: str) -> None:
    good = cookie(web, admin_key)
    for headers, expected in (
        ({}, 401),
        ({"cookie": "streamer_admin=x"}, 401),
        (cookie(web, admin_key, -1), 401),
        (bearer(api_key), 403),
        (good | bearer("sk-x"), 401),
        (good | {"sec-fetch-site": "cross-site"}, 403),
        (good | {"sec-fetch-site": "same-site"}, 403),
    ):
        async with await web.get(EVENTS, headers) as response:
            assert response.status == expected, headers
    assert web.services.board.watchers == 0


async def test_a_stream_ends_with_its_key_and_so_does_the_cookie(
    web: WebServer, admin_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_keys, "REMEMBERED_SECONDS", 0.05)
    held = cookie(web, admin_key)
    async with await web.get(EVENTS, held) as response:
        await response.events(after(1))
        revoke_key(str(public_id_of(admin_key)))
        *_, close = await response.events()
    assert (close.kind, close.data["code"], close.data["reconnect"]) == ("close", "auth_expired", False)
    async with await web.get(EVENTS, held) as response:
        assert response.status == 401


async def test_a_stream_ends_with_its_session(web: WebServer, admin_key: str) -> None:
    async with await web.get(EVENTS, cookie(web, admin_key, 2)) as response:
        *_, close = await response.events()
    assert close.data["code"] == "auth_expired"


async def test_a_drain_says_goodbye_and_the_process_ends(quick: Settings, admin_key: str) -> None:
    async with web_server(replace(quick, status_seconds=60.0, web_drain_seconds=8.0)) as web:
        streams = [await web.get(EVENTS, cookie(web, admin_key)) for _ in range(3)]
        for each in streams:
            await each.events(after(1))
        telling = [asyncio.create_task(each.events()) for each in streams]
    for events in await asyncio.gather(*telling):
        assert [(each.kind, each.data["code"], each.data["reconnect"]) for each in events] == [
            ("close", "draining", True)
        ]
    for each in streams:
        await each.close()


async def test_an_old_stream_is_asked_to_come_back(quick: Settings, admin_key: str) -> None:
    async with (
        web_server(replace(quick, max_stream_seconds=0.1)) as web,
        await web.get(EVENTS, cookie(web, admin_key)) as response,
    ):
        *_, close = await response.events()
    assert (close.data["code"], close.data["reconnect"]) == ("max_age", True)


async def test_no_more_streams_are_open_than_may_be(
    web: WebServer, admin_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "MAX_WATCHERS", 1)
    async with await web.get(EVENTS, cookie(web, admin_key)) as first:
        await first.events(after(1))
        async with await web.get(EVENTS, cookie(web, admin_key)) as second:
            (close,) = await second.events()
        assert (close.data["code"], close.data["reconnect"]) == ("overloaded", True)


async def test_a_silent_stream_says_a_byte_now_and_then(quick: Settings, admin_key: str) -> None:
    async with (
        web_server(replace(quick, status_seconds=60.0, keepalive_seconds=0.1)) as web,
        await web.get(EVENTS, cookie(web, admin_key)) as response,
    ):
        await response.events(after(1))
        assert (await response.chunk()).startswith(b":")


async def test_a_reader_that_stalls_is_cut_with_its_socket(
    quick: Settings, admin_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: list[Any] = []

    async def noting(scope: Any) -> None:
        cut.append(scope["path"])

    async def stalling(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def staying() -> Any:
        return await asyncio.Event().wait()

    async def one() -> AsyncIterator[bytes]:
        yield b":\n\n"

    monkeypatch.setattr(status, "break_off", noting)
    scope = {"type": "http", "method": "GET", "path": EVENTS}
    await status.StatusStream(one(), send_timeout=0.01)(scope, staying, stalling)
    assert cut == [EVENTS]


async def test_a_head_begins_no_stream(web: WebServer, admin_key: str) -> None:
    async with await web.get(EVENTS, cookie(web, admin_key), method="HEAD") as response:
        assert response.status == 200
    assert web.services.board.watchers == 0


async def test_the_page_is_everybodys_and_may_do_little() -> None:
    async with client_of(status.routes) as client:
        page = await client.get("/admin/status")
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["cache-control"] == "no-cache"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        again = await client.get("/admin/status", headers={"if-none-match": page.headers["etag"]})
        assert isinstance(again, httpx.Response)


async def test_a_stream_that_hangs_is_cut_in_the_end(
    quick: Settings, admin_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with web_server(replace(quick, web_drain_seconds=0.2)) as web:
        asked = asyncio.Event()

        async def hanging(_: Any) -> bool:
            asked.set()
            return await asyncio.Event().wait()

        monkeypatch.setattr(web.services.auth, "still_good", hanging)
        response = await web.get(EVENTS, cookie(web, admin_key))
        await asked.wait()
    await response.broken_off()  # the server has ended by now
    await response.close()
    assert web.services.board.watchers == 0
