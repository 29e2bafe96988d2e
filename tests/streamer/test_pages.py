"""The demo page and the files that it and embedding pages load; nothing else of the disk."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from streamer import pages
from streamer.pages import STATIC
from tests.streamer.conftest import client_of


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(pages.routes) as client:
        yield client


async def test_the_page_is_served_under_a_policy_and_asked_for_anew_each_time(client: httpx.AsyncClient) -> None:
    response = await client.get("/")

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert "default-src 'self'" in response.headers["content-security-policy"]
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.content == (STATIC / "index.html").read_bytes()


async def test_every_file_that_the_page_names_is_there(client: httpx.AsyncClient) -> None:
    page = (await client.get("/")).text
    named = re.findall(r'(?:src|href)="(?!https?:|#)([^"#]+)"', page)

    assert "static/page.js" in named
    for path in named:
        assert (await client.get(f"/{path.lstrip('/')}")).status_code == 200, path


async def test_every_static_file_has_its_type_and_is_revalidated(client: httpx.AsyncClient) -> None:
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
    files = [path for path in STATIC.rglob("*") if path.is_file()]

    assert files
    for path in files:
        response = await client.get(f"/static/{path.relative_to(STATIC)}")
        assert response.status_code == 200
        assert response.headers["content-type"].partition(";")[0] == kinds[path.suffix]
        assert response.headers["cache-control"] == "no-cache"
        again = await client.get(response.request.url, headers={"if-none-match": response.headers["etag"]})
        assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/widget",
        "/static/widget/",
        "/static/nothing.js",
        "/static/../pyproject.toml",
        "/static/%2e%2e/pyproject.toml",
        "/static/..%2fpyproject.toml",
        "/static/widget/..%2f..%2f..%2fpyproject.toml",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/..\\pyproject.toml",
        "/static/%00",
        "/static/" + "x" * 5000,
        "/pyproject.toml",
        "/index.html",
        "/%2e%2e/pyproject.toml",
    ],
)
async def test_nothing_else_of_the_disk_is_served(client: httpx.AsyncClient, path: str) -> None:
    url = httpx.URL("http://streamer").copy_with(raw_path=path.encode())
    response = await client.get(url)

    assert response.status_code == 404
    assert response.json()["error"] == "not_found"


async def test_pages_are_read_alone(client: httpx.AsyncClient) -> None:
    for path in ("/", "/static/widget.js"):
        for method in ("POST", "PUT", "DELETE"):
            assert (await client.request(method, path)).status_code == 405
        head = await client.head(path)
        assert (head.status_code, head.content) == (200, b"")
