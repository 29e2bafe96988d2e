"""What no file of the browser side may do, read from the files themselves."""

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "static"
SCRIPTS = sorted(STATIC.rglob("*.js"))
PAGES = sorted(STATIC.rglob("*.html"))

_MARKUP = re.compile(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval|new Function)\b")
_IMPORT = re.compile(r"""\b(?:from|import)\s*\(?\s*["']([^"']+)["']""")


def test_there_is_something_to_read() -> None:
    assert STATIC / "widget.js" in SCRIPTS
    assert STATIC / "index.html" in PAGES


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_makes_no_markup_out_of_text_and_no_code_out_of_strings(script: Path) -> None:
    assert _MARKUP.findall(script.read_text()) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_imports_only_what_lies_beside_it(script: Path) -> None:
    for target in _IMPORT.findall(script.read_text()):
        assert target.startswith("./"), target
        assert (script.parent / target).is_file(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_has_no_script_or_style_of_its_own(page: Path) -> None:
    html = page.read_text()
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=", html) == []
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", html))
