"""The development pages: who is offered, where tokens are, and that nothing comes from elsewhere."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256

import httpx
import pytest
from starlette.applications import Starlette

from deskwire.pages import STATIC, DemoPerson, Example, Link, pages

ADA = DemoPerson("Ada <Admin>", 'the "boss"', "dw_ada'&token")
BEN = DemoPerson("Ben", "agent", "dw_ben")
HELLO = Example("Hello", "Greet", "query Hello($name: String!) { hello(name: $name) }", {"name": "</script>"})


def client(people: Sequence[DemoPerson]) -> httpx.AsyncClient:
    async def asked() -> Sequence[DemoPerson]:
        return people

    async def offered() -> Sequence[Example]:
        return [HELLO]

    app = Starlette(routes=pages(asked, offered, [Link("/docs", "Guides & more", "Read.")], endpoint="/api/graphql"))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk.test")


@pytest.fixture
async def browser() -> AsyncIterator[httpx.AsyncClient]:
    async with client([ADA, BEN]) as browser:
        yield browser


async def test_the_front_page_offers_everybody_by_a_link_with_the_token_in_its_fragment(
    browser: httpx.AsyncClient,
) -> None:
    page = (await browser.get("/")).text
    assert "Ada &lt;Admin&gt;" in page
    assert "<Admin>" not in page
    assert 'href="/graphiql#token=dw_ada%27%26token"' in page
    assert 'href="/graphiql#token=dw_ben"' in page
    assert page.count('data-copy="') == 2
    assert "?token" not in page
    assert "Guides &amp; more" in page
    assert "$ORIGIN/api/graphql" in page


async def test_without_people_the_front_page_says_how_to_make_some() -> None:
    async with client([]) as browser:
        assert "python -m deskwire seed" in (await browser.get("/")).text


async def test_graphiql_is_given_people_and_examples(browser: httpx.AsyncClient) -> None:
    response = await browser.get("/graphiql/config.json")
    assert response.headers["cache-control"] == "no-store"
    config = response.json()
    assert config["endpoint"] == "/api/graphql"
    assert config["people"][1] == {"name": "Ben", "role": "agent", "token": "dw_ben"}
    assert config["examples"] == [
        {"name": "Hello", "title": "Greet", "query": HELLO.query, "variables": {"name": "</script>"}}
    ]


@pytest.mark.parametrize("path", ["/", "/graphiql"])
async def test_everything_that_a_page_loads_is_served_here(browser: httpx.AsyncClient, path: str) -> None:
    response = await browser.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    loaded = re.findall(r'(?:src|href)="(/static/[^"]+)"', response.text)
    assert len(loaded) >= 3
    for address in loaded:
        assert (await browser.get(address)).status_code == 200
    assert "http://" not in response.text
    assert "https://" not in response.text


@pytest.mark.parametrize("path", ["/", "/graphiql"])
async def test_no_page_runs_a_script_of_its_own_text(browser: httpx.AsyncClient, path: str) -> None:
    response = await browser.get(path)
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "script-src" not in policy
    assert response.headers["referrer-policy"] == "no-referrer"
    assert re.findall(r"<script(?![^>]*\bsrc=)", response.text) == []
    assert re.findall(r"\son[a-z]+=", response.text) == []


async def test_nothing_outside_of_the_static_files_is_served(browser: httpx.AsyncClient) -> None:
    for path in ("/static/", "/static/../pages.py", "/static/%2e%2e/pages.py", "/static/graphiql"):
        assert (await browser.get(path)).status_code == 404


def test_the_vendored_files_are_the_published_ones() -> None:
    listed = dict(
        re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", (STATIC / "graphiql/README.md").read_text(), re.M)
    )
    vendored = {each.name for each in (STATIC / "graphiql").iterdir() if each.suffix in {".js", ".css"}}
    assert listed.keys() == vendored
    for name, digest in listed.items():
        assert sha256((STATIC / "graphiql" / name).read_bytes()).hexdigest() == digest
