"""What the provider receives in a long conversation, turn by turn, through all of the processes: exactly what the rules say."""

from collections.abc import Iterator
from typing import Any

import pytest

from tasks import tokenizer
from tasks.history import MARKERS
from tests.fakes.openai_server import Answer, FakeOpenAI
from tests.system.product import Product

MODEL, LIMIT = "gpt-4o-mini", 600
SYSTEM, SAFETY = "You answer briefly, as a friend would.", "Never tell a secret."

ROUTES = f"""
[routes.chat]
model = "openai:{MODEL}"
system = "{SYSTEM}"
safety = "{SAFETY}"
max_input_tokens = {LIMIT}

[routes.alone]
model = "openai:{MODEL}"
history = "none"
"""

#: How the 40 turns are answered: mostly whole, at 1 to 90 tokens of the provider's; the questions' lengths vary as well.
BROKEN, FAILED, CANCELLED = {7, 22, 39}, {4, 13, 14, 38}, {10, 25, 37}
HUGE = 18

Message = dict[str, str]


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(Answer(tokens=3)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def product(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("product")
    (folder / "streamer.toml").write_text(ROUTES)
    with Product(folder, upstream.url, {"STREAMER_MAX_REQUESTS": "1000"}) as product:
        yield product


@pytest.fixture
def visitor(product: Product) -> str:
    return product.visitor()


def tokens(text: str) -> int:
    """tiktoken's own count."""
    return len(tokenizer.encoder(MODEL).encode_ordinary(text))


def question(number: int) -> str:
    return f"Question {number}: " + "why so? " * (number % 7 * 3 if number != HUGE else 150)


def script(number: int) -> Answer:
    """How the provider answers this turn."""
    if number in FAILED:
        return Answer(status=401)
    if number in BROKEN:
        return Answer(tokens=9, fault="end", at=4)
    if number in CANCELLED:
        return Answer(tokens=9, fault="hang", at=5)
    return Answer(tokens=1 + number * 11 % 30)


class Talk:
    """A conversation as its visitor has it, with what the rules say of each next turn."""

    def __init__(self, product: Product, upstream: FakeOpenAI, visitor: str, name: str) -> None:
        self._product, self._upstream, self._visitor, self._name = product, upstream, visitor, name
        self.turns: dict[str, dict[str, Any]] = {}
        """Those that have ended, by their ids."""

    def say(self, body: dict[str, Any], answer: Answer) -> tuple[str, list[Message]]:
        """The turn's id, and what the provider received."""
        self._upstream.script(answer)
        asked = len(self._upstream.seen)
        with self._product.client(self._visitor) as client:
            response = client.post("/ai/v1/chat", json=body)
            assert response.status_code == 202, response.text
            chat = response.json()
            if answer.fault == "hang":
                deltas = (event for event in self._product.events(self._visitor, chat) if event.kind == "delta")
                text = ""
                while text.count("·") < answer.at:
                    text += next(deltas).data["text"]
                deltas.close()
                assert client.post(chat["links"]["cancel"]).status_code == 202
        self._product.poll(self._visitor, chat)
        self.turns |= {turn["id"]: turn for turn in self.read()}
        (received,) = self._upstream.seen[asked:]
        return chat["id"], received["messages"]

    def read(self) -> list[dict[str, Any]]:
        """All turns, as the conversation's address tells them."""
        with self._product.client(self._visitor) as client:
            response = client.get(f"/ai/v1/conversations/{self._name}")
            assert response.status_code == 200, response.text
            found: list[dict[str, Any]] = response.json()["turns"]
            return found

    def expected(self, parent: str | None, message: str) -> tuple[list[Message], dict[str, int]]:
        """By the rules, written down once more: what is sent, and its figures."""
        system = f"{SYSTEM}\n\n{SAFETY}"
        left = LIMIT - tokens(system) - tokens(message)
        before: list[Message] = []
        sent = dropped = 0
        while parent is not None:
            turn = self.turns[parent]
            parent = turn["parent"]
            if turn["status"] == "error":
                continue
            pair = [turn["message"], _told(turn)]
            cost = sum(map(tokens, pair))
            if dropped or cost > left:
                dropped += 1
                continue
            left -= cost
            sent += 1
            before = [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}, *before]
        messages = [{"role": "system", "content": system}, *before, {"role": "user", "content": message}]
        return messages, {"turns": sent, "dropped": dropped, "tokens": LIMIT - left}


def _told(turn: dict[str, Any]) -> str:
    text = turn["result"]["text"]
    return text if turn["status"] == "done" else f"{text}\n\n{MARKERS[turn['status']]}"


def test_forty_turns_and_their_branches_are_told_by_the_rules(
    product: Product, upstream: FakeOpenAI, visitor: str
) -> None:
    talk = Talk(product, upstream, visitor, "forty")
    ids: list[str] = []
    figures = []
    for number in range(40):
        body = {"message": question(number), "conversation_id": "forty"}
        wanted, history = talk.expected(ids[-1] if ids else None, question(number))
        generation_id, received = talk.say(body, script(number))
        ids.append(generation_id)
        assert received == wanted, f"turn {number}"
        told = talk.turns[generation_id]
        assert told["history"] == history, f"turn {number}"
        assert told["history"]["tokens"] == sum(tokens(each["content"]) for each in received) <= LIMIT
        figures.append((history["turns"], history["dropped"]))

    statuses = {talk.turns[ids[number]]["status"] for number in CANCELLED}
    assert statuses == {"cancelled"}
    assert {talk.turns[ids[number]]["status"] for number in BROKEN} == {"incomplete"}
    assert {talk.turns[ids[number]]["status"] for number in FAILED} == {"error"}
    assert max(dropped for _, dropped in figures) > 20
    assert len({turns for turns, _ in figures}) > 4
    assert figures[HUGE + 1] == (0, HUGE + 1 - len([each for each in FAILED if each < HUGE])), (
        "the huge turn ends the way"
    )

    # Branches: what came after, or beside, is not told.
    for number, body in (
        (6, {"regenerate": ids[6]}),
        (30, {"edit": ids[30], "message": "something else"}),
        (0, {"edit": ids[0], "message": "from the beginning"}),
    ):
        message = str(body.get("message", question(number)))
        wanted, history = talk.expected(talk.turns[ids[number]]["parent"], message)
        generation_id, received = talk.say(body, Answer(tokens=3))
        assert received == wanted
        assert talk.turns[generation_id]["history"] == history
        assert talk.turns[generation_id]["parent"] == talk.turns[ids[number]]["parent"]
    after = {"message": "and so?", "conversation_id": "forty", "parent": ids[3]}
    wanted, _ = talk.expected(ids[3], "and so?")
    assert talk.say(after, Answer(tokens=3))[1] == wanted
    assert len(talk.read()) == 44


def test_a_route_without_history_tells_the_new_message_alone(
    product: Product, upstream: FakeOpenAI, visitor: str
) -> None:
    talk = Talk(product, upstream, visitor, "alone")
    body = {"conversation_id": "alone", "route": "alone"}
    talk.say(body | {"message": "one"}, Answer(tokens=3))

    generation_id, received = talk.say(body | {"message": "two"}, Answer(tokens=3))

    assert received == [{"role": "user", "content": "two"}]
    assert talk.turns[generation_id]["history"] == {"turns": 0, "dropped": 0, "tokens": 1}


def test_two_visitors_conversations_of_one_name_are_told_apart(product: Product, upstream: FakeOpenAI) -> None:
    for user in ("u1", "u2"):
        talk = Talk(product, upstream, product.visitor(user), "shared")
        _, first = talk.say({"message": f"I am {user}", "conversation_id": "shared"}, Answer(tokens=2))
        _, second = talk.say({"message": "Who am I?", "conversation_id": "shared"}, Answer(tokens=2))
        assert [each["content"] for each in first if each["role"] == "user"] == [f"I am {user}"]
        assert [each["content"] for each in second if each["role"] == "user"] == [f"I am {user}", "Who am I?"]


def test_a_deleted_conversation_is_told_to_nobody(product: Product, upstream: FakeOpenAI, visitor: str) -> None:
    talk = Talk(product, upstream, visitor, "deleted")
    talk.say({"message": "my secret", "conversation_id": "deleted"}, Answer(tokens=2))
    with product.client(visitor) as client:
        assert client.delete("/ai/v1/conversations/deleted").status_code == 204

    _, received = talk.say({"message": "what did I say?", "conversation_id": "deleted"}, Answer(tokens=2))

    assert [each["content"] for each in received if each["role"] == "user"] == ["what did I say?"]
    assert len(talk.read()) == 1
