"""`/openapi.json` and `/docs`: open to everybody, asked for anew cheaply, and the page holds nothing that the policy stops."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx
import pytest

from models.event import Kind
from streamer import pages
from streamer.app import papers
from streamer.operation import routes_of
from tests.streamer.conftest import client_of


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of([*routes_of(papers.operations), *pages.routes]) as client:
        yield client


class Page(HTMLParser):
    """Which elements there are, whether each is closed, and what they name."""

    VOID = frozenset({"meta", "link", "path"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found["href"] or ""] if "href" in found else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("path", "media_type"), [("/openapi.json", "application/json"), ("/docs", "text/html; charset=utf-8")]
)
async def test_who_has_it_is_told_that_nothing_changed(client: httpx.AsyncClient, path: str, media_type: str) -> None:
    first = await client.get(path)
    again = await client.get(path, headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})

    assert (first.status_code, first.headers["content-type"]) == (200, media_type)
    assert first.headers["cache-control"] == again.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert (await client.get(path, headers={"if-none-match": '"other"'})).status_code == 200


async def test_the_document_describes_itself(client: httpx.AsyncClient) -> None:
    found = (await client.get("/openapi.json")).json()

    assert found == papers.document
    assert {"/openapi.json", "/docs", "/ai/v1/chat/{id}/events"} <= set(found["paths"])


async def test_the_page_keeps_to_the_policy_and_its_links_lead_somewhere(client: httpx.AsyncClient) -> None:
    response = await client.get("/docs")
    page = Page(response.text)

    assert "default-src 'self'" in response.headers["content-security-policy"]
    assert not page.open
    assert not page.names & {"script", "style", "iframe"}
    assert not {name for name in page.attributes if name == "style" or name.startswith("on")}
    assert len(set(page.ids)) == len(page.ids)
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            assert (await client.get(f"/{link.removeprefix('./')}")).status_code == 200, link


async def test_every_call_stands_in_the_page_with_a_line_to_try_it(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text

    for each in papers.operations:
        article = re.search(rf'<article class="card" id="{each.id}">(.*?)</article>', page, re.DOTALL)
        assert article, each.id
        assert f"<code>{each.path}</code>" in article[1]
        assert re.search(rf'curl .*"\$STREAMER{re.sub("{.*?}", "[$][A-Z]+", each.path)}"', article[1]), each.id
        for status in each.answers:
            assert f"<b>{status}</b>" in article[1], (each.id, status)
        for error in each.errors:
            assert f"<code>{error.code}</code>" in article[1], (each.id, error)
        for parameter in each.parameters:
            assert f"<code>{parameter.name}</code>" in article[1]
    for kind in Kind:
        assert f"<code>{kind}</code>" in page
