"""JSON schemas in words, for people: which fields there are, what may stand in each, and an example. Pure.

It knows as much of JSON Schema as `openapi.document` uses.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]


class Field(NamedTuple):
    """One member. `path`: `links.self`, `turns[].id`; `words`: its type and bounds."""

    path: str
    words: str
    required: bool
    description: str


class Schemas:
    """Schemas that refer to the components of one document."""

    def __init__(self, document: Json) -> None:
        self._document = document

    def resolved(self, value: Json) -> Json:
        """What a reference refers to, or the value itself; parts of an `allOf` become one."""
        if "$ref" in value:
            found: Any = self._document
            for step in value["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            return self.resolved(found) | {key: each for key, each in value.items() if key != "$ref"}
        if "allOf" in value:
            whole: Json = {"properties": {}}
            for part in map(self.resolved, value["allOf"]):
                members = whole["properties"] | {
                    name: whole["properties"].get(name, {}) | each for name, each in part.get("properties", {}).items()
                }
                whole |= part | {"properties": members}
            return whole
        return value

    def fields(self, schema: Json, prefix: str = "") -> Iterator[Field]:
        """Every member, those of the objects within it after it."""
        found = self.resolved(schema)
        for name, member in found.get("properties", {}).items():
            path = f"{prefix}{name}"
            required = name in found.get("required", ())
            yield Field(path, self.words(member), required, self._description(member))
            yield from self._inner(member, path)

    def _inner(self, member: Json, path: str) -> Iterator[Field]:
        for each in self._choices(member):
            if each.get("type") == "array":
                yield from self._inner(each["items"], f"{path}[]")
            else:
                yield from self.fields(each, f"{path}.")

    def words(self, schema: Json) -> str:
        """`string, 1–200 characters`, `"up" or "down" or null`, `array of objects`."""
        return " or ".join(dict.fromkeys(_words(each, self) for each in self._choices(schema)))

    def example(self, schema: Json, name: str = "") -> Any:
        """A value that fits, as a reader expects it."""
        found = self.resolved(schema)
        for source in (found, *self._choices(schema)):
            if source.get("examples"):
                return source["examples"][0]
        first = self._choices(schema)[0]
        if "const" in first:
            return first["const"]
        if "enum" in first:
            return first["enum"][0]
        match first.get("type"):
            case "object":
                return {key: self.example(each, key) for key, each in first.get("properties", {}).items()}
            case "array":
                return [self.example(first["items"])]
            case "integer" | "number":
                return first.get("minimum", 1)
            case "boolean":
                return False
            case "null":
                return None
            case _:
                return "…"

    def _choices(self, schema: Json) -> list[Json]:
        found = self.resolved(schema)
        return [
            each for part in found.get("anyOf", [found]) for each in ([found] if part is found else self._choices(part))
        ]

    def _description(self, member: Json) -> str:
        return str(
            member.get("description") or next((each.get("description", "") for each in self._choices(member)), "")
        )


def _words(schema: Json, schemas: Schemas) -> str:
    if "const" in schema:
        return _quoted(schema["const"])
    if "enum" in schema:
        return " or ".join(map(_quoted, schema["enum"]))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        most = f", {schema['maxItems']} at most" if "maxItems" in schema else ""
        return f"array of {schemas.words(schema['items'])}{most}"
    return kind + _bounds(schema)


def _bounds(schema: Json) -> str:
    low, high = schema.get("minLength"), schema.get("maxLength")
    if high is not None:
        return f", {low}–{high} characters" if low else f", {high} characters at most"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None:
        return f", {low}–{high}" if high is not None else f", {low} or more"
    return ""


def _quoted(value: object) -> str:
    return "null" if value is None else f'"{value}"' if isinstance(value, str) else str(value)
