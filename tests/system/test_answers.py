"""What visitors are promised, from a POST to the last byte, through all of the processes."""

import asyncio
import random
import sqlite3
from hashlib import sha256
from typing import Any

import pytest

from tests.fakes.openai_server import Answer, FakeOpenAI
from tests.streamer.frames import Event, ids, parse, shown
from tests.system.product import Product, Watching, eventually


def stored(product: Product, generation_id: str) -> dict[str, Any]:
    """The row, as it stands in the database file."""
    with sqlite3.connect(f"file:{product.data}/streamer.db?mode=ro", uri=True) as connection:
        connection.row_factory = sqlite3.Row
        row = connection.execute("SELECT * FROM generation WHERE id = ?", (generation_id,)).fetchone()
    connection.close()
    return dict(row)


def test_stream_poll_and_row_say_the_same_to_the_byte(product: Product, upstream: FakeOpenAI, visitor: str) -> None:
    text = "".join(upstream.words("the same", 40))
    chat = product.ask(visitor, "the same")
    events = list(product.events(visitor, chat))
    polled = product.poll(visitor, chat)
    row = stored(product, chat["id"])

    end = events[-1].data
    assert shown(events) == text == polled["result"]["text"] == row["text"]
    assert (end["sha256"], end["length"]) == (sha256(text.encode()).hexdigest(), len(text))
    assert (end["status"], polled["status"], row["status"]) == ("done", "done", "done")
    assert (end["finish_reason"], polled["result"]["finish_reason"], row["finish_reason"]) == ("stop",) * 3
    assert (end["usage"]["input"], end["usage"]["output"], end["usage"]["source"]) == (11, 40, "provider")
    assert polled["tokens"] == {"in": 11, "out": 40}
    assert (row["input_tokens"], row["output_tokens"], row["usage_source"]) == (11, 40, "provider")
    assert ids(events) == [f"1-{seq}" for seq in range(len(ids(events)))]
    assert (ids(events)[-1], row["crashes"], row["calls"]) == (row["terminal_id"], 0, 1)


@pytest.mark.parametrize(
    ("answer", "status", "finish_reason", "tokens"),
    [
        (Answer(tokens=3, finish_reason="length"), "done", "length", {"in": 11, "out": 3}),
        (Answer(tokens=9, fault="end", at=4), "incomplete", "interrupted", None),
        (Answer(tokens=9, fault="reset", at=4), "incomplete", "interrupted", None),
        (Answer(texts=("a\u2028b", "\n\nevent: done\ndata: x\n\n", "🙂\0", "é")), "done", "stop", {"in": 11, "out": 4}),
    ],
)
def test_every_kind_of_end_is_told_alike_everywhere(
    product: Product,
    upstream: FakeOpenAI,
    visitor: str,
    answer: Answer,
    status: str,
    finish_reason: str,
    tokens: dict[str, int] | None,
) -> None:
    upstream.script(answer)
    chat = product.ask(visitor, "ends")
    events = list(product.events(visitor, chat))
    polled = product.poll(visitor, chat)
    row = stored(product, chat["id"])

    assert events[-1].data["status"] == polled["status"] == row["status"] == status
    assert (
        events[-1].data["finish_reason"] == polled["result"]["finish_reason"] == row["finish_reason"] == finish_reason
    )
    assert shown(events) == polled["result"]["text"] == row["text"]
    assert events[-1].data["sha256"] == sha256(row["text"].encode()).hexdigest()
    if tokens:
        assert polled["tokens"] == tokens
    if answer.texts:
        assert row["text"] == "".join(answer.texts).replace("\0", "\ufffd")
    elif answer.fault:
        assert row["text"] == "".join(upstream.words("ends", 4))


def test_a_failure_is_told_alike_everywhere(product: Product, upstream: FakeOpenAI, visitor: str) -> None:
    upstream.script(Answer(status=401))
    chat = product.ask(visitor, "fails")
    events = list(product.events(visitor, chat))
    polled = product.poll(visitor, chat)

    assert (events[-1].kind, events[-1].data["code"]) == ("failed", "provider_auth")
    assert (polled["status"], polled["error"]["code"], polled["result"]) == ("error", "provider_auth", None)
    assert "secret prompt" not in str(polled) + str(events)


async def test_two_hundred_answers_at_once_are_each_exact_and_none_waits_for_another(
    product: Product, upstream: FakeOpenAI, visitor: str
) -> None:
    upstream.usually, usually = Answer(tokens=30, fault="hold", at=10), upstream.usually
    messages = [f"one of many {number}" for number in range(200)]

    async with product.async_client(visitor) as client:

        async def ask_and_watch(message: str) -> tuple[dict[str, Any], list[Event]]:
            posted = await client.post("/ai/v1/chat", json={"message": message})
            assert posted.status_code == 202, posted.text
            chat: dict[str, Any] = posted.json()
            found = await client.get(chat["links"]["events"])
            return chat, parse(found.content)

        watching = [asyncio.create_task(ask_and_watch(message)) for message in messages]
        answering = asyncio.create_task(upstream.until(lambda: upstream.answering == 200, 100))
        try:
            await asyncio.wait([answering, *watching], return_when=asyncio.FIRST_COMPLETED)  # a refusal is told at once
            upstream.release()
            answers = await asyncio.gather(*watching)
            await answering
        finally:
            upstream.release()
            upstream.usually = usually
        for message, (chat, events) in zip(messages, answers, strict=True):
            text = "".join(upstream.words(message, 30))
            assert shown(events) == text
            assert events[-1].data["sha256"] == sha256(text.encode()).hexdigest()
            polled = (await client.get(chat["links"]["self"])).json()
            assert (polled["status"], polled["result"]["text"]) == ("done", text)
            assert polled["tokens"] == {"in": 11, "out": 30}


@pytest.mark.parametrize("running", [True, False])
def test_a_reconnect_gets_exactly_the_rest(product: Product, upstream: FakeOpenAI, visitor: str, running: bool) -> None:
    chat = product.ask(visitor, f"resume {running}")
    if not running:
        product.poll(visitor, chat)
    first: list[Event] = []
    for event in product.events(visitor, chat):
        first.append(event)
        if len(ids(first)) == 5:
            break
    rest = list(product.events(visitor, chat, ids(first)[-1]))

    whole = [event for event in first + rest if event.id]
    assert ids(whole) == [f"1-{seq}" for seq in range(len(whole))]
    assert shown(whole) == "".join(upstream.words(f"resume {running}", 40))
    with product.client(visitor) as client:
        gone = client.get(chat["links"]["events"], headers={"last-event-id": ids(whole)[-1]})
        assert gone.status_code == 204


def test_a_viewer_who_leaves_is_no_mistake_of_ours(product: Product, upstream: FakeOpenAI, visitor: str) -> None:
    told = len(product.log)
    upstream.script(Answer(tokens=40, fault="hold", at=5))
    chat = product.ask(visitor, "left")
    viewing = product.events(visitor, chat)
    next(viewing)
    viewing.close()
    eventually(lambda: _viewers(product) == 0)
    upstream.release()

    assert product.poll(visitor, chat)["status"] == "done"
    assert " ERROR " not in product.log[told:]


def _viewers(product: Product) -> int:
    with product.client(product.api_key) as client:
        return int(client.get("/readyz").json()["counts"]["viewers"])


def test_a_poll_tells_from_where_a_stream_brings_the_rest(product: Product, upstream: FakeOpenAI, visitor: str) -> None:
    upstream.usually, usually = Answer(tokens=250, delay_seconds=0.02), upstream.usually
    with product.client(visitor) as client:
        chat = product.ask(visitor, "half polled")

        def polled() -> dict[str, Any] | None:
            found: dict[str, Any] = client.get(chat["links"]["self"]).json()
            return found if found["result"] else None

        half = eventually(polled)
    upstream.usually = usually
    rest = list(product.events(visitor, chat, half["last_event_id"]))

    assert half["status"] == "running"
    assert half["result"]["text"] + shown(rest) == "".join(upstream.words("half polled", 250))


def test_viewers_that_are_cut_at_random_all_end_with_the_same_text(
    product: Product, upstream: FakeOpenAI, visitor: str
) -> None:
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    chat = product.ask(visitor, "many see it")
    watching = [Watching(product, visitor, chat) for _ in range(5)]
    events: list[Event] = []
    while not events or events[-1].kind != "done":
        limit = chance.randint(1, 6)
        for event in product.events(visitor, chat, ids(events)[-1] if ids(events) else ""):
            events.append(event)
            limit -= 1
            if not limit:
                break

    text = "".join(upstream.words("many see it", 40))
    for each in (events, *(one.end() for one in watching)):
        assert shown(each) == text, f"{seed=}"
        assert ids(each) == [f"1-{seq}" for seq in range(len(ids(each)))], f"{seed=}"


def test_a_cancel_closes_the_providers_socket_and_keeps_the_text_so_far(
    product: Product, upstream: FakeOpenAI, visitor: str
) -> None:
    upstream.script(Answer(tokens=50, fault="hang", at=10))
    chat = product.ask(visitor, "stop me")
    watching = Watching(product, visitor, chat)
    text = "".join(upstream.words("stop me", 10))
    watching.until(lambda events: shown(list(events)) == text)
    with product.client(visitor) as client:
        assert client.post(chat["links"]["cancel"]).status_code == 202
    upstream.wait_until(lambda: upstream.answering == 0, 2.0)

    events, polled = watching.end(), product.poll(visitor, chat)
    assert events[-1].data["status"] == polled["status"] == "cancelled"
    assert shown(events) == polled["result"]["text"] == text
