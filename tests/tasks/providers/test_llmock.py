"""Both providers against `llmock`, an imitation by other people: a second opinion on what the wire looks like.

It has packages of its own that do not go beside ours, so it lives in another environment, whose interpreter LLMOCK_PYTHON names;
without that the tests are skipped.
"""

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from models import errors
from tasks.providers.anthropic import AnthropicProvider
from tasks.providers.base import FinishPiece, Message, Provider, ProviderRequest, TextPiece, ToolCallPiece, UsagePiece
from tasks.providers.openai import OpenAIProvider
from tasks.providers.upstream import Timeouts
from tests.tasks.providers.calling import call

PYTHON = os.environ.get("LLMOCK_PYTHON", "")

if not PYTHON:
    pytest.skip("LLMOCK_PYTHON names no interpreter that has llmock", allow_module_level=True)

REQUEST = ProviderRequest(model="any-model", messages=(Message(role="user", content="hello"),), max_output_tokens=50)
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
HASTY = Timeouts(connect_seconds=5, first_byte_seconds=5, idle_seconds=0.5)
WORDS = "One two three four five six seven."


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Its address, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [PYTHON, "-c", "from llmock.cli import app; app()", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        try:
            told = next((line for line in process.stdout if "startup complete" in line or "running on" in line), None)
            assert told, "it ended before it was ready"
            threading.Thread(target=process.stdout.read, daemon=True).start()  # a full pipe would hold it up
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def forgotten(server: str) -> None:
    """What the tests before asked for."""
    httpx.post(f"{server}/_llmock/reset")


@pytest.fixture(params=["openai", "anthropic"])
async def provider(server: str, request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    made: Provider
    if request.param == "openai":
        made = OpenAIProvider(f"{server}/v1", "sk-1", HASTY, allow_private=True)
    else:
        made = AnthropicProvider(f"{server}/anthropic", "sk-1", HASTY, allow_private=True)
    yield made
    await made.aclose()


def _script(server: str, *behaviors: dict[str, Any]) -> None:
    httpx.post(f"{server}/_llmock/scenario", json={"behaviors": behaviors}).raise_for_status()


async def test_text_usage_and_finish_are_read(server: str, provider: Provider) -> None:
    _script(server, {"type": "reply", "text": WORDS})
    seen = await call(provider, REQUEST)
    assert ("".join(seen.texts), seen.failure) == (WORDS, None)
    usage, finish = seen.pieces[-2:]
    assert isinstance(usage, UsagePiece)
    assert usage.usage.input > 0
    assert usage.usage.output > 0
    assert finish == FinishPiece("stop")


async def test_the_reason_of_the_end_is_read(server: str, provider: Provider) -> None:
    for said, meant in (("length", "length"), ("stop", "stop")):
        _script(server, {"type": "reply", "text": WORDS, "finish_reason": said})
        assert (await call(provider, REQUEST)).finish == meant


async def test_a_tool_is_called_with_its_arguments(server: str, provider: Provider) -> None:
    _script(server, {"type": "reply", "tool_calls": [{"name": "look", "arguments": {"city": "Paris", "days": 3}}]})
    request = ProviderRequest(model="m", messages=REQUEST.messages, tools=(TOOL,), max_output_tokens=50)
    seen = await call(provider, request)
    calls = [piece for piece in seen.pieces if isinstance(piece, ToolCallPiece)]
    assert (calls[0].index, calls[0].name, seen.finish) == (0, "look", "tool_calls")
    assert "".join(piece.arguments for piece in calls).replace(" ", "") == '{"city":"Paris","days":3}'


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.ProviderRefusedRequest),
        (401, errors.ProviderAuthFailed),
        (403, errors.ProviderAuthFailed),
        (429, errors.ProviderRateLimited),
        (500, errors.ProviderOverloaded),
        (502, errors.ProviderOverloaded),
        (503, errors.ProviderOverloaded),
        (529, errors.ProviderOverloaded),
    ],
)
async def test_a_status_is_classified(server: str, provider: Provider, status: int, kind: type[Exception]) -> None:
    _script(server, {"type": "fail", "status": status})
    assert type((await call(provider, REQUEST)).failure) is kind
    assert (await call(provider, REQUEST)).finish == "stop"


async def test_when_to_try_again_is_read(server: str, provider: Provider) -> None:
    _script(server, {"type": "fail", "status": 429, "retry_after": 7})
    failure = (await call(provider, REQUEST)).failure
    assert failure is not None
    assert vars(failure)["retry_after_seconds"] == 7


@pytest.mark.parametrize("after", [0, 4])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("disconnect", errors.ProviderUnreachable),
        ("truncate", errors.ProviderUnreachable),
        ("stall", errors.ProviderTimeout),
        ("malformed", errors.ProviderProtocolBroken),
    ],
)
async def test_a_broken_stream_is_told_and_what_came_before_is_kept(
    server: str, provider: Provider, fault: str, kind: type[Exception], after: int
) -> None:
    _script(server, {"type": "reply", "text": WORDS}, {"type": "stream_fault", "kind": fault, "after_chunks": after})
    seen = await call(provider, REQUEST)
    assert (type(seen.failure), seen.finish) == (kind, None)
    assert WORDS.startswith("".join(seen.texts))
    assert all(isinstance(piece, TextPiece) for piece in seen.pieces)


async def test_it_finds_nothing_wrong_with_how_it_was_called(server: str, provider: Provider) -> None:
    _script(server, {"type": "reply", "text": WORDS})
    await call(provider, REQUEST)
    verdict = (await asyncio.to_thread(httpx.get, f"{server}/_llmock/verdict")).json()
    assert verdict.get("findings", []) == [], verdict
