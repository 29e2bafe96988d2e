"""The page `/docs`: the OpenAPI document for people. Pure: a document in, HTML out; without scripts and inline styles."""

import json
import re
from collections.abc import Iterable, Iterator
from html import escape

from streamer.schema_words import Json, Schemas

_CODE = re.compile(r"`([^`]+)`")
_PART = re.compile(r"\{(\w+)\}")

#: How a credential is named, and what curl sends for it.
_CREDENTIALS = {
    "visitor": ("visitor token", "$TOKEN"),
    "apiKey": ("API key", "$API_KEY"),
    "ticket": ("stream ticket", ""),
    "adminSession": ("admin session", ""),
}


def docs_page(document: Json) -> str:
    """The whole page. Its links are relative, so that it works under any prefix."""
    groups = {tag["name"]: list(_calls_of(document, tag["name"])) for tag in document["tags"]}
    return _PAGE.format(
        nav="".join(_nav(group, calls) for group, calls in groups.items()),
        version=escape(document["info"]["version"]),
        about=_about(document),
        groups="".join(
            f'<h2 class="group">{escape(group)}</h2>{"".join(call.article() for call in calls)}'
            for group, calls in groups.items()
        ),
    )


def _calls_of(document: Json, group: str) -> Iterator["_Call"]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["tags"] == [group]:
                yield _Call(document, method.upper(), path, operation)


def _nav(group: str, calls: Iterable["_Call"]) -> str:
    items = "".join(f'<li><a href="#{each.id}">{_method(each.method)}{_words(each.summary)}</a></li>' for each in calls)
    return f"<h2>{escape(group)}</h2><ul>{items}</ul>"


def _about(document: Json) -> str:
    schemas = Schemas(document)
    error = {"$ref": "#/components/schemas/ErrorBody"}
    credentials = _table(
        ("credential", "how it comes", "what it is"),
        (
            (_words(_CREDENTIALS[name][0]), _way(scheme), _words(scheme["description"]))
            for name, scheme in document["components"]["securitySchemes"].items()
        ),
    )
    return (
        f'<article class="card about"><div class="says"><p>{_words(document["info"]["description"])}</p>{credentials}'
        f'</div><div class="shows"><h4>Every error</h4>{_example(schemas.example(error))}'
        f"<h4>For the lines below</h4>{_pre('STREAMER=https://chat.example.org')}</div></article>"
    )


def _way(scheme: Json) -> str:
    name = escape(scheme.get("name", ""))
    ways = {"query": f"<code>?{name}=</code>", "cookie": f"cookie <code>{name}</code>"}
    return ways.get(scheme.get("in", ""), "<code>Authorization: Bearer</code>")


class _Call:
    """One operation of the document."""

    def __init__(self, document: Json, method: str, path: str, operation: Json) -> None:
        self._schemas = Schemas(document)
        self._operation = operation
        self._path = path
        self.method = method
        self.id = str(operation["operationId"])
        self.summary = str(operation["summary"])
        responses = {status: self._schemas.resolved(each) for status, each in operation["responses"].items()}
        self._answers = {status: each for status, each in responses.items() if status < "400"}
        self._errors = {status: each for status, each in responses.items() if status >= "400"}

    def article(self) -> str:
        says = [
            f"<h3>{_words(self.summary)}</h3>",
            f'<p class="call">{_method(self.method)}<code>{escape(self._path)}</code></p>',
            f"<p>{_words(self._operation['description'])}</p>" if self._operation["description"] else "",
            f'<p class="who">{self._who()}</p>',
            self._parameters(),
            self._body(),
            *(self._answer(status, each) for status, each in self._answers.items()),
            self._refusals(),
        ]
        shows = [f"<h4>Call</h4>{_pre(self._curl())}", *self._examples()]
        says_html, shows_html = "".join(says), "".join(shows)
        return (
            f'<article class="card" id="{self.id}"><div class="says">{says_html}</div>'
            f'<div class="shows">{shows_html}</div></article>'
        )

    def _who(self) -> str:
        names = [
            f"{_CREDENTIALS[name][0]}{''.join(f' with the scope <code>{scope}</code>' for scope in scopes)}"
            for each in self._operation["security"]
            for name, scopes in each.items()
        ]
        if {} in self._operation["security"]:
            return "".join(["Open to everybody", *(f"; more with an {each}" for each in names), "."])
        return f"Needs a {' or a '.join(names)}.".replace(" a API", " an API")

    def _parameters(self) -> str:
        rows = (
            (
                _name(each["name"], required=each["required"]),
                each["in"],
                self._type(each["schema"]),
                _words(each["description"]),
            )
            for each in self._operation["parameters"]
        )
        return _table(("parameter", "in", "type", ""), rows)

    def _body(self) -> str:
        if "requestBody" not in self._operation:
            return ""
        schema = _json_of(self._operation["requestBody"])
        return self._said(schema) + self._fields("body", schema)

    def _answer(self, status: str, answer: Json) -> str:
        found = f'<p class="status"><b>{status}</b> {_words(answer["description"])}</p>'
        for media, content in answer.get("content", {}).items():
            if media == "application/json":
                found += self._said(content["schema"]) + self._fields("field", content["schema"])
            for event in content["schema"].get("oneOf", ()):
                kind, says = event["properties"]["event"]["const"], event["properties"]["data"]["contentSchema"]
                found += self._said(says, f"<b><code>{kind}</code></b> ") + self._fields("data", says)
        return found + self._headers(answer)

    def _said(self, schema: Json, before: str = "") -> str:
        said = self._schemas.resolved(schema).get("description", "")
        return f'<p class="said">{before}{_words(said)}</p>' if before or said else ""

    def _headers(self, answer: Json) -> str:
        rows = (
            (_name(name), self._type(each["schema"]), _words(each["description"]))
            for name, each in answer.get("headers", {}).items()
        )
        return _table(("header", "type", ""), rows)

    def _fields(self, title: str, schema: Json) -> str:
        rows = (
            (_name(each.path, required=each.required), _words(each.words), _words(each.description))
            for each in self._schemas.fields(schema)
        )
        return _table((title, "type", ""), rows)

    def _refusals(self) -> str:
        rows = []
        for status, answer in self._errors.items():
            shape = _json_of(answer)
            for each in self._schemas.resolved(shape).get("anyOf", [shape]):
                code = self._schemas.resolved(each).get("properties", {}).get("error", {}).get("const")
                if code:
                    rows.append((f"<b>{status}</b>", f"<code>{code}</code>", _words(answer["description"])))
        return _table(("error", "code", "when"), rows)

    def _type(self, schema: Json) -> str:
        return _words(self._schemas.words(schema))

    def _curl(self) -> str:
        names = [name for each in self._operation["security"] for name in each]
        token = next((_CREDENTIALS[name][1] for name in names if _CREDENTIALS[name][1]), "")
        events = any("text/event-stream" in each.get("content", {}) for each in self._answers.values())
        path = _PART.sub(lambda part: f"${part[1].upper()}", self._path)
        options = ("-N " if events else "") + ("" if self.method == "GET" else f"-X {self.method} ")
        lines = [f'curl {options}"$STREAMER{path}"']
        if token and {} not in self._operation["security"]:
            lines.append(f'-H "Authorization: Bearer {token}"')
        if "requestBody" in self._operation:
            body = json.dumps(self._body_example(), ensure_ascii=False)
            lines += ['-H "Content-Type: application/json"', f"-d '{body}'"]
        return " \\\n  ".join(lines)

    def _body_example(self) -> Json:
        schema = self._schemas.resolved(_json_of(self._operation["requestBody"]))
        if schema.get("examples"):
            return dict(schema["examples"][0])
        required = schema.get("required", ())
        return {
            name: self._schemas.example(each, name)
            for name, each in schema["properties"].items()
            if name in required or self._schemas.resolved(each).get("examples")
        }

    def _examples(self) -> Iterator[str]:
        for status, answer in self._answers.items():
            for media, content in answer.get("content", {}).items():
                if "example" in content:
                    yield f"<h4>{status}</h4>{_pre(content['example'].strip())}"
                elif media == "application/json":
                    yield f"<h4>{status}</h4>{_example(self._schemas.example(content['schema']))}"


def _json_of(holder: Json) -> Json:
    found: Json = holder.get("content", {}).get("application/json", {}).get("schema", {})
    return found


def _method(method: str) -> str:
    return f'<b class="method {method.lower()}">{method}</b>'


def _name(name: str, *, required: bool = True) -> str:
    return f"<code>{escape(name)}</code>" + ("" if required else '<span class="optional">optional</span>')


def _words(text: str) -> str:
    """Text with its `code`."""
    return _CODE.sub(r"<code>\1</code>", escape(text, quote=False))


def _example(value: object) -> str:
    return _pre(json.dumps(value, ensure_ascii=False, indent=2))


def _pre(text: str) -> str:
    return f"<pre><code>{escape(text, quote=False)}</code></pre>"


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    if not body:
        return ""
    head = "".join(f"<th>{title}</th>" for title in titles)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


_PAGE = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>Streamer: HTTP</title>
    <meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">
    <meta name="color-scheme" content="light dark">
    <meta name="referrer" content="no-referrer">
    <link rel="icon" href="static/icon.svg" type="image/svg+xml">
    <link rel="stylesheet" href="static/page.css">
    <link rel="stylesheet" href="static/docs.css">
  </head>
  <body class="docs">
    <header class="top">
      <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
        <path d="M5 9.5h8.5M18 9.5h9M5 16h15M24.5 16H27M5 22.5h4.5M14 22.5h13" />
      </svg>
      <h1><a href="./">Streamer</a></h1>
      <p class="tagline">The calls of version {version}</p>
      <a class="raw" href="openapi.json">openapi.json</a>
    </header>
    <div class="pages">
      <nav aria-label="Calls">{nav}</nav>
      <main>{about}{groups}</main>
    </div>
  </body>
</html>
"""
