"""The OpenAPI document: it says what the declarations say, once each, and every reference in it leads somewhere."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

import jsonschema_rs
import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType

from models.errors import BadRequest, ConversationBusy, NotFound, RateLimited
from models.event import Kind, Queued
from streamer.app import papers
from streamer.openapi import document
from streamer.operation import Answer, Credential, Operation, Parameter


class Made(msgspec.Struct, frozen=True):
    """A thing that was made.

    It is new.
    """

    id: str
    colour: Literal["red", "blue"]
    note: str | UnsetType = UNSET


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, Meta(ge=1, le=9, description="How large.")]


MAKE = Operation(
    id="make",
    method="POST",
    path="/things",
    endpoint=None,
    group="Things",
    summary="Make one",
    parameters=[Parameter(name="X-Hurry", place="header", description="Whether it is urgent.", type=bool)],
    body=Wish,
    answers={
        201: Answer("It is made.", Made, [Parameter(name="Location", place="header", description="Where it is.")])
    },
    raises=[ConversationBusy, RateLimited],
)
LOOK = Operation(
    id="look",
    method="GET",
    path="/things",
    endpoint=None,
    group="Things",
    summary="Look at them",
    credentials=[Credential.NONE, Credential.ADMIN_KEY],
    answers={200: Answer("As they come.", "text/event-stream", events={Kind.QUEUED: Queued}, example=": hello")},
    raises=[NotFound],
)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def at(whole: Any, reference: str) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        whole = whole[step]
    return whole


def test_a_call_is_described_by_its_types() -> None:
    made = document([MAKE, LOOK])
    call = made["paths"]["/things"]["post"]

    assert call["operationId"] == "make"
    assert call["security"] == [{"visitor": []}]
    assert call["parameters"] == [
        {
            "name": "X-Hurry",
            "in": "header",
            "required": False,
            "description": "Whether it is urgent.",
            "schema": {"type": "boolean"},
        }
    ]
    wish = at(made, call["requestBody"]["content"]["application/json"]["schema"]["$ref"])
    assert wish["properties"]["size"] == {"type": "integer", "minimum": 1, "maximum": 9, "description": "How large."}
    assert (wish["required"], wish["additionalProperties"]) == (["size"], False)
    answer = call["responses"]["201"]
    thing = at(made, answer["content"]["application/json"]["schema"]["$ref"])
    assert thing["description"] == "A thing that was made.\n\nIt is new."
    assert thing["required"] == ["id", "colour"]
    assert list(answer["headers"]) == ["Location"]


def test_a_body_keeps_to_what_its_type_can_not_say_as_well() -> None:
    rule = {"properties": {"size": {"multipleOf": 2}}}
    call = document([replace(MAKE, body_rule=rule)])["paths"]["/things"]["post"]
    schema = call["requestBody"]["content"]["application/json"]["schema"]

    assert schema == {"allOf": [{"$ref": "#/components/schemas/Wish"}, rule]}


def test_a_stream_names_its_kinds_of_events() -> None:
    look = document([LOOK])["paths"]["/things"]["get"]
    media = look["responses"]["200"]["content"]["text/event-stream"]

    (event,) = media["schema"]["oneOf"]
    assert event["properties"]["event"] == {"const": "queued"}
    assert event["properties"]["data"]["contentSchema"] == {"$ref": "#/components/schemas/Queued"}
    assert media["example"] == ": hello"
    assert look["security"] == [{}, {"apiKey": ["admin"]}]


def test_every_error_of_a_call_has_its_status_its_code_and_one_shape() -> None:
    made = document([MAKE])
    responses = made["paths"]["/things"]["post"]["responses"]

    assert list(responses) == ["201", "400", "401", "408", "409", "413", "415", "429", "500", "503"]
    for status, reference in list(responses.items())[1:]:
        shape, code = at(made, reference["$ref"])["content"]["application/json"]["schema"]["allOf"]
        body = at(made, shape["$ref"])
        assert {"error", "message", "request_id"} <= set(body["required"]), status
        assert code["properties"]["error"]["const"]
    assert at(made, responses["429"]["$ref"])["headers"].keys() >= {"Retry-After", "RateLimit-Limit"}
    assert "limit" in made["components"]["schemas"]["LimitBody"]["required"]
    assert {"id", "links"} <= set(made["components"]["schemas"]["BusyBody"]["required"])


@pytest.mark.parametrize("raised", [NotFound, BadRequest])
def test_a_status_of_an_answer_and_of_an_error_is_either(raised: type[NotFound]) -> None:
    status = {NotFound: 404, BadRequest: 400}[raised]
    both = replace(LOOK, answers={status: Answer("Nothing there.", Made)}, raises=[raised])
    found = document([both])["paths"]["/things"]["get"]["responses"][str(status)]

    first, second = found["content"]["application/json"]["schema"]["anyOf"]
    assert first == {"$ref": "#/components/schemas/Made"}
    assert second["allOf"][0] == {"$ref": "#/components/schemas/ErrorBody"}


# What the service really serves


def test_every_reference_leads_somewhere() -> None:
    whole = papers.document
    found = set(references(whole))

    assert found
    for each in found:
        assert at(whole, each)


def test_every_component_is_a_valid_schema_with_a_plain_name() -> None:
    for name, schema in papers.document["components"]["schemas"].items():
        assert name.isidentifier()
        jsonschema_rs.meta.validate(schema)


def test_every_call_is_there_once_with_an_id_of_its_own() -> None:
    calls = [(each.method, each.path) for each in papers.operations]

    assert len(set(calls)) == len(calls)
    assert len({each.id for each in papers.operations}) == len(calls)
    assert {(method.upper(), path) for path, methods in papers.document["paths"].items() for method in methods} == set(
        calls
    )


def test_every_part_of_a_path_is_declared() -> None:
    for each in papers.operations:
        parts = {part[1:-1] for part in each.path.split("/") if part.startswith("{")}
        assert parts == {parameter.name for parameter in each.parameters if parameter.place == "path"}, each.path
