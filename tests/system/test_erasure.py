"""Deleting a conversation while its answer runs: stopped, told, and gone from every file of ours, through all processes."""

import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.fakes.openai_server import Answer, FakeOpenAI
from tests.streamer.frames import shown
from tests.system.product import Product, Watching, eventually

QUESTION = "canary-of-the-question"


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(Answer(tokens=40)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def product(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with Product(tmp_path_factory.mktemp("product"), upstream.url, {"STREAMER_MAX_REQUESTS": "1000"}) as product:
        yield product


def query(product: Product, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{product.data}/streamer.db?mode=ro", uri=True) as connection:
        found = connection.execute(sql, values).fetchall()
    connection.close()
    return found


def logs(product: Product) -> list[str]:
    """The event logs that Redis holds."""
    with redis.Redis(unix_socket_path=str(eventually(lambda: next(product.data.rglob("redis.sock"), None)))) as client:
        keys: Any = client.keys("events:*")
        return [key.decode() for key in keys]


def test_a_running_answer_is_stopped_and_told_and_all_of_it_is_erased(product: Product, upstream: FakeOpenAI) -> None:
    visitor = product.visitor()
    with product.client(visitor) as client:
        body = {"message": QUESTION, "conversation_id": "c"}
        first = client.post("/ai/v1/chat", json=body).json()
        product.poll(visitor, first)
        upstream.script(Answer(tokens=40, fault="hang", at=20))
        second = client.post("/ai/v1/chat", json=body).json()
        watching = Watching(product, visitor, second)
        watching.until(lambda events: shown(events).count("·") == 20)

        began = time.monotonic()
        response = client.delete("/ai/v1/conversations/c")
        took = time.monotonic() - began

        assert response.status_code == 204, response.text
        assert took < 3
        end = watching.end()[-1]
        assert (end.kind, end.data["status"], end.data["length"]) == ("done", "cancelled", len(shown(watching.events)))
        eventually(lambda: upstream.answering == 0)
        for chat in (first, second):
            for link in ("self", "events"):
                assert client.get(chat["links"][link]).status_code == 404
            assert client.get(f"{chat['links']['events']}?ticket={chat['ticket']}").status_code == 404
        assert client.get("/ai/v1/conversations").json()["conversations"] == []
    ids = (first["id"], second["id"])
    assert query(product, "SELECT count(*) FROM generation") == [(0,)]
    assert query(product, "SELECT count(*) FROM conversation") == [(0,)]
    assert {row[0] for row in query(product, "SELECT generation_id FROM provider_call")} == set(ids)
    assert [key for key in logs(product) if any(each in key for each in ids)] == []
    text = "".join(upstream.words(QUESTION, 3))
    eventually(lambda: not any(_holds(product, each) for each in (QUESTION, text, "·0019 ")))


def _holds(product: Product, text: str) -> bool:
    """Whether SQLite's files, the write-ahead file among them, hold the text. That is emptied within 10 s or so."""
    return any(text.encode() in path.read_bytes() for path in product.data.glob("streamer.db*"))
