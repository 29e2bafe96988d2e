"""What can go wrong is in docs/troubleshooting.md: each check, each code, each message that ends a command."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import RequestError, Unavailable, generation_failures
from streamer.doctor.command import CHECKS, ONLINE
from tests.docs.pages import DOCS
from tests.docs.test_documented import errors_of

ROOT = DOCS.parent
PAGE = (DOCS / "troubleshooting.md").read_text()

#: Said of a value of the operator's, in whose place the page has dots.
SHORTEST_WORDS = 8


def messages() -> Iterator[tuple[str, str]]:
    """The place of each SettingInvalid that is raised with words of its own, and the longest run of them."""
    for package in ("models", "tasks", "streamer"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "SettingInvalid":
                    words = [each for argument in node.args for each in _constants(argument)]
                    if words and len(longest := max(words, key=len).strip()) >= SHORTEST_WORDS:
                        yield f"{path.relative_to(ROOT)}", longest


def _constants(node: ast.AST) -> Iterator[str]:
    """The literal text of a string, names of calls inside an f-string aside."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr | ast.BinOp):
        for child in ast.iter_child_nodes(node):
            yield from _constants(child)


def section(title: str) -> str:
    """The page from one heading to the next."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("name", [check.name for check in (*CHECKS, *ONLINE)])
def test_every_check_of_the_doctor_has_a_row(name: str) -> None:
    assert f"| `{name}` |" in section("Lines of `streamer doctor`")


@pytest.mark.parametrize("code", sorted({*errors_of(RequestError), *errors_of(Unavailable), "internal"}))
def test_every_error_code_has_a_row(code: str) -> None:
    assert f"| `{code}` |" in section("Errors of the API")


@pytest.mark.parametrize("code", sorted(generation_failures()))
def test_every_failure_code_has_a_row(code: str) -> None:
    assert f"| `{code}` |" in section("Answers that failed")


@pytest.mark.parametrize(("place", "words"), list(messages()))
def test_every_message_that_ends_a_command_has_a_row(place: str, words: str) -> None:
    assert plain(words) in plain(section("Messages that end a command")), place


def test_links_inside_the_docs_lead_somewhere() -> None:
    for path in [*DOCS.glob("*.md"), ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_anchors_inside_the_docs_exist() -> None:
    for path in DOCS.glob("*.md"):
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)]+)\)", path.read_text()):
            page = path if not target else Path(path.parent, target)
            titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, anchor
