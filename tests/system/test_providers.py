"""Providers of the operator's file, through all of the processes: they answer, and their keys go to them alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.anthropic_server import Answer, FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI
from tests.streamer.frames import shown
from tests.system.product import PROVIDER_KEY, Product
from tests.system.test_answers import stored

CLAUDE_KEY = "sk-ant-canary-0123456789"
FILE_KEY = "sk-canary-of-the-file-0123456789"
PROMPT = "canary prompt"

FILE = """
[routes.chat]
model = "claude:claude-sonnet"
system = "Be kind."

[routes.near]
model = "near:llama"

[providers.claude]
kind = "anthropic"
base_url = "{claude}"
api_key_env = "CLAUDE_API_KEY"
allow_private = true

[providers.near]
kind = "openai"
base_url = "{near}"
api_key_file = "{key}"
allow_private = true
max_tokens_field = "max_completion_tokens"
"""


@pytest.fixture(scope="module")
def claude() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as server:
        yield server


@pytest.fixture(scope="module")
def near() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as server:
        yield server


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, claude: FakeAnthropic, near: FakeOpenAI) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("providers")
    key = folder / "key"
    key.write_text(FILE_KEY + "\n")
    (folder / "streamer.toml").write_text(FILE.format(claude=claude.url, near=near.url, key=key))
    with Product(folder, near.url, {"CLAUDE_API_KEY": CLAUDE_KEY}) as running:
        yield running


def test_anthropic_answers_and_stream_poll_and_row_agree(product: Product, claude: FakeAnthropic) -> None:
    counts = {"input_tokens": 3, "cache_creation_input_tokens": 40, "cache_read_input_tokens": 500, "output_tokens": 1}
    claude.script(Answer(tokens=30, input_usage=counts))
    visitor = product.visitor()
    chat = product.ask(visitor, PROMPT)
    events = list(product.events(visitor, chat))
    polled, row = product.poll(visitor, chat), stored(product, chat["id"])

    assert shown(events) == polled["result"]["text"] == row["text"] == "".join(claude.words(PROMPT, 30))
    assert (row["provider"], row["model"], row["status"]) == ("claude", "claude-sonnet", "done")
    assert (row["input_tokens"], row["cached_tokens"], row["cache_write_tokens"]) == (543, 500, 40)
    assert (row["output_tokens"], row["usage_source"]) == (30, "provider")
    assert claude.seen[-1]["system"] == "Be kind."
    assert claude.headers_seen[-1]["x-api-key"] == CLAUDE_KEY


def test_an_answer_of_anthropics_that_is_cut_is_never_done(product: Product, claude: FakeAnthropic) -> None:
    claude.script(Answer(tokens=30, fault="end", at=4))
    visitor = product.visitor()
    chat = product.ask(visitor, "cut")
    polled, row = product.poll(visitor, chat), stored(product, chat["id"])

    assert (polled["status"], polled["result"]["text"]) == ("incomplete", "".join(claude.words("cut", 4)))
    assert row["usage_source"] != "provider"


def test_each_key_goes_to_its_own_provider_and_stands_nowhere(
    product: Product, claude: FakeAnthropic, near: FakeOpenAI
) -> None:
    visitor = product.visitor()
    with product.client(visitor) as client:
        chat = client.post("/ai/v1/chat", json={"message": PROMPT, "route": "near"}).json()
    product.poll(visitor, chat)
    product.poll(visitor, product.ask(visitor, PROMPT))

    assert near.headers_seen[-1]["authorization"] == f"Bearer {FILE_KEY}"
    assert CLAUDE_KEY not in repr(near.headers_seen)
    assert FILE_KEY not in repr(claude.headers_seen)
    written = b"".join(path.read_bytes() for path in Path(product.data).rglob("*") if path.is_file())
    for key in (CLAUDE_KEY, FILE_KEY, PROVIDER_KEY):
        assert key not in product.log
        assert key.encode() not in written
    assert PROMPT.encode() in written, "else nothing was looked at"
