"""The development pages: what this is, and GraphiQL with the demonstration people a click away. Never in production.

Everything is served from `deskwire/static/`: no CDN, no font of others, no inline script. Tokens travel in the
fragment of a link, which browsers do not send, and never in its query string.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"

# GraphiQL's editor sets styles on its elements, hence 'unsafe-inline' for styles alone; its fonts are data: addresses.
# Some browsers do not take 'self' to mean this host's WebSocket, hence ws: and wss:.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "font-src 'self' data:",
        "img-src 'self' data:",
        "connect-src 'self' ws: wss:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """Somebody of the demonstration account. `role` says in a few words what they may do."""

    name: str
    role: str
    token: str


@dataclass(frozen=True, slots=True)
class Example:
    """An operation that GraphiQL offers. `name` is its operation name, `query` the document with its fragments."""

    name: str
    title: str
    query: str
    variables: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """A card of the front page."""

    href: str
    title: str
    says: str


LINKS = (
    Link("/graphiql", "GraphiQL", "Explore the schema, run the examples, watch subscriptions arrive."),
    Link("/livez", "/livez", "Is the process alive?"),
    Link("/readyz", "/readyz", "Can it serve: database and broker?"),
)


def pages(
    people: Callable[[], Awaitable[Sequence[DemoPerson]]],
    examples: Callable[[], Awaitable[Sequence[Example]]],
    links: Sequence[Link] = LINKS,
    *,
    endpoint: str = "/graphql",
) -> list[Route | Mount]:
    """Return the routes of `/`, `/graphiql` and `/static`. Mount them in development only: they show tokens.

    people, examples    asked on every visit, so that what is seeded later appears
    endpoint            the path of GraphQL, over HTTP and WebSocket
    """

    async def front(_: Request) -> Response:
        return HTMLResponse(_front(await people(), links, endpoint), headers=HEADERS)

    async def graphiql(_: Request) -> Response:
        return HTMLResponse((STATIC / "graphiql.html").read_text(), headers=HEADERS)

    async def config(_: Request) -> Response:
        offered = [asdict(each) for each in await examples()]
        content = {"endpoint": endpoint, "people": [asdict(each) for each in await people()], "examples": offered}
        return Response(orjson.dumps(content), media_type="application/json", headers=HEADERS)

    return [
        Route("/", front),
        Route("/graphiql", graphiql),
        Route("/graphiql/config.json", config),
        Mount("/static", StaticFiles(directory=STATIC), name="static"),
    ]


def _front(people: Sequence[DemoPerson], links: Iterable[Link], endpoint: str) -> str:
    page = Template((STATIC / "front.html").read_text())
    token = escape(people[0].token) if people else "…"
    return page.substitute(
        people="\n".join(map(_person, people)) or (STATIC / "nobody.html").read_text(),
        links="\n".join(map(_link, links)),
        endpoint=escape(endpoint),
        token=token,
    )


def _person(person: DemoPerson) -> str:
    name, token = escape(person.name), escape(person.token)
    return (
        f'<li class="person"><div class="who"><strong>{name}</strong><span>{escape(person.role)}</span></div>'
        f'<code class="token" title="{token}">{token}</code>'
        f'<button type="button" class="quiet" data-copy="{token}" aria-label="Copy the token of {name}">Copy</button>'
        f'<a class="button" href="/graphiql#token={quote(person.token, safe="")}">Open GraphiQL as {name}</a></li>'
    )


def _link(link: Link) -> str:
    return (
        f'<li><a class="card" href="{escape(link.href)}"><strong>{escape(link.title)}</strong>'
        f"<span>{escape(link.says)}</span></a></li>"
    )
