"""Processes die, are told to stop, and talk to a log: what holds all the same."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.openai_server import Answer, FakeOpenAI
from tests.streamer.frames import ids, shown
from tests.system.product import PROVIDER_KEY, Product, Watching, alive, eventually, kill

#: A worker that gives up what it has sooner than by default.
HASTY = {"STREAMER_WORKER_DRAIN_SECONDS": "0.5"}


@pytest.fixture
def settings() -> dict[str, str]:
    return {}


@pytest.fixture
def own(upstream: FakeOpenAI, settings: dict[str, str], tmp_path: Path) -> Iterator[Product]:
    """A product of the test's own, to be ended by it."""
    with Product(tmp_path, upstream.url, settings) as product:
        yield product


def begun(product: Product, upstream: FakeOpenAI, visitor: str, message: str) -> Watching:
    """A viewer of an answer that hangs after its first tokens."""
    upstream.script(Answer(tokens=40, fault="hang", at=5))
    watching = Watching(product, visitor, product.ask(visitor, message))
    text = "".join(upstream.words(message, 5))
    watching.until(lambda events: shown(list(events)) == text)
    return watching


def works(product: Product, upstream: FakeOpenAI, visitor: str, message: str) -> None:
    """The next request is answered in full."""
    chat = eventually(lambda: product.ask(visitor, message))
    assert product.poll(visitor, chat)["result"]["text"] == "".join(upstream.words(message, 40))


def test_a_killed_worker_comes_back_and_its_answer_begins_anew(
    product: Product, upstream: FakeOpenAI, visitor: str
) -> None:
    watching = begun(product, upstream, visitor, "kill my worker")
    (worker,) = product.processes("streamer worker")
    kill(worker)

    events = watching.end()
    assert shown(events) == "".join(upstream.words("kill my worker", 40))
    assert events[-1].data["status"] == "done"
    assert [event.id for event in events if event.kind == "started"] == ["1-0", "2-0"]
    works(product, upstream, visitor, "after the worker")
    (again,) = product.processes("streamer worker")
    assert again != worker


def test_a_killed_web_process_comes_back_and_viewers_resume(
    product: Product, upstream: FakeOpenAI, visitor: str
) -> None:
    upstream.script(Answer(tokens=40, delay_seconds=0.05))
    watching = Watching(product, visitor, product.ask(visitor, "kill the web"))
    watching.until(lambda events: len(ids(list(events))) >= 5)
    (web,) = product.processes("streamer serve")
    calls = upstream.calls
    kill(web)

    events = watching.end()
    assert ids(events) == [f"1-{seq}" for seq in range(len(ids(events)))]
    assert shown(events) == "".join(upstream.words("kill the web", 40))
    assert upstream.calls == calls
    works(product, upstream, visitor, "after the web")


def test_a_killed_redis_comes_back_and_answers_go_on(product: Product, upstream: FakeOpenAI, visitor: str) -> None:
    upstream.script(Answer(tokens=40, delay_seconds=0.05))
    watching = Watching(product, visitor, product.ask(visitor, "kill redis"))
    watching.until(lambda events: len(ids(list(events))) >= 5)
    (redis,) = product.processes("redis-server")
    kill(redis)

    events = watching.end()
    assert shown(events) == "".join(upstream.words("kill redis", 40))
    works(product, upstream, visitor, "after redis")


def test_a_killed_supervisor_leaves_nothing_running(own: Product) -> None:
    pids = own.processes()
    assert len(pids) == 3
    kill(own.process.pid)
    own.process.wait(5)

    eventually(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize(("sig", "settings"), [(signal.SIGTERM, {}), (signal.SIGINT, HASTY)])
def test_a_stop_in_the_middle_of_everything_ends_all_of_it_in_time(
    own: Product, upstream: FakeOpenAI, sig: signal.Signals
) -> None:
    visitor = own.visitor()
    watching = begun(own, upstream, visitor, "stopped")
    port = int(own.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as stalled:  # half a request
        stalled.sendall(b"POST /ai/v1/chat HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
        pids = own.processes()
        began = time.monotonic()
        os.kill(own.process.pid, sig)
        assert own.process.wait(15) == 0
        assert time.monotonic() - began < 15
        eventually(lambda: not any(map(alive, pids)))
    watching.until(lambda events: any(event.kind == "close" for event in events))
    close = next(event for event in watching.events if event.kind == "close")
    assert (close.data["code"], close.data["reconnect"]) == ("draining", True)
    upstream.wait_until(lambda: upstream.answering == 0, 5.0)


def test_a_restart_goes_on_with_what_was_under_way(upstream: FakeOpenAI, tmp_path: Path) -> None:
    with Product(tmp_path, upstream.url, HASTY) as product:
        visitor = product.visitor()
        upstream.script(Answer(tokens=40, fault="hang", at=5))
        chat = product.ask(visitor, "over a restart")
        upstream.wait_until(lambda: upstream.answering == 1)
        product.process.terminate()
        assert product.process.wait(15) == 0
    with Product(tmp_path, upstream.url) as product:
        polled = product.poll(visitor, chat)

    assert polled["status"] == "done"
    assert polled["result"]["text"] == "".join(upstream.words("over a restart", 40))


def test_the_log_of_all_of_this_tells_nothing_private(product: Product, upstream: FakeOpenAI, visitor: str) -> None:
    message = "canary of a message, too"
    upstream.script(Answer(texts=("canary of an answer",), fault="error", at=1))
    chat = product.ask(visitor, message)
    with product.client() as client:
        assert client.get(f"{chat['links']['events']}?ticket={chat['ticket']}").status_code == 200
        assert client.get(f"{chat['links']['events']}?ticket=x{chat['ticket']}").status_code == 401
        broken = f'{{"message": "{message}", "x": 1}}'.encode()
        headers = {"authorization": f"Bearer {visitor}", "content-type": "application/json"}
        assert client.post("/ai/v1/chat", content=broken, headers=headers).status_code == 400
        assert client.post("/ai/v1/chat", content=broken[:-5], headers=headers).status_code == 400
    product.poll(visitor, chat)
    log = product.log

    private = {
        "the provider's key": PROVIDER_KEY[3:],
        "a message": "canary of a message",
        "an answer": "canary of an answer",
        "a provider's error": "secret prompt",
        "an earlier message": "kill my worker",
        "an earlier answer": upstream.words("kill my worker", 1)[0].strip(),
        "a ticket": chat["ticket"][-20:],
        "a token": visitor[-20:],
        "the API key": product.api_key[-20:],
        "a traceback": "Traceback",
    }
    assert [name for name, text in private.items() if text in log] == []
    assert chat["id"] in log
