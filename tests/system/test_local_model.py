"""The whole way with a real model and nothing imitated: `streamer up` with `local:smollm2`. No test asserts its words."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.local_model import require_local_model
from tests.streamer.frames import Event, ids, shown
from tests.system.product import Product, Watching, alive, eventually

#: `endless` goes on until somebody stops it, `wide` lets everything through to the model's own limit.
ROUTES = """
[routes.chat]
model = "local:smollm2"
temperature = 0
max_output_tokens = 32
[routes.endless]
model = "local:smollm2"
temperature = 0
[routes.wide]
model = "local:smollm2"
max_input_tokens = 100000
"""

STORY = "Tell me a very long story about the sea."


class Slots:
    """What llama.cpp's server says of its slots."""

    def __init__(self, product: Product) -> None:
        self._environ: dict[str, str] = {}
        (self.pid,) = product.processes(" local-model ")
        for each in Path(f"/proc/{self.pid}/environ").read_text().split("\0"):
            name, _, value = each.partition("=")
            self._environ[name] = value

    def busy(self) -> int:
        """How many are at work."""
        url = self._environ["STREAMER_LOCAL_BASE_URL"].removesuffix("/v1")
        headers = {"authorization": f"Bearer {self._environ['STREAMER_LOCAL_API_KEY']}"}
        slots = httpx.get(f"{url}/slots", headers=headers, timeout=30).json()
        return sum(slot["is_processing"] for slot in slots)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """`up` with the local model; it must still live, and end as asked with nothing left, after the last test."""
    require_local_model()
    folder = tmp_path_factory.mktemp("product")
    (folder / "streamer.toml").write_text(ROUTES)
    with Product(folder, "http://127.0.0.1:9/v1") as product:
        yield product
        assert product.process.poll() is None, product.log
        pids = product.processes()
        product.process.terminate()
        assert product.process.wait(15) == 0
        eventually(lambda: not any(map(alive, pids)))


def ask(product: Product, token: str, message: str, route: str = "chat") -> dict[str, Any]:
    with product.client(token) as client:
        response = client.post("/ai/v1/chat", json={"message": message, "route": route})
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    return found


def has_text(events: list[Event]) -> bool:
    return any(event.kind == "delta" for event in events)


def require_same_everywhere(product: Product, token: str, chat: Mapping[str, Any], events: list[Event]) -> None:
    """Stream, poll and row say the same to the byte."""
    polled = product.poll(token, chat)
    with sqlite3.connect(f"file:{product.data}/streamer.db?mode=ro", uri=True) as connection:
        query = "SELECT text, status, input_tokens, output_tokens, usage_source FROM generation WHERE id = ?"
        text, status, *tokens = connection.execute(query, (chat["id"],)).fetchone()
    connection.close()
    assert shown(events) == polled["result"]["text"] == text != ""
    assert events[-1].data["sha256"] == sha256(text.encode()).hexdigest()
    assert (events[-1].data["status"], polled["status"]) == (status, status)
    assert tokens == [*polled["tokens"].values(), "provider" if status == "done" else "estimated"]


def test_four_visitors_at_once_one_reloads_and_one_cancels(product: Product) -> None:
    slots = Slots(product)
    visitors = [product.visitor(f"u{number}") for number in range(4)]
    questions = ["Why is the sky blue?", "What is a prime number?", "Why is the sea salty?"]
    chats = [ask(product, visitors[0], STORY, "endless")]
    chats += [ask(product, token, question) for token, question in zip(visitors[1:], questions, strict=True)]
    eventually(lambda: slots.busy() == 4)

    first = []
    for event in product.events(visitors[3], chats[3]):  # and reloads with the first text
        first.append(event)
        if event.kind == "delta":
            break
    rest = list(product.events(visitors[3], chats[3], ids(first)[-1]))
    require_same_everywhere(product, visitors[3], chats[3], first + rest)
    for token, chat in zip(visitors[1:3], chats[1:3], strict=True):
        require_same_everywhere(product, token, chat, list(product.events(token, chat)))

    watching = Watching(product, visitors[0], chats[0])
    watching.until(has_text)
    assert slots.busy() == 1
    with product.client(visitors[0]) as client:
        assert client.post(chats[0]["links"]["cancel"]).status_code in (200, 202)
    cancelled = time.monotonic()
    eventually(lambda: slots.busy() == 0)
    assert time.monotonic() - cancelled < 1.0
    require_same_everywhere(product, visitors[0], chats[0], watching.end())
    assert product.poll(visitors[0], chats[0])["status"] == "cancelled"


def test_a_prompt_beyond_the_model_s_room_is_its_own_refusal(product: Product) -> None:
    token = product.visitor()
    chat = ask(product, token, "word " * 3000, "wide")
    failed = list(product.events(token, chat))[-1]
    assert (failed.kind, failed.data["code"]) == ("failed", "provider_refused_request")
    assert "too long for the local model" in failed.data["message"]
    error = product.poll(token, chat)["error"]
    assert (error["code"], error["message"]) == (failed.data["code"], failed.data["message"])


def test_a_route_that_says_nothing_refuses_such_a_message_at_once(product: Product) -> None:
    with product.client(product.visitor()) as client:
        response = client.post("/ai/v1/chat", json={"message": "word " * 3000})
    assert (response.status_code, "1024 tokens" in response.text) == (413, True)


def test_one_that_is_killed_comes_back_and_answers(product: Product) -> None:
    killed = Slots(product).pid
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: "local-model ended (signal SIGKILL)" in product.log)
    eventually(lambda: product.log.count("answers on http://127.0.0.1:") == 2)
    token = product.visitor()
    assert product.poll(token, ask(product, token, "What is the capital of Italy?"))["status"] == "done"


def test_no_key_stands_in_the_log_or_on_a_command_line(product: Product) -> None:
    (pid,) = product.processes(" local-model ")
    environ = Path(f"/proc/{pid}/environ").read_text()
    key = environ.partition("STREAMER_LOCAL_API_KEY=")[2].partition("\0")[0]
    assert len(key) > 40
    assert key not in product.log
    assert not product.processes(key)
