"""Request ids, security headers, the access log, and the end of whatever nobody caught."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from models.errors import NotFound
from streamer.middleware import (
    API_POLICY,
    PAGE_POLICY,
    AccessLog,
    RequestIds,
    SecurityHeaders,
    UnexpectedErrors,
    middleware,
)
from streamer.request_id import request_id_of
from tests.streamer.conftest import client_of

CANARY = "my deepest secret"


async def page(request: Request) -> Response:
    return HTMLResponse("<p>hello")


async def data(request: Request) -> Response:
    return JSONResponse({"request_id": request.state.request_id})


async def cached(request: Request) -> Response:
    return JSONResponse({}, headers={"cache-control": "private, no-cache", "referrer-policy": "same-origin"})


async def broken(request: Request) -> Response:
    raise KeyError(CANARY)


async def broken_midway(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"so far"
        raise KeyError(CANARY)

    return StreamingResponse(chunks())


async def gone(request: Request) -> Response:
    raise ClientDisconnect


routes = [
    Route("/", page),
    Route("/ai/v1/data", data, methods=["GET", "POST"]),
    Route("/v1/data", data),
    Route("/ai/v1/cached", cached),
    Route("/ai/v1/broken", broken),
    Route("/ai/v1/midway", broken_midway),
    Route("/ai/v1/gone", gone),
    Route("/x/{rest:path}", data),
]


@pytest.mark.parametrize("given", ["a", "A-z_0.9", "x" * 64, "01920b6e-7c1a-7000-8000-000000000000"])
async def test_a_sane_request_id_is_kept(given: str) -> None:
    async with client_of(routes) as client:
        response = await client.get("/ai/v1/data", headers={"x-request-id": given})

    assert response.headers["x-request-id"] == response.json()["request_id"] == given


@pytest.mark.parametrize(
    "given", [b"", b"x" * 65, b"a b", b"a\tb", b"<script>", b"a,b", b"\xc3\xa9", b"\xff", b"a\n", b"a\r\nx-evil: 1"]
)
async def test_any_other_request_id_is_replaced(given: bytes) -> None:
    scope: dict[str, Any] = {"type": "http", "headers": [(b"x-request-id", given)]}
    made = request_id_of(scope)

    assert made.startswith("req_")
    assert len(made) == 20
    assert made.encode() != given
    assert request_id_of(scope) == made


async def test_every_request_without_an_id_gets_one_of_its_own() -> None:
    async with client_of(routes) as client:
        first, second = await client.get("/ai/v1/data"), await client.get("/ai/v1/data")

    assert first.headers["x-request-id"] == first.json()["request_id"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/", "/ai/v1/data", "/v1/data", "/nowhere", "/ai/v1/broken"])
async def test_every_answer_keeps_browsers_from_guessing_and_telling(path: str) -> None:
    async with client_of(routes) as client:
        response = await client.get(path)

    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert "microphone=()" in response.headers["permissions-policy"]
    assert response.headers.get_list("x-content-type-options") == ["nosniff"]


@pytest.mark.parametrize("path", ["/ai/v1/data", "/v1/data", "/ai/v1/broken", "/ai/v1/nowhere"])
async def test_an_answer_of_the_api_is_kept_by_nobody_and_may_do_nothing(path: str) -> None:
    async with client_of(routes) as client:
        response = await client.get(path)

    assert response.headers.get_list("cache-control") == ["no-store"]
    assert response.headers["content-security-policy"] == API_POLICY


async def test_a_page_loads_from_its_own_site_alone_and_may_be_kept() -> None:
    async with client_of(routes) as client:
        response = await client.get("/")

    assert response.headers["content-security-policy"] == PAGE_POLICY
    assert "default-src 'self'" in PAGE_POLICY
    assert "frame-ancestors" in PAGE_POLICY
    assert "unsafe" not in PAGE_POLICY
    assert "cache-control" not in response.headers


async def test_an_endpoints_own_headers_win() -> None:
    async with client_of(routes) as client:
        response = await client.get("/ai/v1/cached")

    assert response.headers.get_list("cache-control") == ["private, no-cache"]
    assert response.headers.get_list("referrer-policy") == ["same-origin"]


def access_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "streamer.access"]


async def test_a_request_is_one_line_without_query_and_body(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "streamer")
    async with client_of(routes) as client:
        await client.post(
            f"/ai/v1/data?ticket={CANARY}",
            json={"message": CANARY},
            headers={"x-request-id": "r1", "authorization": f"Bearer {CANARY}"},
        )

    (line,) = access_lines(caplog)
    method, path, status, milliseconds, unit, request_id = line.split(" ")
    assert (method, path, status, unit, request_id) == ("POST", "/ai/v1/data", "200", "ms", "r1")
    assert float(milliseconds) >= 0
    assert "deepest" not in line


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/x/a%0ab%0d", "/x/a%0Ab%0D"),
        ("/x/a%20b", "/x/a%20b"),
        ("/x/%1b[31m", "/x/%1B%5B31m"),
        ("/x/%c3%a9", "/x/%C3%A9"),
        ("/x/" + "y" * 500, "/x/" + "y" * 197),
    ],
)
async def test_no_path_can_forge_a_line_of_the_log(path: str, logged: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "streamer")
    async with client_of(routes) as client:
        await client.get(path)

    (line,) = access_lines(caplog)
    assert line.split(" ")[1] == logged


async def test_refused_and_failed_requests_are_logged_with_their_status(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "streamer")
    async with client_of(routes) as client:
        await client.get("/nowhere")
        await client.get("/ai/v1/broken")

    assert [line.split(" ")[2] for line in access_lines(caplog)] == ["404", "500"]


class Sent:
    """What an application sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)


def scope_of(path: str = "/ai/v1/data") -> Scope:
    return {"type": "http", "method": "GET", "path": path, "headers": [], "state": {}}


async def no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def test_an_answer_that_breaks_off_is_not_completed_nor_raised_to_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        raise KeyError(CANARY)

    sent = Sent()
    await UnexpectedErrors(breaks)(scope_of(), no_body, sent)

    assert [message["type"] for message in sent.messages] == ["http.response.start", "http.response.body"]
    assert "KeyError at streamer/test_middleware.py:" in caplog.text
    assert "deepest" not in caplog.text


async def test_an_app_that_breaks_off_does_not_raise_to_the_server(caplog: pytest.LogCaptureFixture) -> None:
    async with client_of(routes) as client:
        with pytest.raises(AssertionError):  # httpx's own: the answer was not completed
            await client.get("/ai/v1/midway")

    assert "deepest" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_an_expected_error_that_nobody_else_caught_is_answered_and_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def misses(scope: Scope, receive: Receive, send: Send) -> None:
        raise NotFound

    sent = Sent()
    await UnexpectedErrors(misses)(scope_of(), no_body, sent)

    assert sent.messages[0]["status"] == 404
    assert caplog.records == []


async def test_a_caller_who_hung_up_is_neither_answered_nor_logged_as_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def hangs_up(scope: Scope, receive: Receive, send: Send) -> None:
        raise ClientDisconnect

    sent = Sent()
    caplog.set_level(logging.INFO, "streamer")
    await AccessLog(UnexpectedErrors(hangs_up))(scope_of(), no_body, sent)

    assert sent.messages == []
    (line,) = [record.message for record in caplog.records]
    assert line.split(" ")[2] == "0"


async def test_a_request_that_is_cancelled_is_logged_and_stays_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    begun = asyncio.Event()

    async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.Event().wait()

    caplog.set_level(logging.INFO, "streamer")
    task = asyncio.create_task(AccessLog(UnexpectedErrors(hangs))(scope_of(), no_body, Sent()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(access_lines(caplog)) == 1


@pytest.mark.parametrize("kind", [RequestIds, AccessLog, SecurityHeaders, UnexpectedErrors])
@pytest.mark.parametrize("type_", ["lifespan", "websocket"])
async def test_what_is_no_http_request_passes_untouched(kind: Any, type_: str) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await send({"type": f"{type_}.x"})

    sent = Sent()
    await kind(app)({"type": type_}, no_body, sent)

    assert seen == [{"type": type_}]
    assert sent.messages == [{"type": f"{type_}.x"}]


def test_the_ids_come_first_and_errors_end_before_they_leave() -> None:
    kinds: list[Any] = [each.cls for each in middleware]

    assert kinds == [RequestIds, AccessLog, SecurityHeaders, UnexpectedErrors]
