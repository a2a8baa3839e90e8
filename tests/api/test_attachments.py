"""Files from end to end over HTTP: uploading, attaching, opening; and everything that is refused on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from deskwire.attachments.forms import patient
from deskwire.attachments.links import LIFE, Links
from deskwire.http import HTTPRefusal
from domain.attachments import MOST_UNATTACHED, purge_attachments, register_upload
from domain.contents import Content
from domain.people import deactivate, set_groups
from domain.revisions import redact_comment
from domain.storage import Storage
from domain.transactions import Call
from models import Attachment, Channel, TicketAccess, User, utc_now
from tests.api.stage import gid
from tests.client import Client
from tests.conftest import SignIn
from tests.factories import LIGHT, World, later
from tests.uploads import MEGABYTE, PNG, contents, fetch, http, row_id, send_file, sent_id

POST = """mutation ($input: PostCommentInput!) { postComment(input: $input) {
    comment { id attachments { id fileName contentType size url } } userErrors { code field } } }"""
SEND = """mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
    message { id attachments { id fileName contentType size url } } userErrors { code field } } }"""
COMMENT = """mutation ($input: CommentOnRequestInput!) { commentOnRequest(input: $input) {
    request { id } userErrors { code field } } }"""
THREAD = """query ($id: ID!) { ticket(id: $id) { comments(last: 10) { edges { node {
    body attachments { fileName } } } } } }"""
MINE = """query { myConversations(first: 9) { edges { node { messages(last: 9) { edges { node {
    body attachments { fileName url } } } } } } } }"""
NODE = "query ($id: ID!) { node(id: $id) { id ... on Attachment { fileName url } } }"
HEARD = "subscription { messageReceived { message { body attachments { fileName url } } } }"


@pytest.fixture
def storage(app: Starlette) -> Storage:
    found: Storage = app.state.deskwire.storage
    return found


async def do(client: Client, text: str, **input: Any) -> dict[str, Any]:
    answer = await client.ask(text, {"input": input})
    assert "errors" not in answer, answer
    [payload] = answer["data"].values()
    result: dict[str, Any] = payload
    return result


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, which is JSON that nobody keeps."""
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    [error] = answer.json()["errors"]
    assert error["message"]
    return answer.status_code, error["extensions"]["code"]


MISSING = (404, "NOT_FOUND")
NOBODY = (401, "UNAUTHENTICATED")


async def test_a_customers_picture_reaches_the_agent(world: World, sign_in: SignIn, storage: Storage) -> None:
    customer, agent = await world.customer(), await world.agent()
    his, hers = await sign_in(customer), await sign_in(agent)
    answer = await send_file(his, PNG, "../Größe.png", "text/html")
    sent = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/attachments/{sent['id']}")
    assert sent == {"id": sent["id"], "fileName": "Größe.png", "contentType": "image/png", "size": len(PNG)}
    [message] = [(await do(his, SEND, body="See this.", attachmentIds=[sent["id"]]))["message"]]
    [file] = message["attachments"]
    assert {name: file[name] for name in sent} == sent
    row = await Attachment.get(id=row_id(sent["id"]))
    ticket = await world.ended_ticket()  # somebody else's, with nothing on it
    assert (await hers.ask(THREAD, {"id": gid("Ticket", ticket.id)}))["data"]["ticket"]["comments"]["edges"][0]["node"][
        "attachments"
    ] == []
    for client, path, signed in ((hers, sent["id"], False), (his, sent["id"], False), (his, file["url"], True)):
        got = await fetch(client, path, signed=signed)
        assert (got.status_code, got.content) == (200, PNG)
        assert got.headers["content-type"] == "image/png"
        assert (
            got.headers["content-disposition"] == "inline; filename=\"Gr__e.png\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.png"
        )
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert got.headers["cache-control"] == "private, no-cache"
        assert got.headers["referrer-policy"] == "no-referrer"
        assert got.headers["etag"] == f'"{row.sha256}"'
        assert got.headers["content-length"] == str(len(PNG))
    assert await contents(storage) == [row.storage_key]


async def test_an_agents_file_reaches_the_customer_live_and_later(world: World, sign_in: SignIn) -> None:
    customer, agent = await world.customer(), await world.agent()
    ticket = await world.live_ticket(customer=customer)
    his, hers = await sign_in(customer), await sign_in(agent)
    files = [await sent_id(hers, b"%PDF-1.7\xff", "bill.pdf"), await sent_id(hers, b"Dear Cleo", "letter.txt")]
    async with his.listening(HEARD) as stream:
        await do(
            hers, POST, ticketId=gid("Ticket", ticket.id), body="Your bill", channel="MESSAGING", attachmentIds=files
        )
        heard = (await stream.next())["message"]
    assert [file["fileName"] for file in heard["attachments"]] == ["bill.pdf", "letter.txt"]
    [conversation] = (await his.ask(MINE))["data"]["myConversations"]["edges"]
    messages = [edge["node"] for edge in conversation["node"]["messages"]["edges"]]
    assert [len(message["attachments"]) for message in messages] == [0, 2]
    bill, letter = [await fetch(his, file["url"], signed=True) for file in heard["attachments"]]
    assert bill.headers["content-type"] == "application/pdf"
    assert bill.headers["content-disposition"].startswith('attachment; filename="bill.pdf"')
    assert (letter.content, letter.headers["content-type"]) == (b"Dear Cleo", "text/plain; charset=utf-8")


async def test_files_of_an_ended_session_are_served_and_refused_as_the_rules_say(world: World, sign_in: SignIn) -> None:
    """R64, R65: after the end messaging takes no file, a note does; what was sent before opens as before."""
    customer, agent = await world.customer(), await world.agent()
    his, hers = await sign_in(customer), await sign_in(agent)
    old, late = await sent_id(his), await sent_id(hers, name="late.png")
    message = (await do(his, SEND, body="See this.", attachmentIds=[old]))["message"]
    ticket = await world.message(customer)
    await world.end(ticket, agent)
    given = {"ticketId": gid("Ticket", ticket.id), "body": "Late", "attachmentIds": [late]}
    refused = await do(hers, POST, **given, channel="MESSAGING")
    assert (refused["comment"], refused["userErrors"]) == (None, [{"code": "SESSION_ENDED", "field": ["channel"]}])
    noted = await do(hers, POST, **given, channel="INTERNAL_NOTE")
    assert [file["fileName"] for file in noted["comment"]["attachments"]] == ["late.png"]
    for client in (his, hers):
        assert (await fetch(client, old)).content == PNG
    assert (await fetch(his, message["attachments"][0]["url"], signed=True)).content == PNG
    assert code_of(await fetch(his, late)) == MISSING


async def test_a_request_takes_files(world: World, sign_in: SignIn) -> None:
    customer, agent = await world.customer(), await world.agent()
    his, hers = await sign_in(customer), await sign_in(agent)
    ticket = await world.email_ticket(customer)
    file = await sent_id(his, b"Proof", "proof.txt")
    given = {"requestId": gid("Request", ticket.id), "body": "Here.", "attachmentIds": [file]}
    assert (await do(his, COMMENT, **given))["userErrors"] == []
    thread = (await hers.ask(THREAD, {"id": gid("Ticket", ticket.id)}))["data"]["ticket"]["comments"]["edges"]
    assert [edge["node"]["attachments"] for edge in thread] == [[], [{"fileName": "proof.txt"}]]
    assert (await fetch(his, file)).content == (await fetch(hers, file)).content == b"Proof"
    again = await do(his, COMMENT, **given)
    assert again["userErrors"] == [{"code": "NOT_FOUND", "field": ["attachmentIds"]}]


async def test_nobody_else_opens_a_file(world: World, other_world: World, sign_in: SignIn) -> None:
    """R26, R65: other customers, restricted agents and other accounts are told what they are told of nothing."""
    customer, agent = await world.customer(), await world.agent("Lia", permissions=LIGHT)
    his, light = await sign_in(customer), await sign_in(agent)
    message = (await do(his, SEND, body="…", attachmentIds=[await sent_id(his)]))["message"]
    [file] = message["attachments"]
    others = [
        await world.customer("Other"),
        await world.agent("Otto", access=TicketAccess.ASSIGNED),
        await other_world.agent(),
        other_world.admin,
        await other_world.customer(),
    ]
    unknown = gid("Attachment", row_id(file["id"]).__class__(int=7))
    for actor in others:
        client = await sign_in(actor)
        assert code_of(await fetch(client, file["id"])) == code_of(await fetch(client, unknown)) == MISSING
        if actor.is_staff:
            assert (await client.ask(NODE, {"id": file["id"]}))["data"] == {"node": None}
    assert (await fetch(light, file["id"])).content == PNG
    assert (await light.ask(NODE, {"id": file["id"]}))["data"]["node"]["fileName"] == "cat.png"
    async with http(his) as connection:
        nobody = [await connection.get(f"/attachments/{file['id']}"), await connection.post("/attachments")]
    assert [code_of(answer) for answer in nobody] == [NOBODY] * 2
    assert nobody[0].headers["www-authenticate"] == "Bearer"


async def test_what_is_no_id_of_a_file_is_missing(world: World, sign_in: SignIn) -> None:
    client = await sign_in(world.admin)
    for path in ("x", gid("Ticket", world.id), "%00", "..%2f..%2fetc%2fpasswd"):
        answer = await fetch(client, path)
        assert answer.status_code == 404, path


async def test_a_link_works_for_a_while_and_only_as_it_was_given(world: World, sign_in: SignIn, app: Starlette) -> None:
    customer = await world.customer()
    his = await sign_in(customer)
    file = (await do(his, SEND, body="…", attachmentIds=[await sent_id(his)]))["message"]["attachments"][0]
    other = await sent_id(his)
    assert (await fetch(his, file["url"], signed=True)).status_code == 200
    links: Links = app.state.deskwire.links
    identifier = row_id(file["id"])
    expired = links.url(customer, identifier, utc_now() - LIFE)
    fresh = links.url(customer, identifier, utc_now() - LIFE + timedelta(seconds=30))
    assert (await fetch(his, fresh, signed=True)).status_code == 200
    query = file["url"].partition("?")[2]
    changed = [
        expired,
        f"/attachments/{other}?{query}",
        file["url"][:-1] + ("0" if file["url"][-1] != "0" else "1"),
        file["url"].replace("expires=1", "expires=2"),
        file["url"].replace("viewer=", "viewer=A"),
        f"/attachments/{file['id']}?signature=",
        f"/attachments/{file['id']}?viewer=&expires=&signature=%C3%A9",
        Links(b"another key").url(customer, identifier, utc_now()),
    ]
    assert [code_of(await fetch(his, url, signed=True)) for url in changed] == [NOBODY] * len(changed)


async def test_a_link_gives_no_more_than_its_viewer_has(world: World, sign_in: SignIn) -> None:
    """R65: who has lost the ticket, or was deactivated, opens nothing with the links that he still has."""
    group = await world.group()
    agents = [await world.agent(access=TicketAccess.GROUPS, groups=(group,)) for _ in range(2)]
    ticket = await world.live_ticket(group=group)
    urls = []
    for agent in agents:
        client = await sign_in(agent)
        file = await sent_id(client)
        given = {"ticketId": gid("Ticket", ticket.id), "body": "…", "channel": "INTERNAL_NOTE"}
        posted = await do(client, POST, **given, attachmentIds=[file])
        urls.append(posted["comment"]["attachments"][0]["url"])
    assert [(await fetch(client, url, signed=True)).status_code for url in urls] == [200, 200]
    assert agents[0].id is not None
    assert agents[1].id is not None
    await set_groups(Call(world.admin), agents[0].id, frozenset())
    await deactivate(Call(world.admin), agents[1].id)
    assert [code_of(await fetch(client, url, signed=True)) for url in urls] == [MISSING, NOBODY]


async def test_a_redacted_file_is_gone_at_once(world: World, sign_in: SignIn, storage: Storage) -> None:
    customer = await world.customer()
    his = await sign_in(customer)
    message = (await do(his, SEND, body="…", attachmentIds=[await sent_id(his)]))["message"]
    row = await Attachment.get(id=row_id(message["attachments"][0]["id"]))
    assert row.comment_id is not None
    await redact_comment(Call(world.admin), row.comment_id)
    assert code_of(await fetch(his, message["attachments"][0]["url"], signed=True)) == MISSING
    assert code_of(await fetch(his, message["attachments"][0]["id"])) == MISSING
    assert await purge_attachments(storage) == 1
    assert await contents(storage) == []


async def test_a_file_may_have_so_many_bytes(world: World, sign_in: SignIn, storage: Storage, app: Starlette) -> None:
    """413: by the size that was declared, before anything is read; and by what comes, as soon as it is too much."""
    most = app.state.deskwire.config.attachment_megabytes * MEGABYTE
    client = await sign_in(world.admin)
    fits = await send_file(client, b"x" * most, "a.txt")
    assert (fits.status_code, fits.json()["size"]) == (201, most)
    for size in (most + 1, most + MEGABYTE):
        refused = await send_file(client, b"x" * size, "a.txt")
        assert code_of(refused) == (413, "FILE_TOO_LARGE")
        assert refused.headers["connection"] == "close"
    assert await Attachment.all().count() == len(await contents(storage)) == 1


async def test_an_endless_upload_is_stopped(world: World, sign_in: SignIn, storage: Storage) -> None:
    """In flight: of a body without a declared size, no more is read than a file may have."""
    client = await sign_in(world.admin)
    upload = Upload(client)
    upload.say(upload.head + b"y" * 1000)
    for _ in range(400):
        upload.say(b"x" * 65_536)
    assert await upload.answered() == 413
    assert upload.unread > 50
    assert await contents(storage) == []


@pytest.mark.parametrize("size", [0, 10_000, 3 * MEGABYTE])
async def test_a_client_that_goes_away_leaves_nothing(
    size: int, world: World, sign_in: SignIn, storage: Storage
) -> None:
    """In flight: neither a row nor a content nor the beginning of one."""
    upload = Upload(await sign_in(world.admin))
    upload.say(upload.head + b"x" * size)
    upload.leave()
    await upload.answered()
    assert (await contents(storage), await Attachment.all().count()) == ([], 0)
    assert await storage.abandon(utc_now() + timedelta(hours=1)) == 0


class Upload:
    """A POST of a form, spoken to the application piece by piece."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'

    def say(self, body: bytes) -> None:
        self._said.put_nowait({"type": "http.request", "body": body, "more_body": True})

    def leave(self) -> None:
        self._said.put_nowait({"type": "http.disconnect"})

    @property
    def unread(self) -> int:
        return self._said.qsize()

    async def answered(self) -> int:
        """The status."""
        told: list[dict[str, Any]] = []

        async def tell(message: dict[str, Any]) -> None:
            told.append(message)

        headers = {"content-type": "multipart/form-data; boundary=b", **self._client.headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": "/attachments",
            "raw_path": b"/attachments",
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "server": ("deskwire.example", 80),
            "client": ("127.0.0.1", 50000),
        }
        await self._client.app(scope, self._said.get, tell)
        status: int = told[0]["status"]
        return status


def form(*parts: str, end: str = "--b--\r\n") -> bytes:
    return ("".join(f"--b\r\n{part}\r\n" for part in parts) + end).encode()


FILE = 'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhello'
BAD_FORMS = {
    "nothing": b"",
    "no form": b"hello",
    "no part": form(),
    "no file": form('Content-Disposition: form-data; name="file"\r\n\r\nhello'),
    "another field": form('Content-Disposition: form-data; name="x"; filename="a.txt"\r\n\r\nhello'),
    "a field before": form('Content-Disposition: form-data; name="x"\r\n\r\ny', FILE),
    "a field behind": form(FILE, 'Content-Disposition: form-data; name="x"\r\n\r\ny'),
    "two files": form(FILE, FILE),
    "no disposition": form("Content-Type: text/plain\r\n\r\nhello"),
    "no end": form(FILE, end=""),
    "half an end": form(FILE, end="--b"),
    "many headers": form("".join(f"X-{n}: y\r\n" for n in range(1000)) + FILE),
    "a long header": form("X: " + "y" * 100_000 + "\r\n" + FILE),
}


async def test_what_is_no_form_with_one_file_is_refused(world: World, sign_in: SignIn, storage: Storage) -> None:
    client = await sign_in(world.admin)
    given = client.headers | {"Content-Type": "multipart/form-data; boundary=b"}
    found = {}
    async with http(client) as connection:
        for name, body in BAD_FORMS.items():
            found[name] = code_of(await connection.post("/attachments", content=body, headers=given))
        right = await connection.post("/attachments", content=form(FILE), headers=given)
    assert found == dict.fromkeys(BAD_FORMS, (400, "BAD_REQUEST"))
    assert right.json()["size"] == 5
    assert len(await contents(storage)) == await Attachment.all().count() == 1


@pytest.mark.parametrize(("quiet", "seconds", "pause"), [(0.05, 9, 5), (9, 0.2, 0.05)])
async def test_a_body_that_takes_too_long_is_given_up(quiet: float, seconds: float, pause: float) -> None:
    """In flight: whoever sends nothing, or a byte now and then, holds no place for ever."""

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x"
            await asyncio.sleep(pause)

    passed: list[bytes] = []

    async def read() -> None:
        async for chunk in patient(slow(), quiet=quiet, seconds=seconds):
            passed.append(chunk)

    with pytest.raises(HTTPRefusal) as refused:
        await read()
    assert (refused.value.status, refused.value.code) == (408, "REQUEST_TIMEOUT")
    assert 1 <= len(passed) <= 6


async def test_other_media_types_and_methods_are_refused(world: World, sign_in: SignIn) -> None:
    client = await sign_in(world.admin)
    types = (
        "application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=b",
        f"multipart/form-data; boundary={'b' * 71}",
    )
    async with http(client) as connection:
        for kind in types:
            answer = await connection.post(
                "/attachments", content=b"x", headers=client.headers | {"Content-Type": kind}
            )
            assert code_of(answer) == (415, "UNSUPPORTED_MEDIA_TYPE")
        for method, path, allowed in (
            ("GET", "/attachments", "POST"),
            ("PUT", "/attachments", "POST"),
            ("POST", "/attachments/x", "GET, HEAD"),
            ("DELETE", "/attachments/x", "GET, HEAD"),
        ):
            answer = await connection.request(method, path, headers=client.headers)
            assert code_of(answer) == (405, "METHOD_NOT_ALLOWED")
            assert answer.headers["allow"] == allowed


async def test_refused_contents_are_told_why(world: World, sign_in: SignIn, storage: Storage) -> None:
    client = await sign_in(world.admin)
    for content in (b"", b"MZ\x90\x00", b"\x7fELF\x02"):
        assert code_of(await send_file(client, content, "a.txt")) == (400, "INVALID_INPUT")
    assert await contents(storage) == []


async def test_hostile_contents_are_never_shown_as_pages(world: World, sign_in: SignIn) -> None:
    """Whatever its name and its sender say: a page is text, and text is a download."""
    client = await sign_in(world.admin)
    pages = {"x.html": b"<script>alert(1)</script>", "x.svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="a()"/>'}
    for name, content in pages.items():
        sent = (await send_file(client, content, name, "text/html")).json()
        got = await fetch(client, sent["id"])
        assert got.headers["content-type"] == "text/plain; charset=utf-8"
        assert got.headers["content-disposition"].startswith("attachment;")
        assert got.headers["content-security-policy"] == "default-src 'none'; sandbox"


async def test_hostile_names_stay_names(world: World, sign_in: SignIn) -> None:
    client = await sign_in(world.admin)
    name = 'a"; filename="b.exe\r\nSet-Cookie: c=d%;é.txt'
    sent = await send_file(client, b"hello", name)
    got = await fetch(client, sent.json()["id"])
    assert "set-cookie" not in got.headers
    assert "\r" not in got.headers["content-disposition"]
    assert got.headers["content-disposition"].count('"') == 2


async def test_fifty_uploads_wait_and_the_next_is_not_read(world: World, sign_in: SignIn) -> None:
    client = await sign_in(world.admin)
    content = Content(3, "ab" * 32, "text/plain")
    for number in range(MOST_UNATTACHED):
        await register_upload(Call(world.admin), file_name="a", storage_key=f"key/{number}", content=content)
    upload = Upload(client)
    for _ in range(3):
        upload.say(b"x")
    assert await upload.answered() == 429
    assert upload.unread == 3
    assert code_of(await send_file(client)) == (429, "TOO_MANY_UPLOADS")


RANGES = {
    "bytes=0-9": (206, slice(0, 10)),
    "bytes=5-5": (206, slice(5, 6)),
    "bytes=100-": (206, slice(100, None)),
    "bytes=-7": (206, slice(-7, None)),
    "bytes=-99999999": (206, slice(0, None)),
    "bytes=10-99999999": (206, slice(10, None)),
    "bytes=5-4": (200, slice(None)),
    "bytes=0-1,3-4": (200, slice(None)),
    "bytes=-": (200, slice(None)),
    "lines=0-1": (200, slice(None)),
}


async def test_a_part_of_a_file_is_sent_alone(world: World, sign_in: SignIn) -> None:
    client = await sign_in(world.admin)
    file = await sent_id(client)
    whole = await fetch(client, file)
    for asked, (status, piece) in RANGES.items():
        got = await fetch(client, file, range=asked)
        assert (got.status_code, got.content) == (status, PNG[piece]), asked
        assert got.headers["content-length"] == str(len(PNG[piece]))
    assert (await fetch(client, file, range="bytes=3-5")).headers["content-range"] == f"bytes 3-5/{len(PNG)}"
    for asked in (f"bytes={len(PNG)}-", "bytes=-0"):
        beyond = await fetch(client, file, range=asked)
        assert code_of(beyond) == (416, "RANGE_NOT_SATISFIABLE")
        assert beyond.headers["content-range"] == f"bytes */{len(PNG)}"
    tag = whole.headers["etag"]
    assert (await fetch(client, file, range="bytes=0-9", if_range=tag)).status_code == 206
    assert (await fetch(client, file, range="bytes=0-9", if_range='"old"')).status_code == 200
    for tags in (tag, f'"x", W/{tag}'):
        kept = await fetch(client, file, if_none_match=tags)
        assert (kept.status_code, kept.content, kept.headers["etag"]) == (304, b"", tag)
    head = await fetch(client, file, method="HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(PNG))


async def test_a_lost_content_is_missing(world: World, sign_in: SignIn, storage: Storage) -> None:
    client = await sign_in(world.admin)
    file = await sent_id(client)
    await storage.delete((await Attachment.get(id=row_id(file))).storage_key)
    assert code_of(await fetch(client, file)) == MISSING


async def test_unattached_files_expire(world: World, sign_in: SignIn, storage: Storage) -> None:
    client = await sign_in(world.admin)
    file = await sent_id(client)
    await purge_attachments(storage, later(24 * 60 + 1))
    assert code_of(await fetch(client, file)) == MISSING
    ticket = await world.live_ticket()
    given = {"ticketId": gid("Ticket", ticket.id), "body": "…", "channel": Channel.INTERNAL_NOTE.value}
    refused = await do(client, POST, **given, attachmentIds=[file])
    assert refused["userErrors"] == [{"code": "NOT_FOUND", "field": ["attachmentIds"]}]
    assert await User.filter(id=world.admin.id).count() == 1
