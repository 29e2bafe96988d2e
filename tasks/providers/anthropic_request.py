"""A request in the words of Anthropic's Messages API: https://docs.anthropic.com/en/api/messages."""

from collections.abc import Iterable
from typing import Any

import msgspec

from models.errors import ProviderRefusedRequest
from tasks.providers.base import Message, ProviderRequest
from tasks.providers.failures import failure

#: `max_tokens` where the route has no `max_output_tokens`: the API wants one, and every model allows this.
DEFAULT_MAX_TOKENS = 4096

#: The API's highest temperature: a server may ask for more.
MAX_TEMPERATURE = 1.0


def request_body(request: ProviderRequest) -> dict[str, Any]:
    """The body of POST /v1/messages. Raises ProviderRefusedRequest for what the API has no words for."""
    system = "\n\n".join(turn.content for turn in request.messages if _is_system(turn) and turn.content)
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": DEFAULT_MAX_TOKENS if request.max_output_tokens is None else request.max_output_tokens,
        "messages": _turns(turn for turn in request.messages if not _is_system(turn)),
        "stream": True,
    }
    if system:
        body["system"] = system
    if request.temperature is not None:
        body["temperature"] = min(request.temperature, MAX_TEMPERATURE)
    if request.tools:
        body["tools"] = [_tool(each) for each in request.tools]
    if output := _output_config(request.response_format):
        body["output_config"] = output
    return body


def _is_system(turn: Message) -> bool:
    return turn.role in ("system", "developer")


def _turns(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The turns; results of tools become one user turn, and what says nothing is left out, since the API refuses it."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "tool":
            result = {"type": "tool_result", "tool_use_id": message.tool_call_id or "", "content": message.content}
            if turns and turns[-1]["role"] == "user" and isinstance(turns[-1]["content"], list):
                turns[-1]["content"].append(result)
            else:
                turns.append({"role": "user", "content": [result]})
        elif message.tool_calls:
            text = [{"type": "text", "text": message.content}] if message.content.strip() else []
            turns.append({"role": "assistant", "content": [*text, *map(_tool_use, message.tool_calls)]})
        elif message.content.strip():
            turns.append({"role": message.role, "content": message.content})
    return turns


def _tool_use(call: dict[str, Any]) -> dict[str, Any]:
    function = _object(call.get("function"))
    try:
        arguments = msgspec.json.decode(function.get("arguments") or "{}")
    except (ValueError, TypeError, RecursionError):
        raise failure(ProviderRefusedRequest, "A tool call's arguments are no JSON") from None
    return {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": _object(arguments)}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = _object(tool.get("function"))
    if tool.get("type") != "function" or not function.get("name"):
        raise failure(ProviderRefusedRequest, "This provider takes tools of the type function only, each with a name")
    found = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
    described = function.get("description")
    return found | {"description": described} if described else found


def _output_config(response_format: dict[str, Any] | None) -> dict[str, Any] | None:
    """JSON by a schema is the API's structured output; JSON of any shape is nothing that it can promise."""
    kind = (response_format or {}).get("type", "text")
    if response_format is None or kind == "text":
        return None
    schema = _object(response_format.get("json_schema")).get("schema")
    if kind == "json_schema" and isinstance(schema, dict):
        return {"format": {"type": "json_schema", "schema": schema}}
    message = "This provider takes a response_format of the type json_schema with its schema, or text, and no other"
    raise failure(ProviderRefusedRequest, message)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
