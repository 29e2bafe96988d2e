"""A JSON answer made from a struct, so that what is sent is what the papers say."""

import msgspec
from starlette.responses import Response


class StructResponse(Response):
    """`content` is a msgspec struct; its fields are the answer's members, in their order."""

    media_type = "application/json"

    def render(self, content: msgspec.Struct) -> bytes:
        return msgspec.json.encode(content)
