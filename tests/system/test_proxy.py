"""`/v1/chat` through all processes, as a site's server calls it; results verified by the examples themselves."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.openai_server import Answer, FakeOpenAI, refused
from tests.missing import missing
from tests.streamer.frames import ids, parse, shown
from tests.system.product import COMMAND, ROOT, Product, eventually

ROUTES = """
[routes.chat]
model = "openai:gpt-4o-mini"
models = ["openai:gpt-4o"]
system = "Be kind."
max_output_tokens = 100
temperature = 0.5

[routes.quick]
model = "openai:gpt-4o-mini"
response_seconds = 1
"""

VERIFY = ROOT / "examples" / "verify"


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(Answer(tokens=20)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def product(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("product")
    (folder / "streamer.toml").write_text(ROUTES)
    with Product(folder, upstream.url, {"STREAMER_HANG_UP_SECONDS": "0.5", "STREAMER_CACHE_SECONDS": "600"}) as product:
        yield product


@pytest.fixture
def client(product: Product) -> Iterator[httpx.Client]:
    with product.client(product.api_key) as client:
        yield client


def asking(prompt: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}], **more}


def words(prompt: str, tokens: int = 20) -> str:
    return "".join(FakeOpenAI.words(prompt, tokens))


def streamer(product: Product, *arguments: str) -> str:
    command = [str(COMMAND), *arguments, "--data", str(product.data)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_an_existing_plugin_gets_its_answer_and_usage(client: httpx.Client, upstream: FakeOpenAI) -> None:
    sent = {
        "provider": "openai:gpt-4o-mini",
        "messages": [{"role": "user", "content": "plugin"}],
        "system": "Be short.",
        "temperature": 0.9,
        "max_output_tokens": 800,
        "metadata": {"site": "https://example.org", "user_id": 7},
    }
    response = client.post("/v1/chat", json=sent)

    assert response.status_code == 200
    body = response.json()
    assert (body["text"], body["finish_reason"]) == (words("plugin"), "stop")
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (11, 20)
    asked = upstream.seen[-1]
    assert asked["messages"] == [
        {"role": "system", "content": "Be kind.\n\nBe short."},
        {"role": "user", "content": "plugin"},
    ]
    assert asked["temperature"] == 0.5
    assert 100 in (asked.get("max_tokens"), asked.get("max_completion_tokens"))


def test_a_model_beside_the_routes_own_is_asked_where_the_route_allows_it(
    client: httpx.Client, upstream: FakeOpenAI
) -> None:
    assert client.post("/v1/chat", json=asking("other", provider="openai:gpt-4o")).json()["model"] == "gpt-4o"
    assert upstream.seen[-1]["model"] == "gpt-4o"
    refusal = client.post("/v1/chat", json=asking("other", provider="openai:o1"))
    assert (refusal.status_code, "`routes.chat.models`" in refusal.json()["message"]) == (400, True)


def test_a_stream_comes_in_the_posts_own_answer_and_resumes(client: httpx.Client) -> None:
    with client.stream("POST", "/v1/chat", json=asking("stream", stream=True)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        generation_id = response.headers["x-generation-id"]
        events = parse(b"".join(response.iter_raw()))

    assert shown(events) == words("stream")
    path = f"/v1/chat/{generation_id}/events"
    third = ids(events)[2]
    resumed = parse(client.get(path, headers={"last-event-id": third}).content)
    assert ids(resumed) == ids(events)[3:]
    assert client.get(path, headers={"last-event-id": ids(events)[-1]}).status_code == 204
    assert client.get(f"/v1/chat/{generation_id}").json()["text"] == words("stream")


def test_an_asynchronous_call_is_polled_later(client: httpx.Client) -> None:
    posted = client.post("/v1/chat", json=asking("later"), headers={"prefer": "respond-async"})
    assert (posted.status_code, posted.headers["preference-applied"]) == (202, "respond-async")

    polled = client.get(f"{posted.json()['links']['self']}?wait=25")
    assert (polled.status_code, polled.json()["text"]) == (200, words("later"))


def test_a_slow_answer_is_a_504_and_goes_on(client: httpx.Client, upstream: FakeOpenAI) -> None:
    upstream.script(Answer(tokens=20, delay_seconds=0.1))
    response = client.post("/v1/chat", json=asking("slow", route="quick"))

    assert (response.status_code, response.json()["error"]) == (504, "response_timeout")
    assert client.get(f"{response.json()['links']['self']}?wait=25").json()["text"] == words("slow")


@pytest.mark.parametrize("stream", [False, True])
def test_hanging_up_closes_the_providers_socket(
    product: Product, upstream: FakeOpenAI, client: httpx.Client, stream: bool
) -> None:
    eventually(lambda: upstream.answering == 0)
    upstream.script(Answer(tokens=20, fault="hang", at=3))
    with product.client(product.api_key) as leaving, pytest.raises(httpx.TimeoutException):
        leaving.post(
            "/v1/chat", json=asking("left", stream=stream), timeout=1.0, headers={"idempotency-key": f"l{stream}"}
        )
    started = time.monotonic()
    eventually(lambda: upstream.answering == 0)

    assert time.monotonic() - started < 50  # the answer itself would hang for ever
    again = client.post("/v1/chat", json=asking("left", stream=stream), headers={"idempotency-key": f"l{stream}"})
    if not stream:
        assert (again.json()["finish_reason"], again.json()["text"]) == ("cancelled", words("left", 3))


def test_who_repeats_the_call_in_time_takes_it_over(
    product: Product, upstream: FakeOpenAI, client: httpx.Client
) -> None:
    eventually(lambda: upstream.answering == 0)
    upstream.script(Answer(tokens=30, delay_seconds=0.1))
    key = {"idempotency-key": "taken-over"}
    with product.client(product.api_key) as leaving, pytest.raises(httpx.TimeoutException):
        leaving.post("/v1/chat", json=asking("again"), timeout=1.0, headers=key)

    assert client.post("/v1/chat", json=asking("again"), headers=key).json()["text"] == words("again", 30)


def test_one_key_is_one_call_to_the_provider(product: Product, upstream: FakeOpenAI) -> None:
    before = upstream.calls

    def post(_: int) -> str:
        with product.client(product.api_key) as client:
            return str(client.post("/v1/chat", json=asking("once"), headers={"idempotency-key": "once"}).json()["id"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(post, range(8)))) == 1
    assert upstream.calls == before + 1


def test_the_same_request_is_answered_from_the_cache_unless_it_says_otherwise(
    client: httpx.Client, upstream: FakeOpenAI
) -> None:
    def post(**headers: str) -> dict[str, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        found: dict[str, Any] = client.post("/v1/chat", json=asking("cached"), headers=named).json()
        return found

    first, again, anew = post(), post(), post(cache_control="no-cache")

    assert [each["cached"] for each in (first, again, anew)] == [False, True, False]
    assert first["text"] == again["text"] == anew["text"]
    assert (again["usage"]["total_tokens"], anew["usage"]["total_tokens"]) == (0, 31)


def test_a_providers_failure_has_its_status(client: httpx.Client, upstream: FakeOpenAI) -> None:
    upstream.script(refused(401, "invalid_api_key"))
    response = client.post("/v1/chat", json=asking("refused"))

    assert (response.status_code, response.json()["error"]) == (502, "provider_auth")
    assert client.get(response.json()["links"]["self"]).status_code == 502


def test_what_breaks_off_unseen_is_asked_again(client: httpx.Client, upstream: FakeOpenAI) -> None:
    upstream.script(Answer(tokens=9, fault="reset", at=4))

    assert client.post("/v1/chat", json=asking("broken")).json()["text"] == words("broken")


def test_a_visitor_and_a_server_do_not_see_each_others_answers(product: Product, client: httpx.Client) -> None:
    visitor = product.visitor()
    chat = product.ask(visitor, "mine")
    direct = client.post("/v1/chat", json=asking("mine too")).json()["id"]

    for suffix in ("", "/events"):
        assert client.get(f"/v1/chat/{chat['id']}{suffix}").status_code == 404
    with product.client(visitor) as theirs:
        for path in (f"/ai/v1/chat/{direct}", f"/ai/v1/chat/{direct}/events"):
            assert theirs.get(path).status_code == 404
        assert theirs.post("/v1/chat", json=asking("hi")).status_code == 401


def php() -> str:
    return shutil.which("php") or missing("no php: `sudo apt-get install -y php-cli`")


def node() -> str:
    import playwright

    found = Path(playwright.__file__).parent / "driver" / "node"
    return (
        str(found) if found.exists() else shutil.which("node") or missing("no node: `sudo apt-get install -y nodejs`")
    )


def python() -> str:
    return shutil.which("python3") or missing("no python3")


@pytest.mark.parametrize(("interpreter", "example"), [(php, "verify.php"), (node, "verify.js"), (python, "verify.py")])
def test_each_example_verifies_a_result_and_refuses_another(
    product: Product, client: httpx.Client, interpreter: Any, example: str
) -> None:
    command = [interpreter(), str(VERIFY / example)]
    response = client.post("/v1/chat", json=asking(f"signed for {example} é"))
    header, body = response.headers["x-signature"], response.content

    def verdict(body: bytes, header: str, secret: str) -> tuple[int, str]:
        environ = {"PATH": os.environ["PATH"], "SIGNING_SECRET": secret}
        done = subprocess.run([*command, header], input=body, capture_output=True, env=environ, timeout=60)
        return done.returncode, done.stdout.decode() + done.stderr.decode()

    before = streamer(product, "keys", "signing-secret", "show")
    assert verdict(body, header, before) == (0, "genuine\n")
    after = streamer(product, "keys", "signing-secret", "rotate")
    both = client.get(response.headers["location"])
    assert verdict(both.content, both.headers["x-signature"], before) == (0, "genuine\n")
    assert verdict(both.content, both.headers["x-signature"], after) == (0, "genuine\n")
    old = header.replace(header[2:12], str(int(header[2:12]) - 600))
    for wrong in [
        (body + b" ", header, before),
        (body.replace(b"stop", b"stoq"), header, before),
        (body, header, "sig-" + "x" * 43),
        (body, old, before),
        (body, "", before),
        (body, "t=,v1=", before),
        (b"[]", header, before),
    ]:
        assert verdict(*wrong) == (1, "not genuine\n"), wrong
