"""What no file of the browser side may do, read from the files themselves."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "static"
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
def test_a_script_imports_only_what_lies_in_the_same_house(script: Path) -> None:
    for target in _IMPORT.findall(script.read_text()):
        assert target.startswith("."), target
        assert (script.parent / target).resolve() in SCRIPTS, target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_has_no_script_or_style_of_its_own(page: Path) -> None:
    html = page.read_text()
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=", html) == []
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", html))


def test_the_page_about_the_widget_names_every_attribute_property_and_event() -> None:
    page = (ROOT / "docs" / "widget.md").read_text()
    widget = (STATIC / "widget.js").read_text()
    looks = set(re.findall(r"--ai-chat-[a-z-]+", (STATIC / "widget" / "style.js").read_text()))
    attributes = set(re.findall(r"(?:get|has)Attribute\(\"([a-z-]+)\"\)", widget))
    methods = set(re.findall(r"^  (?:get |set |async )?([a-z][A-Za-z]+)(?=\()", widget, re.MULTILINE))
    ours = {"constructor", "connectedCallback", "disconnectedCallback", "attributeChangedCallback", "baseUrl"}
    described = set(re.findall(r"^      ([a-zA-Z]+)[,:]", widget.partition("#describe(turn) {")[2], re.MULTILINE))
    assert all((looks, attributes, methods, described))
    for name in looks | attributes | described:
        assert f"`{name}`" in page, name
    for name in methods - ours:
        assert re.search(rf"`{name}[`(]", page), name
