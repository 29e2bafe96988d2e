"""The tour in README.md, pasted into a shell as it stands."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fakes.openai_server import Answer, FakeOpenAI
from tests.missing import missing
from tests.streamer.frames import Event, ids, parse, shown
from tests.system.product import ROOT, Product

_BLOCK = re.compile(r"^   ```sh\n(.*?)^   ```$", re.MULTILINE | re.DOTALL)

TOKENS = 50


def blocks() -> list[str]:
    """The commands of the tour, a block each."""
    tour = (ROOT / "README.md").read_text().partition("## Five minutes\n")[2].partition("\n## ")[0]
    return ["".join(line.removeprefix("   ") for line in block.splitlines(True)) for block in _BLOCK.findall(tour)]


@pytest.fixture(scope="module")
def said(product: Product, upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each block prints, in one shell; only the port is another than in the text."""
    for command in ("bash", "curl"):
        if shutil.which(command) is None:
            missing(f"no {command}: apt-get install {command}")
    upstream.usually = Answer(tokens=TOKENS, delay_seconds=0.06)  # longer than the two seconds of the tour
    folder = tmp_path_factory.mktemp("tour")
    Path(folder, "data").symlink_to(product.data)
    mark = "==== end of a block ===="
    script = "".join(f"{block}\necho '{mark}'\n" for block in blocks())
    script = script.replace("http://127.0.0.1:8000", product.url)
    done = subprocess.run(["bash"], input=script, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split(f"{mark}\n")


def stream(text: str) -> list[Event]:
    return parse(text.encode())


def test_there_is_a_tour() -> None:
    assert len(blocks()) == 6


def test_a_token_is_had_without_a_word(said: list[str]) -> None:
    assert said[0] == ""


def test_a_message_is_answered_with_id_links_and_ticket(said: list[str]) -> None:
    for word in ('"id":', '"status":"queued"', '"links":', '"ticket":'):
        assert word in said[1]


def test_the_stream_is_shown_to_its_end(said: list[str], upstream: FakeOpenAI) -> None:
    events = stream(said[2])
    assert shown(events) == "".join(upstream.words("Why is the sky blue?", TOKENS))
    assert events[-1].kind == "done"


def test_a_stream_that_was_cut_is_resumed_where_it_was(said: list[str], upstream: FakeOpenAI) -> None:
    cut, _, rest = said[3].partition("\n")
    found = re.fullmatch(r"cut off after (1-(\d+))", cut)
    assert found is not None, cut
    events = stream(rest)
    assert ids(events)[0] == f"1-{int(found[2]) + 1}"
    assert "".join(upstream.words("Why is the sea green?", TOKENS)).endswith(shown(events))
    assert events[-1].kind == "done"


def test_a_poll_has_the_whole_answer(said: list[str], upstream: FakeOpenAI) -> None:
    assert '"status":"done"' in said[4]
    assert "".join(upstream.words("Why is the sea green?", TOKENS)).strip() in said[4]


def test_a_cancel_is_taken(said: list[str]) -> None:
    assert re.search(r'"status":"(running|cancelled)"', said[5])
    assert said[5].count('"links"') == 2
