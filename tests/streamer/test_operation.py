"""What follows from a call's declaration: its route, and the errors that its caller can meet."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from models.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    PayloadTooLarge,
    RequestTimeout,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from streamer.operation import Answer, Credential, Endpoint, Operation, routes_of
from streamer.struct_response import StructResponse
from tests.streamer.conftest import client_of


class Said(msgspec.Struct):
    word: str


def saying(word: str) -> Endpoint:
    async def endpoint(_: Request) -> StructResponse:
        return StructResponse(Said(word), 202)

    return endpoint


READ = Operation(
    id="read",
    method="GET",
    path="/thing/{id}",
    endpoint=saying("read"),
    group="Things",
    summary="Read it",
    credentials=[Credential.NONE],
    answers={202: Answer("A word.", Said)},
)
ERASE = replace(READ, id="erase", method="DELETE", endpoint=saying("erased"))
ELSEWHERE = replace(READ, id="elsewhere", path="/elsewhere", endpoint=None)


async def test_calls_that_share_a_path_share_a_route_which_names_all_their_methods() -> None:
    async with client_of(routes_of([READ, ERASE])) as client:
        assert (await client.get("/thing/1")).json() == {"word": "read"}
        assert (await client.delete("/thing/1")).json() == {"word": "erased"}
        head = await client.head("/thing/1")
        assert (head.status_code, head.headers["content-type"]) == (202, "application/json")
        refused = await client.post("/thing/1")

    assert refused.status_code == 405
    assert {each.strip() for each in refused.headers["allow"].split(",")} == {"GET", "HEAD", "DELETE"}


def test_a_call_that_is_answered_elsewhere_has_no_route() -> None:
    assert routes_of([ELSEWHERE]) == []


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({}, set()),
        ({"raises": [NotFound]}, {NotFound}),
        ({"body": Said}, {BadRequest, PayloadTooLarge, RequestTimeout, UnsupportedMediaType}),
        ({"credentials": [Credential.VISITOR]}, {Unauthorized, Unavailable}),
        ({"credentials": [Credential.GRANT]}, {Unauthorized, Unavailable}),
        ({"credentials": [Credential.SESSION_KEY]}, {Unauthorized, Unavailable, Forbidden}),
        ({"credentials": [Credential.NONE, Credential.ADMIN_KEY]}, {Unauthorized, Unavailable, Forbidden}),
    ],
)
def test_errors_follow_from_the_body_and_the_credential(changes: dict[str, Any], errors: set[type]) -> None:
    assert replace(READ, **changes).errors == errors
