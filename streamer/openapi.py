"""The calls as an OpenAPI 3.1 document, made from their declarations and from the types that validate. Pure."""

from collections.abc import Iterable, Sequence
from inspect import cleandoc
from typing import Any

import msgspec

from models.errors import (
    Overloaded,
    ProviderOverloaded,
    ProviderRateLimited,
    RateLimited,
    StreamerError,
    Unauthorized,
    Unavailable,
)
from streamer.admin_session import COOKIE
from streamer.error_body import ErrorBody, body_of
from streamer.error_handlers import status_of
from streamer.operation import Answer, Credential, Operation, Parameter
from streamer.rate_limit_headers import RATE_LIMIT_HEADERS
from streamer.version import version

Json = dict[str, Any]

DESCRIPTION = """\
AI chat for any site. Your server lets a visitor in; the visitor's browser posts a message, watches the answer or polls it.
All bodies are JSON in UTF-8. Every error has one shape, and every answer an `x-request-id`.\
"""

#: How each credential comes, and the scopes that an API key needs.
_SECURITY: dict[Credential, dict[str, list[str]]] = {
    Credential.NONE: {},
    Credential.GRANT: {},
    Credential.VISITOR: {"visitor": []},
    Credential.TICKET: {"ticket": []},
    Credential.SESSION_KEY: {"apiKey": ["session"]},
    Credential.CHAT_KEY: {"apiKey": ["chat"]},
    Credential.ADMIN_KEY: {"apiKey": ["admin"]},
    Credential.ADMIN_SESSION: {"adminSession": []},
}

_SCHEMES: Json = {
    "visitor": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A visitor token, from `POST /ai/v1/session`. It opens what is this visitor's.",
    },
    "apiKey": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "sk-key_…",
        "description": "An API key, from `streamer keys create`. It stays on your server.",
    },
    "ticket": {
        "type": "apiKey",
        "in": "query",
        "name": "ticket",
        "description": "A stream ticket, which comes with each POST. It reads the events of one generation.",
    },
    "adminSession": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "An admin session, from `POST /admin/session`. It opens the admin pages in that browser.",
    },
}


class Internal(StreamerError):
    """A defect of ours; the log has more under the `request_id`."""


_RETRY_AFTER = Parameter(name="Retry-After", place="header", type=int, description="Seconds after which to try again.")
_HEADERS: dict[type[StreamerError], list[Parameter]] = {
    Unauthorized: [Parameter(name="WWW-Authenticate", place="header", description="`Bearer`.")],
    RateLimited: [_RETRY_AFTER, *RATE_LIMIT_HEADERS],
    Unavailable: [_RETRY_AFTER],
    Overloaded: [_RETRY_AFTER],
    ProviderRateLimited: [_RETRY_AFTER],
    ProviderOverloaded: [_RETRY_AFTER],
}


def document(operations: Sequence[Operation]) -> Json:
    """The whole document, as JSON values."""
    types = _Types(operations)
    paths: dict[str, Json] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, types)
    errors = {error for each in operations for error in _errors(each)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Streamer", "version": version(), "description": DESCRIPTION},
        "tags": [{"name": group} for group in dict.fromkeys(each.group for each in operations)],
        "paths": paths,
        "components": {
            "schemas": types.components,
            "responses": {error.__name__: _refusal(error, types) for error in sorted(errors, key=_status)},
            "securitySchemes": _SCHEMES,
        },
    }


class _Types:
    """The schemas of all types of the calls, named once."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        found: list[Any] = [ErrorBody]
        for each in operations:
            found += [each.body] if each.body else []
            found += [parameter.type for parameter in each.parameters]
            found += [body_of(error) for error in each.errors]
            for answer in each.answers.values():
                found += [answer.content] if isinstance(answer.content, type) else []
                found += [*answer.events.values(), *(header.type for header in answer.headers)]
        self._types = [*found, *(header.type for headers in _HEADERS.values() for header in headers)]
        schemas, components = msgspec.json.schema_components(self._types, ref_template="#/components/schemas/{name}")
        self._schemas = schemas
        self.components = {name: _tidy(schema) for name, schema in sorted(components.items())}

    def schema(self, type_: Any) -> Json:
        """A reference to the component that a struct is, or the schema itself of anything else."""
        return self._schemas[self._types.index(type_)]


def _tidy(schema: Json) -> Json:
    if "description" in schema:
        schema["description"] = cleandoc(schema["description"])
    return schema


def _operation(each: Operation, types: _Types) -> Json:
    found: Json = {
        "operationId": each.id,
        "tags": [each.group],
        "summary": each.summary,
        "description": each.description,
        "security": [_SECURITY[credential] for credential in each.credentials],
        "parameters": [_parameter(parameter, types) for parameter in each.parameters],
    }
    if each.body is not None:
        schema = types.schema(each.body)
        whole = {"allOf": [schema, dict(each.body_rule)]} if each.body_rule else schema
        found["requestBody"] = {"required": True, "content": _json(whole)}
    return {**found, "responses": _responses(each, types)}


def _parameter(parameter: Parameter, types: _Types) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": types.schema(parameter.type),
    }


def _responses(each: Operation, types: _Types) -> Json:
    """By status: the declared answer, and the errors; where a status has several, any of them."""
    answers: dict[int, list[Json]] = {status: [_answer(answer, types)] for status, answer in each.answers.items()}
    errors = _errors(each)
    for error in errors:
        answers.setdefault(_status(error), []).append(_refusal(error, types))
    alone = {_status(error): {"$ref": f"#/components/responses/{error.__name__}"} for error in errors}
    return {
        str(status): _any_of(found) if len(found) > 1 else alone.get(status, found[0])
        for status, found in sorted(answers.items())
    }


def _answer(answer: Answer, types: _Types) -> Json:
    found: Json = {"description": answer.description}
    if answer.headers:
        found["headers"] = _headers(answer.headers, types)
    content = _json(types.schema(answer.content)) if isinstance(answer.content, type) else {}
    other = answer.content if isinstance(answer.content, str) else "text/event-stream" if answer.events else None
    if other is not None:
        media: Json = {"schema": {"type": "object" if other == "application/json" else "string"}}
        if answer.events:  # before 3.2 the schema of an event stream is that of each of its events
            media["schema"] = {"oneOf": [_event(kind, types.schema(says)) for kind, says in answer.events.items()]}
        if answer.example:
            media["example"] = answer.example
        content[other] = media
    return {**found, "content": content} if content else found


def _event(kind: str, says: Json) -> Json:
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": says}
    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {"id": {"type": "string"}, "event": {"const": str(kind)}, "data": data},
    }


def _refusal(error: type[StreamerError], types: _Types) -> Json:
    """The answer that an error is. The code alone tells it from others of its shape."""
    code = {"properties": {"error": {"const": error.code}}}
    found = {"description": error().message, "content": _json({"allOf": [types.schema(body_of(error)), code]})}
    headers = _HEADERS.get(error)
    return {**found, "headers": _headers(headers, types)} if headers else found


def _any_of(answers: list[Json]) -> Json:
    """One answer that is any of these; each is JSON."""
    headers: Json = {}
    for each in answers:
        headers |= each.get("headers", {})
    schemas = [each["content"]["application/json"]["schema"] for each in answers]
    found = {"description": " ".join(each["description"] for each in answers), "content": _json({"anyOf": schemas})}
    return {**found, "headers": headers} if headers else found


def _errors(each: Operation) -> list[type[StreamerError]]:
    return sorted({*each.errors, Internal}, key=lambda error: (_status(error), error.code))


def _status(error: type[StreamerError]) -> int:
    return status_of(error) or 500


def _headers(headers: Iterable[Parameter], types: _Types) -> Json:
    return {each.name: {"description": each.description, "schema": types.schema(each.type)} for each in headers}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}
