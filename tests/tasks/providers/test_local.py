"""The local provider before an imitation of its server: what it asks, what it refuses itself, what it says of refusals."""

from collections.abc import AsyncIterator, Iterator

import pytest

from models.errors import ProviderRefusedRequest, SettingInvalid
from models.settings import Settings
from tasks.providers.base import Message, ProviderRequest
from tasks.providers.local import LocalProvider
from tests.fakes.openai_server import Answer, FakeOpenAI, refused
from tests.tasks.providers.calling import call

TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
REQUEST = ProviderRequest(model="smollm2", messages=(Message(role="user", content="hello"),))


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(Answer(tokens=3)) as server:
        yield server


@pytest.fixture
async def provider(server: FakeOpenAI) -> AsyncIterator[LocalProvider]:
    provider = LocalProvider(Settings(local_base_url=server.url, local_api_key="k1"))
    yield provider
    await provider.aclose()


async def test_it_asks_the_server_that_the_settings_name(provider: LocalProvider, server: FakeOpenAI) -> None:
    seen = await call(provider, REQUEST)
    assert (seen.finish, seen.failure, provider.name) == ("stop", None, "local")
    assert server.headers_seen[0]["authorization"] == "Bearer k1"
    assert server.seen[0]["model"] == "smollm2"
    assert "max_tokens" not in server.seen[0]  # the server's own limit holds


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (ProviderRequest(model="smollm3", messages=REQUEST.messages), "The local provider has one model, smollm2"),
        (
            ProviderRequest(model="smollm2", messages=REQUEST.messages, tools=(TOOL,)),
            "The local model knows no tools",
        ),
    ],
)
async def test_what_its_server_would_ignore_is_refused_and_not_sent(
    provider: LocalProvider, server: FakeOpenAI, request_: ProviderRequest, words: str
) -> None:
    seen = await call(provider, request_)
    assert isinstance(seen.failure, ProviderRefusedRequest)
    assert seen.failure.message == words
    assert server.seen == []


async def test_a_prompt_that_is_too_long_is_told_in_words(provider: LocalProvider, server: FakeOpenAI) -> None:
    server.script(refused(400, "exceed_context_size_error"), refused(400))
    seen = await call(provider, REQUEST)
    assert isinstance(seen.failure, ProviderRefusedRequest)
    assert "too long for the local model, which has 2048 tokens (exceed_context_size_error)" in seen.failure.message
    seen = await call(provider, REQUEST)
    assert seen.failure is not None
    assert "too long" not in seen.failure.message


def test_without_a_server_the_line_says_how_to_get_one() -> None:
    with pytest.raises(SettingInvalid, match=r"streamer local-model.* STREAMER_LOCAL_BASE_URL and STREAMER_LOCAL_API_"):
        LocalProvider(Settings())


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/v1", "http://169.254.169.254/v1", "http://203.0.113.9/v1"])
def test_an_address_that_won_t_do_is_told(url: str) -> None:
    with pytest.raises(SettingInvalid, match=r"^STREAMER_LOCAL_BASE_URL "):
        LocalProvider(Settings(local_base_url=url))
