"""R65, R79: the files that come with a mail are attachments of its comment."""

from __future__ import annotations

from email.message import EmailMessage

from starlette.applications import Starlette

from models import Attachment, Comment, Ticket, new_id
from tests.api.stage import gid
from tests.conftest import SignIn
from tests.factories import World
from tests.partners.mails import ADDRESSES, SLUG, delivered

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
PROGRAM = b"MZ" + b"\0" * 100
FILES = "query ($id: ID!) { ticket(id: $id) { comments(last: 9) { edges { node { attachments { fileName url } } } } } }"


def mail_with(*files: tuple[str, bytes], body: str = "See the picture.", message_id: str | None = None) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "cleo@customer.example", ADDRESSES.support(SLUG), "Broken"
    mail["Message-ID"] = message_id or f"<{new_id().hex}@customer.example>"
    mail.set_content(body)
    for name, content in files:
        mail.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return mail.as_bytes()


async def test_a_picture_is_on_the_ticket(world: World, app: Starlette, sign_in: SignIn) -> None:
    """What it is, its content says; who may see the ticket may open it."""
    assert (await delivered(app, mail_with(("broken cup.png", PNG))))["outcome"] == "TICKET"
    (row,) = await Attachment.all()
    assert (row.file_name, row.content_type, row.size) == ("broken cup.png", "image/png", len(PNG))
    client = await sign_in(world.admin)
    shown = (await client.ask(FILES, {"id": gid("Ticket", (await Ticket.get(number=1)).id)}))["data"]["ticket"]
    (edge,) = shown["comments"]["edges"]
    assert [file["fileName"] for file in edge["node"]["attachments"]] == ["broken cup.png"]


async def test_what_is_not_kept_is_said(world: World, app: Starlette) -> None:
    """A program, an empty file, and one too many: the mail comes in, and its text names them."""
    many = [(f"{number}.png", PNG) for number in range(9)]
    await delivered(app, mail_with(("setup.exe", PROGRAM), *many, ("late.png", PNG)))
    assert await Attachment.all().count() == 9
    assert (await Comment.get()).body == "See the picture.\n\n[Not kept: late.png, setup.exe]"


async def test_the_same_mail_again_attaches_nothing_again(world: World, app: Starlette) -> None:
    raw = mail_with(("cup.png", PNG), message_id="<one@customer.example>")
    for _ in range(2):
        assert await delivered(app, raw) == {"outcome": "TICKET", "ticket": 1}
    assert await Attachment.all().count() == await Comment.all().count() == 1
