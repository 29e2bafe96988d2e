"""`GET /ai/v1/chat/{id}/events` through the real application and the real server, to the byte."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from peewee import Database

from models.api_key import public_id_of, revoke_key
from models.database_threads import DatabaseThreads
from models.errors import Unavailable
from models.event_log import EventLog
from models.settings import Settings
from streamer import event_stream
from streamer.auth import Authenticator, Server
from streamer.channel import WRITE_BYTES
from streamer.logging_setup import OURS
from tests.streamer.answers import Answer
from tests.streamer.conftest import bearer
from tests.streamer.eventually import eventually
from tests.streamer.frames import ids, parse, shown
from tests.streamer.web_server import WebServer, web_server


@pytest.fixture
async def web(live: Settings, database: Database, api_key: str) -> AsyncIterator[WebServer]:
    async with web_server(live) as web:
        yield web


@pytest.fixture
async def server(auth: Authenticator, api_key: str) -> Server:
    return await auth.server(bearer(api_key))


@pytest.fixture
def token_of(auth: Authenticator, server: Server) -> Callable[..., dict[str, str]]:
    """The header that a visitor shows."""

    def header(user: str = "u1", ttl_seconds: int = 900) -> dict[str, str]:
        return bearer(auth.mint_token(server, user, (), ttl_seconds)[0])

    return header


@pytest.fixture
def visitor(token_of: Callable[..., dict[str, str]]) -> dict[str, str]:
    return token_of()


@pytest.fixture
async def answer(live: Settings, threads: DatabaseThreads, log: EventLog) -> Answer:
    return await Answer.begun(live, threads, log)


def events_of(answer: Answer) -> str:
    return f"/ai/v1/chat/{answer.id}/events"


# What is streamed


async def test_a_stream_opens_at_once_and_follows_to_the_end(
    web: WebServer, visitor: dict[str, str], answer: Answer
) -> None:
    async with await web.get(events_of(answer), visitor) as stream:
        assert stream.status == 200
        assert await stream.chunk() == b"retry: 1000\n:\n\n"
        await answer.say("a", "b")
        await answer.finish()
        events = await stream.events()

    assert ids(events) == ["1-0", "1-1", "1-2", "1-3"]
    assert shown(events) == "ab"
    assert events[-1].data["length"] == 2


async def test_the_head_keeps_every_proxy_and_cache_off(
    web: WebServer, visitor: dict[str, str], answer: Answer
) -> None:
    async with await web.get(events_of(answer), visitor | {"x-request-id": "mine"}) as stream:
        told = stream.headers

    assert told["content-type"] == "text/event-stream; charset=utf-8"
    assert told["cache-control"] == "no-store, no-transform"
    assert told["x-accel-buffering"] == "no"
    assert told["x-content-type-options"] == "nosniff"
    assert told["referrer-policy"] == "no-referrer"
    assert told["x-request-id"] == "mine"
    assert "content-length" not in told
    assert "server" not in told


async def test_one_that_waits_in_the_queue_is_told_so(
    web: WebServer, visitor: dict[str, str], live: Settings, threads: DatabaseThreads, log: EventLog
) -> None:
    answer = await Answer.queued(live, threads, log)
    async with await web.get(events_of(answer), visitor) as stream:
        (queued,) = await stream.events(bool)
        assert (queued.id, queued.kind, queued.data) == (None, "queued", {"position": 1})
        await answer.begin()
        await answer.finish()
        assert [event.kind for event in await stream.events()] == ["started", "done"]


async def test_one_that_waits_is_followed_though_nobody_knows_its_place(
    web: WebServer,
    visitor: dict[str, str],
    live: Settings,
    threads: DatabaseThreads,
    log: EventLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(_: object) -> int:
        raise Unavailable("The database is away.")

    monkeypatch.setattr(event_stream, "position", away)
    answer = await Answer.queued(live, threads, log)
    async with await web.get(events_of(answer), visitor) as stream:
        (queued,) = await stream.events(bool)
        assert (queued.kind, queued.data) == ("queued", {})


async def test_an_ended_answer_is_told_whole_and_over(
    web: WebServer, visitor: dict[str, str], answer: Answer, log: EventLog
) -> None:
    await answer.say("abc")
    row = await answer.finish()
    for log_is in ("there", "gone"):
        if log_is == "gone":
            await log.delete(answer.id)
        async with await web.get(events_of(answer), visitor) as stream:
            events = await stream.events()
        assert shown(events) == "abc"
        assert ids(events)[-1] == row.terminal_id
        assert ids(events)[0] == ("1-0" if log_is == "there" else "0-0")


async def test_a_stream_of_much_text_comes_in_whole_frames(
    web: WebServer, visitor: dict[str, str], answer: Answer
) -> None:
    for _ in range(30):
        await answer.say("y" * 20_000)
    await answer.say("z" * 300_000)
    await answer.finish()
    async with await web.get(events_of(answer), visitor) as stream:
        writes = []
        while data := await stream.chunk():
            writes.append(data)

    assert shown(parse(b"".join(writes))) == answer.text
    assert max(map(len, writes)) == WRITE_BYTES
    cut = [data for data in writes if not data.endswith(b"\n\n")]
    assert len(cut) == 300_000 // WRITE_BYTES, "a frame was cut beside the one that is larger than a write"


# Cursors


async def test_a_client_resumes_after_the_last_id_it_saw(
    web: WebServer, visitor: dict[str, str], answer: Answer
) -> None:
    await answer.say("a", "b", "c")
    await answer.finish()
    cases: list[tuple[str, dict[str, str], list[int]]] = [
        ("", {"last-event-id": "1-2"}, [3, 4]),
        ("?after=1-2", {}, [3, 4]),
        ("?after=1-0", {"last-event-id": "1-3"}, [4]),
        ("?after=1-3", {"last-event-id": "1-0"}, [1, 2, 3, 4]),
        ("?after=1-3", {"last-event-id": "garbage"}, [0, 1, 2, 3, 4]),
        ("?after=1-3", {"last-event-id": ""}, [0, 1, 2, 3, 4]),
        ("?after=", {}, [0, 1, 2, 3, 4]),
        ("?after=%00", {}, [0, 1, 2, 3, 4]),
        ("?after=1-2%0D%0Aevent:%20done", {}, [0, 1, 2, 3, 4]),
        ("?after=" + "9" * 5_000, {}, [0, 1, 2, 3, 4]),
        ("", {"last-event-id": "x" * 10_000}, [0, 1, 2, 3, 4]),
        ("", {"last-event-id": "1-2\xff"}, [0, 1, 2, 3, 4]),
        ("", {"last-event-id": "0-0"}, [0, 1, 2, 3, 4]),
        ("?other=1&after=1-3", {}, [4]),
    ]
    for query, headers, expected in cases:
        async with await web.get(events_of(answer) + query, visitor | headers) as stream:
            assert stream.status == 200, (query, headers)
            assert ids(await stream.events()) == [f"1-{seq}" for seq in expected], (query, headers)


async def test_a_cursor_beyond_a_running_log_is_told_everything(
    web: WebServer, visitor: dict[str, str], answer: Answer
) -> None:
    await answer.say("a")
    async with await web.get(events_of(answer), visitor | {"last-event-id": "7-7"}) as stream:
        await answer.finish()
        assert ids(await stream.events()) == ["1-0", "1-1", "1-2"]


async def test_a_client_that_has_seen_the_end_is_sent_away_for_good(
    web: WebServer, visitor: dict[str, str], answer: Answer, log: EventLog
) -> None:
    await answer.say("a")
    row = await answer.finish()
    assert row.terminal_id == "1-2"
    await log.delete(answer.id)
    for query, headers in (
        ("", {"last-event-id": "1-2"}),
        ("?after=1-2", {}),
        ("", {"last-event-id": "1-3"}),
        ("", {"last-event-id": "2-0"}),
        ("", {"last-event-id": "999999999-999999999"}),
    ):
        async with await web.get(events_of(answer) + query, visitor | headers) as response:
            assert response.status == 204
            assert "content-type" not in response.headers
            assert response.headers["cache-control"] == "no-store"
            assert await response.body() == b""


# Who may


async def test_who_shows_no_good_credential_is_refused_in_one_way(
    web: WebServer,
    auth: Authenticator,
    server: Server,
    token_of: Callable[..., dict[str, str]],
    live: Settings,
    threads: DatabaseThreads,
    log: EventLog,
    answer: Answer,
    api_key: str,
) -> None:
    other = await Answer.begun(live, threads, log)
    ticket = auth.mint_ticket(await answer.row(), server.key_id)
    foreign = auth.mint_ticket(await other.row(), server.key_id)
    expired = token_of(ttl_seconds=-5)
    told = set()
    for query, headers in (
        ("", {}),
        ("", bearer("garbage")),
        ("", bearer(api_key)),
        ("", expired),
        ("", bearer(ticket)),
        ("?ticket=", {}),
        ("?ticket=garbage", {}),
        ("?ticket=" + foreign, {}),
        ("?ticket=" + ticket[:-1], {}),
        ("?ticket=" + ticket + "x", {}),
        ("?ticket=" + "x" * 20_000, {}),
        ("?ticket=%ff%00", {}),
        ("?ticket=" + ticket, bearer("garbage")),
        ("?Ticket=" + ticket, {}),
    ):
        async with await web.get(events_of(answer) + query, headers | {"x-request-id": "r"}) as response:
            assert response.status == 401, (query, headers)
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.headers["referrer-policy"] == "no-referrer"
            told.add(await response.body())

    assert len(told) == 1
    assert json.loads(told.pop())["error"] == "unauthorized"
    assert (web.hub.viewers, web.hub.channels) == (0, 0)


async def test_a_ticket_reads_its_own_stream(
    web: WebServer, auth: Authenticator, server: Server, answer: Answer
) -> None:
    ticket = auth.mint_ticket(await answer.row(), server.key_id)
    await answer.finish()
    for headers in ({}, {"authorization": "Basic dTpw"}):
        async with await web.get(f"{events_of(answer)}?ticket={ticket}", headers) as stream:
            assert ids(await stream.events()) == ["1-0", "1-1"]


async def test_a_strangers_id_and_one_that_is_none_are_answered_alike(
    web: WebServer, token_of: Callable[..., dict[str, str]], visitor: dict[str, str], answer: Answer
) -> None:
    told = set()
    for target, headers in (
        (events_of(answer), token_of("u2")),
        ("/ai/v1/chat/019c0000-0000-7000-8000-000000000000/events", visitor),
        ("/ai/v1/chat/x/events", visitor),
        ("/ai/v1/chat/%00/events", visitor),
        ("/ai/v1/chat/%ff%fe/events", visitor),
        ("/ai/v1/chat/'%20OR%201=1/events", visitor),
        (f"/ai/v1/chat/{'x' * 64}/events", visitor),
        (f"/ai/v1/chat/{'x' * 5000}/events", visitor),
    ):
        async with await web.get(target, headers | {"x-request-id": "r"}) as response:
            assert response.status == 404, target
            told.add(await response.body())

    assert len(told) == 1
    assert json.loads(told.pop())["error"] == "not_found"


async def test_other_methods_are_told_which_one_there_is(
    web: WebServer, visitor: dict[str, str], answer: Answer
) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"):
        async with await web.get(events_of(answer), visitor | {"content-length": "0"}, method=method) as response:
            assert response.status == 405, method
            assert response.headers["allow"] == "GET"
            if method != "HEAD":
                assert json.loads(await response.body())["error"] == "method_not_allowed"


async def test_a_database_that_is_away_is_a_503_that_says_when_to_come_back(
    web: WebServer, visitor: dict[str, str], answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable

    monkeypatch.setattr(DatabaseThreads, "run", away)
    async with await web.get(events_of(answer), visitor) as response:
        assert response.status == 503
        assert response.headers["retry-after"] == "2"


async def test_a_defect_is_a_500_that_tells_nothing(
    web: WebServer,
    visitor: dict[str, str],
    answer: Answer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr(event_stream, "find_owned", broken)
    async with await web.get(events_of(answer), visitor) as response:
        assert response.status == 500
        body = await response.body()
    assert json.loads(body)["error"] == "internal"
    assert b"canary" not in body
    assert "canary" not in caplog.text
    assert "RuntimeError" in caplog.text


async def test_a_defect_in_mid_stream_breaks_the_stream_off_and_frees_everything(
    web: WebServer,
    visitor: dict[str, str],
    answer: Answer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with await web.get(events_of(answer), visitor) as stream:
        await stream.events(bool)
        monkeypatch.setattr("streamer.channel.Viewer.take", lambda _: 1 / 0)
        await answer.say("a")
        await stream.broken_off()
    await eventually(lambda: (web.hub.viewers, web.hub.channels) == (0, 0))
    assert "ZeroDivisionError" in caplog.text
    assert "Traceback" not in caplog.text


async def test_the_log_has_a_line_a_stream_and_no_ticket(
    web: WebServer, auth: Authenticator, server: Server, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    for name in OURS:  # the level of all others is WARNING in the product
        caplog.set_level("DEBUG", name)
    ticket = auth.mint_ticket(await answer.row(), server.key_id)
    await answer.say("canary text")
    await answer.finish()
    async with await web.get(f"{events_of(answer)}?ticket={ticket}", {"x-request-id": "mine"}) as stream:
        await stream.body()
    await eventually(lambda: "mine" in caplog.text)

    (line,) = [record.getMessage() for record in caplog.records if record.name == "streamer.access"]
    assert line.startswith(f"GET {events_of(answer)} 200 ")
    told = [record.getMessage() for record in caplog.records if record.name.startswith(OURS)]
    assert not any(ticket[-20:] in each or "canary" in each for each in told)


# Silence, ends of credentials, load


async def test_a_silent_stream_gets_a_byte_now_and_then(
    live: Settings, visitor: dict[str, str], answer: Answer
) -> None:
    async with (
        web_server(replace(live, keepalive_seconds=0.2)) as web,
        await web.get(events_of(answer), visitor) as stream,
    ):
        assert ids(await stream.events(bool)) == ["1-0"]
        began = time.monotonic()
        for _ in range(3):
            assert await stream.chunk() == b":\n\n"
        assert time.monotonic() - began > 0.3
        await answer.say("a")
        assert ids(await stream.events(bool)) == ["1-1"]


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials are looked at more often."""
    monkeypatch.setattr(event_stream, "CREDENTIAL_SECONDS", 0.1)
    monkeypatch.setattr("streamer.live_keys.REMEMBERED_SECONDS", 0.1)


async def test_a_stream_ends_with_its_credential_and_goes_on_with_a_fresh_one(
    web: WebServer, token_of: Callable[..., dict[str, str]], answer: Answer
) -> None:
    await answer.say("a")
    began = time.monotonic()
    async with await web.get(events_of(answer), token_of(ttl_seconds=2)) as stream:
        events = await stream.events()
    close = events[-1]
    assert (close.id, close.kind) == (None, "close")
    assert close.data["code"] == "auth_expired"
    assert close.data["reconnect"] is False
    assert time.monotonic() - began < 10

    await answer.say("b")
    await answer.finish()
    async with await web.get(events_of(answer), token_of() | {"last-event-id": ids(events)[-1]}) as stream:
        assert ids(await stream.events()) == ["1-2", "1-3"]


@pytest.mark.usefixtures("watchful")
async def test_a_revoked_key_closes_what_it_opened(
    web: WebServer, visitor: dict[str, str], answer: Answer, threads: DatabaseThreads, api_key: str
) -> None:
    async with await web.get(events_of(answer), visitor) as stream:
        await stream.events(bool)
        await threads.run(revoke_key, public_id_of(api_key) or "")
        (close,) = await stream.events()
        assert close.data["code"] == "auth_expired"
    await answer.say("goes on")
    assert (await answer.row()).status == "running"


@pytest.mark.usefixtures("watchful")
async def test_who_lost_the_right_to_read_is_not_sent_the_rest_of_a_long_answer(
    web: WebServer, visitor: dict[str, str], answer: Answer, threads: DatabaseThreads, api_key: str
) -> None:
    async with await web.get(events_of(answer), visitor) as stream:
        await stream.events(bool)
        stream.stop_reading()
        for _ in range(40):
            await answer.say("x" * 200_000)
        (viewer,) = web.hub._all_viewers()
        await eventually(lambda: viewer.channel.tail == answer.last)
        await threads.run(revoke_key, public_id_of(api_key) or "")
        await eventually(lambda: viewer.closing is not None)
        stream._writer.transport.resume_reading()  # type: ignore[attr-defined]
        events = await stream.events()

    assert events[-1].data == {"code": "auth_expired", "reconnect": False, "retry_ms": events[-1].data["retry_ms"]}
    assert len(events) < 40


async def test_one_too_many_is_told_to_come_back_before_anything_is_read(
    live: Settings, visitor: dict[str, str], answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with web_server(replace(live, max_viewers=2)) as web:
        streams = [await web.get(events_of(answer), visitor) for _ in range(2)]
        for stream in streams:
            await stream.events(bool)

        async def asked(*_: Any, **__: Any) -> None:
            pytest.fail("the database was asked")

        with monkeypatch.context() as patch:
            patch.setattr(web.services.threads, "run", asked)
            retries = set()
            for headers in (visitor, {}):
                async with await web.get(events_of(answer), headers) as refused:
                    assert refused.status == 200
                    data = await refused.body()
                    (close,) = parse(data)
                    assert (close.id, close.kind) == (None, "close")
                    assert (close.data["code"], close.data["reconnect"]) == ("overloaded", True)
                    assert data.startswith(b"retry: %d\n" % close.data["retry_ms"])
                    assert 2000 <= close.data["retry_ms"] <= 4000
                    retries.add(close.data["retry_ms"])
            assert len(retries) == 2  # jittered

        await streams[0].close()
        await eventually(lambda: web.hub.viewers == 1)
        async with await web.get(events_of(answer), visitor) as stream:
            assert ids(await stream.events(bool)) == ["1-0"]
        await streams[1].close()


async def test_however_many_come_at_once_no_more_are_let_in_than_may_be(
    live: Settings, visitor: dict[str, str], answer: Answer
) -> None:
    async with web_server(replace(live, max_viewers=5)) as web:
        streams = await asyncio.gather(*(web.get(events_of(answer), visitor) for _ in range(30)))
        firsts = [(await stream.events(bool))[0] for stream in streams]
        assert [event.kind for event in firsts].count("started") == 5
        assert [event.kind for event in firsts].count("close") == 25
        for stream in streams:
            await stream.close()
        await eventually(lambda: web.hub.viewers == 0)


# Leaving


async def test_a_viewer_that_leaves_frees_everything_and_alters_nothing(
    web: WebServer, visitor: dict[str, str], answer: Answer, log: EventLog
) -> None:
    tasks = len(asyncio.all_tasks())
    streams = [await web.get(events_of(answer), visitor) for _ in range(10)]
    for stream in streams:
        await stream.events(bool)
    assert web.hub.viewers == 10
    for stream in streams:
        await stream.close()

    await eventually(lambda: (web.hub.viewers, web.hub.channels) == (0, 0))
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
    await answer.say("goes on")
    await answer.finish()
    async with await web.get(events_of(answer), visitor) as stream:
        assert shown(await stream.events()) == "goes on"

    async def unsubscribed() -> bool:
        client: Any = log.client
        return not await client.pubsub_channels("events:*")

    await eventually(unsubscribed)


async def test_a_reader_that_stalls_is_cut_and_can_resume(
    live: Settings, visitor: dict[str, str], answer: Answer
) -> None:
    async with web_server(replace(live, send_timeout_seconds=1.0)) as web:
        async with await web.get(events_of(answer), visitor) as stream:
            (first,) = await stream.events(bool)
            stream.stop_reading()
            for _ in range(60):
                await answer.say("x" * 100_000)
            await eventually(lambda: web.hub.viewers == 0, 8)
            await eventually(lambda: not web.server.server_state.connections, 8)
            assert first.id is not None
        await answer.finish()
        async with await web.get(events_of(answer), visitor | {"last-event-id": first.id}) as stream:
            events = await stream.events()
        assert shown(events) == answer.text
        assert len(events) == 61


async def test_the_others_are_on_time_while_one_stalls(web: WebServer, visitor: dict[str, str], answer: Answer) -> None:
    async with await web.get(events_of(answer), visitor) as slow, await web.get(events_of(answer), visitor) as quick:
        await slow.events(bool)
        await quick.events(bool)
        slow.stop_reading()
        for _ in range(60):
            await answer.say("x" * 100_000)
            assert len(await quick.events(bool)) == 1
    await eventually(lambda: web.hub.viewers == 0)


async def test_a_drain_closes_every_stream_and_turns_new_ones_away(
    web: WebServer, visitor: dict[str, str], answer: Answer
) -> None:
    async with await web.get(events_of(answer), visitor) as stream:
        await stream.events(bool)
        web.hub.drain()
        (close,) = await stream.events()
    assert (close.data["code"], close.data["reconnect"]) == ("draining", True)
    async with await web.get(events_of(answer), visitor) as stream:
        (close,) = await stream.events()
    assert close.data["code"] == "draining"


async def test_an_old_connection_is_asked_to_come_back_and_loses_nothing(
    live: Settings, visitor: dict[str, str], answer: Answer
) -> None:
    async with web_server(replace(live, max_stream_seconds=0.5, idle_check_seconds=0.2)) as web:
        async with await web.get(events_of(answer), visitor) as stream:
            await answer.say("a")
            *events, close = await stream.events()
        assert (close.data["code"], close.data["reconnect"]) == ("max_age", True)
        await answer.say("b")
        await answer.finish()
        async with await web.get(events_of(answer), visitor | {"last-event-id": events[-1].id or ""}) as stream:
            events += await stream.events()
    assert shown(events) == "ab"


async def test_a_stop_lets_viewers_go_and_cuts_those_that_stall(
    live: Settings, visitor: dict[str, str], answer: Answer
) -> None:
    async with web_server(live) as web:
        listening = await web.get(events_of(answer), visitor)
        stalled = await web.get(events_of(answer), visitor)
        for stream in (listening, stalled):
            await stream.events(bool)
        stalled.stop_reading()
        for _ in range(60):
            await answer.say("x" * 100_000)
        draining = asyncio.create_task(listening.events())
        began = time.monotonic()
    assert time.monotonic() - began < 5
    events = await draining
    assert events[-1].data["code"] == "draining"
    for stream in (listening, stalled):
        await stream.close()
