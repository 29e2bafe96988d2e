"""The same request twice, and more requests than are allowed, through all of the processes and with the product's defaults."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fakes.openai_server import Answer, FakeOpenAI
from tests.streamer.frames import shown
from tests.system.product import Product

ROUTES = """
[routes.chat]
model = "openai:gpt-4o-mini"

[routes.public]
model = "openai:gpt-4o-mini"
cache_scope = "public"
history = "none"
"""

DEFAULTS = {
    "STREAMER_MAX_REQUESTS": "",
    "STREAMER_MAX_OPEN_PER_VISITOR": "",
    "STREAMER_MAX_OPEN_PER_TENANT": "",
    "STREAMER_CACHE_SECONDS": "",
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(Answer(tokens=40)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def product(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("product")
    (folder / "streamer.toml").write_text(ROUTES)
    with Product(folder, upstream.url, DEFAULTS) as product:
        yield product


def post(product: Product, token: str, body: dict[str, Any]) -> httpx.Response:
    with product.client(token) as client:
        return client.post("/ai/v1/chat", json=body)


def answered(product: Product, token: str, **body: Any) -> dict[str, Any]:
    """The chat once it has ended; what its stream says is what a poll says."""
    chat = post(product, token, body).json()
    events = list(product.events(token, chat))
    polled = product.poll(token, chat)
    done = events[-1].data
    assert (events[-1].kind, done["cached"]) == ("done", polled["cached"])
    assert shown(events) == polled["result"]["text"]
    assert done["usage"]["output"] == polled["tokens"]["out"]
    return polled | {"source": done["usage"]["source"]}


def test_the_same_request_again_is_served_without_the_provider(product: Product, upstream: FakeOpenAI) -> None:
    ann, bob = product.visitor("ann"), product.visitor("bob")
    before = upstream.calls

    first = answered(product, ann, message="Why?")
    again = answered(product, ann, message="Why?")

    assert upstream.calls == before + 1
    assert (first["cached"], again["cached"]) == (False, True)
    assert again["result"] == first["result"]
    assert (again["tokens"], again["source"]) == ({"in": 0, "out": 0}, "cached")
    assert not answered(product, bob, message="Why?")["cached"], "another visitor's answer"
    assert not answered(product, ann, regenerate=first["id"])["cached"], "regenerate skips it"
    assert upstream.calls == before + 3


def test_a_public_routes_answer_is_everybodys(product: Product, upstream: FakeOpenAI) -> None:
    before = upstream.calls

    answered(product, product.visitor("ann"), message="What?", route="public")

    assert answered(product, product.visitor("bob"), message="What?", route="public")["cached"]
    assert upstream.calls == before + 1


def test_one_visitor_may_ask_thirty_times_and_is_told_when_again(product: Product) -> None:
    token = product.visitor("eager")
    for _ in range(30):
        answered(product, token, message="Again?")

    refused = post(product, token, {"message": "Again?"})

    assert refused.status_code == 429
    assert refused.json()["limit"] == "requests"
    assert 200 < int(refused.headers["retry-after"]) <= 300
    assert refused.headers["ratelimit-policy"] == "30;w=300"
    assert post(product, product.visitor("patient"), {"message": "Again?"}).status_code == 202
