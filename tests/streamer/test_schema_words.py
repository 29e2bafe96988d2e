"""Schemas in words: what a person reads in a table, and the example beside it."""

from typing import Any

import pytest

from streamer.schema_words import Field, Schemas

DOCUMENT = {
    "components": {
        "schemas": {
            "Links": {"type": "object", "properties": {"self": {"type": "string"}}, "required": ["self"]},
            "Turn": {
                "type": "object",
                "properties": {"links": {"$ref": "#/components/schemas/Links"}},
                "required": ["links"],
            },
            "Colour": {"enum": ["red", "blue"], "description": "What it looks like."},
            "Error": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]},
        }
    }
}
LINKS = {"$ref": "#/components/schemas/Links"}
COLOUR = {"$ref": "#/components/schemas/Colour"}


@pytest.fixture
def schemas() -> Schemas:
    return Schemas(DOCUMENT)


@pytest.mark.parametrize(
    ("schema", "words", "example"),
    [
        ({"type": "string"}, "string", "…"),
        ({"type": "string", "examples": ["Hello"]}, "string", "Hello"),
        ({"type": "string", "minLength": 1, "maxLength": 200}, "string, 1–200 characters", "…"),
        ({"type": "string", "maxLength": 9}, "string, 9 characters at most", "…"),
        ({"type": "string", "pattern": "^a$"}, "string", "…"),
        ({"type": "integer", "minimum": 1}, "integer, 1 or more", 1),
        ({"type": "integer", "minimum": 2, "maximum": 100}, "integer, 2–100", 2),
        ({"type": "number"}, "number", 1),
        ({"type": "boolean"}, "boolean", False),
        ({"type": "null"}, "null", None),
        ({"const": "ok"}, '"ok"', "ok"),
        ({"enum": ["up", "down", None]}, '"up" or "down" or null', "up"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null", "…"),
        ({"anyOf": [COLOUR, {"type": "null"}]}, '"red" or "blue" or null', "red"),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 3}, "array of string, 3 at most", ["…"]),
        ({"type": "array", "items": LINKS}, "array of object", [{"self": "…"}]),
        ({"$ref": "#/components/schemas/Turn"}, "object", {"links": {"self": "…"}}),
        ({}, "any", "…"),
    ],
)
def test_a_schema_is_said_in_words_and_by_example(
    schemas: Schemas, schema: dict[str, Any], words: str, example: object
) -> None:
    assert schemas.words(schema) == words
    assert schemas.example(schema) == example


def test_the_fields_within_a_field_follow_it(schemas: Schemas) -> None:
    page = {
        "type": "object",
        "properties": {
            "turns": {"type": "array", "items": {"$ref": "#/components/schemas/Turn"}, "description": "Oldest first."},
            "colour": COLOUR,
            "own": {"anyOf": [LINKS, {"type": "null"}]},
        },
        "required": ["turns"],
    }

    assert list(schemas.fields(page)) == [
        Field("turns", "array of object", True, "Oldest first."),
        Field("turns[].links", "object", True, ""),
        Field("turns[].links.self", "string", True, ""),
        Field("colour", '"red" or "blue"', False, "What it looks like."),
        Field("own", "object or null", False, ""),
        Field("own.self", "string", True, ""),
    ]


def test_parts_of_a_whole_become_one(schemas: Schemas) -> None:
    whole = {"allOf": [{"$ref": "#/components/schemas/Error"}, {"properties": {"error": {"const": "not_found"}}}]}
    found = schemas.resolved(whole)

    assert found["properties"] == {"error": {"type": "string", "const": "not_found"}}
    assert found["required"] == ["error"]
