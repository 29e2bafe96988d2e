"""`/openapi.json` and `/docs`: what the calls are, for programs and for people."""

from collections.abc import Sequence
from functools import cached_property

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streamer.docs_page import docs_page
from streamer.openapi import Json, document
from streamer.operation import Answer, Credential, Operation
from streamer.tagged_response import tagged_response

#: Made of the code alone, so it changes with an upgrade only; who has it asks whether it did.
_CACHE = {"cache-control": "no-cache"}


class Papers:
    """Describes `operations`, and its own two as well. `operations` are all of them."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = [
            *operations,
            Operation(
                id="openapi",
                method="GET",
                path="/openapi.json",
                endpoint=self._answer_document,
                group="Papers",
                summary="This interface, for programs",
                description="OpenAPI 3.1.",
                credentials=[Credential.NONE],
                answers={200: Answer("The document.", "application/json"), 304: _UNCHANGED},
            ),
            Operation(
                id="docs",
                method="GET",
                path="/docs",
                endpoint=self._answer_page,
                group="Papers",
                summary="This interface, for people",
                credentials=[Credential.NONE],
                answers={200: Answer("The page.", "text/html"), 304: _UNCHANGED},
            ),
        ]

    @cached_property
    def document(self) -> Json:
        return document(self.operations)

    @cached_property
    def _encoded(self) -> bytes:
        return msgspec.json.encode(self.document)

    @cached_property
    def _page(self) -> bytes:
        return docs_page(self.document).encode()

    async def _answer_document(self, request: Request) -> Response:
        return tagged_response(request, self._encoded, "application/json", _CACHE)

    async def _answer_page(self, request: Request) -> Response:
        return tagged_response(request, self._page, "text/html; charset=utf-8", _CACHE)


_UNCHANGED = Answer("Nothing changed since the answer with the tag in `If-None-Match`.")
