"""What a server may ask for with `POST /v1/chat`: messages, and a route whose prompt and ceilings hold."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from models.admission import Request
from models.direct_request import DirectMessage, DirectRequest, ResponseFormat, Tool, encode
from models.errors import BadRequest, PayloadTooLarge
from models.route import Route
from streamer.auth import Server
from streamer.chat_body import key_hash
from streamer.services import Services
from streamer.strict_json import Body
from tasks.direct_request import fits, provider_request
from tasks.history import max_input_tokens, system_prompt

#: It is kept with the row, so it is no place for texts.
MAX_METADATA_BYTES = 16 * 1024


class DirectBody(msgspec.Struct, frozen=True, kw_only=True):
    """A server's request. Fields that are not known here are ignored, as clients of such calls expect."""

    messages: Annotated[
        list[DirectMessage],
        Meta(
            min_length=1, description="Oldest first.", examples=[[{"role": "user", "content": "What is a hash table?"}]]
        ),
    ]
    system: Annotated[str, Meta(description="A prompt, behind the route's own.")] | None = None
    provider: (
        Annotated[
            str, Meta(description="`provider:model`, or the route's name for one; the route's own where left out.")
        ]
        | None
    ) = None
    route: Annotated[str, Meta(description="`chat` where it is left out.")] | None = None
    temperature: (
        Annotated[float, Meta(ge=0, le=2, description="The route's is a ceiling: it can be lowered, not raised.")]
        | None
    ) = None
    max_output_tokens: (
        Annotated[int, Meta(ge=1, le=1_000_000_000, description="Likewise: more than the route's is lowered to that.")]
        | None
    ) = None
    tools: list[Tool] | None = None
    response_format: ResponseFormat | None = None
    metadata: (
        Annotated[dict[str, Any], Meta(description="Your own, 16 KB at most; it is kept, and no model sees it.")] | None
    ) = None
    stream: Annotated[bool, Meta(description="Answers with the event stream.")] | None = None


async def asked(services: Services, server: Server, body: Body[DirectBody], headers: Mapping[str, str]) -> Request:
    """What the body asks for. Raises BadRequest or PayloadTooLarge, which say what to change."""
    value = body.value
    key = key_hash(headers.get("idempotency-key"))
    for number, message in enumerate(value.messages):
        _check(message, number)
    if value.response_format and (value.response_format.type == "json_schema") != bool(
        value.response_format.json_schema
    ):
        raise BadRequest("`response_format` has `json_schema` where its type is `json_schema`, and only there.")
    if value.metadata and len(msgspec.json.encode(value.metadata)) > MAX_METADATA_BYTES:
        raise PayloadTooLarge(f"`metadata` may have {MAX_METADATA_BYTES} bytes of JSON at most.")
    route_name, route = _route(services, value)
    model = _model(value, route_name, route)
    direct = DirectRequest(
        messages=value.messages,
        system=value.system,
        temperature=value.temperature,
        max_output_tokens=value.max_output_tokens,
        tools=value.tools,
        response_format=value.response_format,
        metadata=value.metadata,
    )
    limit = max_input_tokens(route, services.settings)
    if not await asyncio.to_thread(_fits, direct, route, model, limit):
        raise PayloadTooLarge(
            f"`messages` are too long: with its prompt, route `{route_name}` takes {limit} tokens at most "
            f"(`routes.{route_name}.max_input_tokens`). Shorten them."
        )
    return Request(
        tenant_id=server.tenant_id,
        visitor="",
        conversation=None,
        message="",
        route_name=route_name,
        route=route,
        idempotency_key=key,
        body_hash=body.digest,
        bypass_cache=headers.get("cache-control", "").strip().lower() == "no-cache",
        direct=await asyncio.to_thread(encode, direct),
        model=model,
        on_provider_broken="keep_partial" if value.stream else "restart",
    )


def _check(message: DirectMessage, number: int) -> None:
    if message.content is None and not (message.role == "assistant" and message.tool_calls):
        raise BadRequest(
            f"`messages[{number}]` has no `content`: send text; only an assistant's `tool_calls` go without."
        )
    if message.tool_calls and message.role != "assistant":
        raise BadRequest(f"`messages[{number}]` has `tool_calls`, which only an assistant makes.")
    if (message.role == "tool") != (message.tool_call_id is not None):
        raise BadRequest(f"`messages[{number}]`: `tool_call_id` belongs to the role `tool`, which must have it.")


def _route(services: Services, body: DirectBody) -> tuple[str, Route]:
    name = "chat" if body.route is None else body.route
    route = services.routes.get(name)
    if route is None:
        raise BadRequest("`route` is not one of this site's routes; leave it out for `chat`.")
    return name, route


def _model(body: DirectBody, name: str, route: Route) -> str:
    if body.provider is None:
        return route.model
    found = route.allowed(body.provider)
    if found is None:
        allowed = ", ".join(f"`{each}`" for each in (route.model, *route.models))
        raise BadRequest(
            f"`provider` is none that route `{name}` allows: {allowed}. Leave it out, or add it to `routes.{name}.models`."
        )
    return found


def _fits(direct: DirectRequest, route: Route, model: str, limit: int) -> bool:
    return fits(provider_request(direct, route, system_prompt(route), model.partition(":")[2]), limit)
