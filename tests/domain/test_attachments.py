"""Rules R64 and R65, and what holds for files: who may attach, open and lose them, and when they are forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tortoise.exceptions import IntegrityError

from deskwire.storage import storage_at
from domain.actors import Actor, load_actor
from domain.attachments import (
    MOST_OF_A_COMMENT,
    MOST_UNATTACHED,
    Sweep,
    check_can_upload,
    purge_attachments,
    readable_attachment,
    readable_attachments,
    register_upload,
    sweep_storage,
    upload_file,
)
from domain.comments import comment_on_request, post_comment
from domain.contents import Content, Inspection, clean_file_name
from domain.errors import FileTooLarge, Forbidden, InvalidInput, NotFound, SessionEnded, TooManyUploads
from domain.messages import send_message
from domain.people import set_groups
from domain.revisions import delete_message, redact_comment
from domain.storage import Storage, StorageUnavailable
from domain.transactions import Call
from models import Attachment, Channel, Comment, Ticket, TicketAccess, User, new_id, utc_now
from tests.factories import LIGHT, World, later
from tests.invariants import assert_consistent
from tests.uploads import PNG, contents, pieces, uploaded

DAY = 24 * 60


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return storage_at(f"files://{tmp_path / 'files'}")


async def opens(actor: Actor, row: Attachment) -> bool:
    return row.id in await readable_attachments(actor, [row.id])


async def attached(world: World, storage: Storage, ticket: Ticket, by: Actor, channel: Channel) -> Attachment:
    """A file on a new comment of staff."""
    row = await uploaded(storage, by)
    await post_comment(Call(by), ticket.id, body="See this.", channel=channel, attachment_ids=[row.id])
    return await Attachment.get(id=row.id)


async def sent(storage: Storage, customer: Actor, **more: object) -> Attachment:
    """A file on a new message of a customer."""
    row = await uploaded(storage, customer)
    await send_message(Call(customer), body="See this.", attachment_ids=[row.id], **more)  # type: ignore[arg-type]
    return await Attachment.get(id=row.id)


# Attaching


async def test_an_upload_of_before_the_end_attached_behind_it(world: World, storage: Storage) -> None:
    """R64: begun before the end and finished after it; for messaging refused, for a note and an e-mail accepted."""
    agent = await world.agent()
    ticket = await world.live_ticket()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield PNG
        begun.set()
        await ended.wait()
        yield b"the rest"

    upload = asyncio.create_task(
        upload_file(Call(agent), storage, file_name="cat.png", chunks=slow(), most_bytes=10**6)
    )
    await begun.wait()
    await world.end(ticket, world.admin)
    ended.set()
    row, other = await upload, await uploaded(storage, agent)
    async with world.refuses(SessionEnded):
        await post_comment(Call(agent), ticket.id, body="Late", channel=Channel.MESSAGING, attachment_ids=[row.id])
    assert (await Attachment.get(id=row.id)).comment_id is None
    for channel, file in ((Channel.INTERNAL_NOTE, row), (Channel.EMAIL, other)):
        posted = await post_comment(Call(agent), ticket.id, body="Late", channel=channel, attachment_ids=[file.id])
        assert (await Attachment.get(id=file.id)).comment_id == posted.comment_id
    await assert_consistent(world)


async def test_a_comment_and_its_files_are_one(world: World, storage: Storage) -> None:
    """All or nothing: one id that does not fit, and neither the comment nor any other file is there."""
    agent, colleague = await world.agent(), await world.agent("Colleague")
    ticket = await world.live_ticket()
    mine = [await uploaded(storage, agent) for _ in range(2)]
    his = await uploaded(storage, colleague)
    used = await attached(world, storage, ticket, agent, Channel.INTERNAL_NOTE)
    for wrong in (his.id, used.id, new_id(), ticket.id):
        async with world.refuses(NotFound) as refused:
            ids = [mine[0].id, wrong, mine[1].id]
            await post_comment(Call(agent), ticket.id, body="…", channel=Channel.INTERNAL_NOTE, attachment_ids=ids)
        assert refused.value.field == ("attachmentIds",)
    assert await Attachment.filter(comment_id=None).count() == 3
    posted = await post_comment(
        Call(agent), ticket.id, body="…", channel=Channel.INTERNAL_NOTE, attachment_ids=[row.id for row in mine]
    )
    assert await Attachment.filter(comment_id=posted.comment_id).count() == 2


async def test_a_customers_message_and_its_files_are_one(world: World, storage: Storage) -> None:
    """Also where the message would have begun a session and a ticket."""
    customer, other = await world.customer(), await world.customer("Other")
    his = await uploaded(storage, other)
    async with world.refuses(NotFound):
        await send_message(Call(customer), body="Hello", attachment_ids=[his.id])
    row = await sent(storage, customer)
    comment = await Comment.get(id=row.comment_id)
    assert (comment.author_id, comment.sequence, row.attached_at) == (customer.id, 1, comment.created_at)
    async with world.refuses(NotFound):
        await send_message(Call(customer), body="Again", attachment_ids=[row.id])


async def test_files_of_another_account_are_none(world: World, other_world: World, storage: Storage) -> None:
    agent, stranger = await world.agent(), await other_world.agent()
    ticket = await world.live_ticket()
    his = await uploaded(storage, stranger)
    async with world.refuses(NotFound):
        await post_comment(Call(agent), ticket.id, body="…", channel=Channel.INTERNAL_NOTE, attachment_ids=[his.id])
    assert not await opens(world.admin, his)
    assert await opens(stranger, his)


async def test_a_light_agent_attaches_to_notes_only(world: World, storage: Storage) -> None:
    light, ticket = await world.agent("Lia", permissions=LIGHT), await world.live_ticket()
    row = await uploaded(storage, light)
    async with world.refuses(Forbidden):
        await post_comment(Call(light), ticket.id, body="…", channel=Channel.MESSAGING, attachment_ids=[row.id])
    await post_comment(Call(light), ticket.id, body="…", channel=Channel.INTERNAL_NOTE, attachment_ids=[row.id])
    assert await opens(light, row)


async def test_a_comment_takes_ten_files(world: World, storage: Storage) -> None:
    agent, ticket = await world.agent(), await world.live_ticket()
    rows = [await uploaded(storage, agent) for _ in range(MOST_OF_A_COMMENT + 1)]
    ids = [row.id for row in rows]
    async with world.refuses(InvalidInput):
        await post_comment(Call(agent), ticket.id, body="…", channel=Channel.INTERNAL_NOTE, attachment_ids=ids)
    posted = await post_comment(Call(agent), ticket.id, body="…", channel=Channel.INTERNAL_NOTE, attachment_ids=ids[1:])
    assert await Attachment.filter(comment_id=posted.comment_id).count() == MOST_OF_A_COMMENT == 10


async def test_a_file_named_twice_is_attached_once(world: World, storage: Storage) -> None:
    agent, ticket = await world.agent(), await world.live_ticket()
    row = await uploaded(storage, agent)
    ids = [row.id, row.id]
    await post_comment(Call(agent), ticket.id, body="…", channel=Channel.INTERNAL_NOTE, attachment_ids=ids)
    assert (await Attachment.get(id=row.id)).comment_id is not None


async def test_a_retry_with_its_key_attaches_nothing_again(world: World, storage: Storage) -> None:
    """R37, R75: twice is once, for agents by their key and for customers by the id of their message."""
    agent, customer = await world.agent(), await world.customer()
    ticket = await world.live_ticket()
    row, his = await uploaded(storage, agent), await uploaded(storage, customer)
    call = Call(agent, idempotency_key="one")
    posted = [
        await post_comment(call, ticket.id, body="…", channel=Channel.INTERNAL_NOTE, attachment_ids=[row.id])
        for _ in range(2)
    ]
    assert posted[0] == posted[1]
    messages = [
        await send_message(Call(customer), body="…", client_message_id="m1", attachment_ids=[his.id]) for _ in range(2)
    ]
    assert messages[0] == messages[1]
    assert await Attachment.filter(comment_id__not_isnull=True).count() == 2


async def test_of_two_comments_that_want_one_file_one_gets_it(world: World, storage: Storage) -> None:
    """At the same moment: exactly one of them is stored, and has all its files."""
    agent = await world.agent()
    tickets = [await world.live_ticket() for _ in range(2)]
    for _ in range(8):
        one, two = await uploaded(storage, agent), await uploaded(storage, agent)
        racing = (
            post_comment(Call(agent), ticket.id, body="Mine", channel=Channel.INTERNAL_NOTE, attachment_ids=ids)
            for ticket, ids in zip(tickets, ([one.id, two.id], [two.id, one.id]), strict=True)
        )
        results = await asyncio.gather(*racing, return_exceptions=True)
        assert sorted(type(each).__name__ for each in results) == ["NotFound", "PostedComment"]
        rows = await Attachment.filter(id__in=[one.id, two.id])
        assert len({row.comment_id for row in rows}) == 1
    assert await Comment.filter(body="Mine").count() == 8
    await assert_consistent(world)


# Opening


async def test_files_of_an_ended_session_stay_available(world: World, storage: Storage) -> None:
    """R65: to agents with access and to the same end user, as before the end; to nobody else."""
    agent, customer = await world.agent(), await world.customer()
    his = await sent(storage, customer)
    ticket = await Ticket.get(conversation_id=(await Comment.get(id=his.comment_id)).conversation_id)
    reply = await attached(world, storage, ticket, agent, Channel.MESSAGING)
    await world.end(ticket, agent)
    note = await attached(world, storage, ticket, agent, Channel.INTERNAL_NOTE)
    other = await world.customer("Other")
    outsider = await world.agent("Otto", access=TicketAccess.ASSIGNED)
    expected = {agent: (True,) * 3, customer: (True, True, False), other: (False,) * 3, outsider: (False,) * 3}
    for actor, verdicts in expected.items():
        assert tuple([await opens(actor, row) for row in (his, reply, note)]) == verdicts


async def test_the_requester_opens_files_of_his_request(world: World, storage: Storage) -> None:
    """R65: over the help centre and by e-mail, too; never those of notes."""
    agent, customer = await world.agent(), await world.customer()
    ticket = await world.email_ticket(customer)
    own = await uploaded(storage, customer)
    await comment_on_request(Call(customer), ticket.id, body="See this.", attachment_ids=[own.id])
    mail = await attached(world, storage, ticket, agent, Channel.EMAIL)
    note = await attached(world, storage, ticket, agent, Channel.INTERNAL_NOTE)
    assert [await opens(customer, row) for row in (own, mail, note)] == [True, True, False]
    other = await world.customer("Other")
    assert [await opens(other, row) for row in (own, mail, note)] == [False, False, False]


async def test_until_it_is_attached_a_file_is_its_uploaders(world: World, storage: Storage) -> None:
    """Not even an admin opens what nobody has said yet."""
    customer = await world.customer()
    row = await uploaded(storage, customer)
    assert await opens(customer, row)
    assert not await opens(world.admin, row)
    assert not await opens(world.system, row)


async def test_who_loses_a_ticket_loses_its_files(world: World, storage: Storage) -> None:
    """R65: also who has attached them himself. Lost, foreign and missing are one answer."""
    group = await world.group()
    agent = await world.agent(access=TicketAccess.GROUPS, groups=(group,))
    ticket = await world.live_ticket(group=group)
    row = await attached(world, storage, ticket, agent, Channel.INTERNAL_NOTE)
    assert await readable_attachment(agent, row.id) == row
    assert agent.id is not None
    await set_groups(Call(world.admin), agent.id, frozenset())
    now = await load_actor(world.id, agent.id)
    assert now is not None
    for identifier in (row.id, new_id()):
        with pytest.raises(NotFound) as refused:
            await readable_attachment(now, identifier)
        assert str(refused.value) == NotFound.says


# Uploading


async def test_fifty_files_wait_at_most(world: World, storage: Storage) -> None:
    """Also when they come at the same moment; and one that was attached makes room."""
    agent, ticket = await world.agent(), await world.live_ticket()
    content = Content(3, "ab" * 32, "text/plain")
    for number in range(MOST_UNATTACHED - 2):
        await register_upload(Call(agent), file_name="a", storage_key=f"key/{number}", content=content)
    results = await asyncio.gather(*(uploaded(storage, agent) for _ in range(5)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in results) == ["Attachment"] * 2 + ["TooManyUploads"] * 3
    assert len(await contents(storage)) == 2
    with pytest.raises(TooManyUploads):
        await check_can_upload(agent)
    [row, *_] = await Attachment.filter(uploader_id=agent.id).limit(1)
    await post_comment(Call(agent), ticket.id, body="…", channel=Channel.INTERNAL_NOTE, attachment_ids=[row.id])
    await uploaded(storage, agent)
    await uploaded(storage, await world.agent("Colleague"))


async def test_a_refused_upload_leaves_nothing(world: World, storage: Storage) -> None:
    """Too large, empty, a program, of nobody, and of somebody who is gone."""
    agent, gone = await world.agent(), await world.agent("Gone")
    await User.filter(id=gone.id).update(active=False)
    with pytest.raises(FileTooLarge):
        await uploaded(storage, agent, b"x" * (1024 * 1024 + 1))
    for content in (b"", b"MZ\x90\x00\x03\x00", b"\x7fELF\x02\x01\x01\x00", b"\xcf\xfa\xed\xfe\x07\x00"):
        with pytest.raises(InvalidInput):
            await uploaded(storage, agent, content)
    with pytest.raises(Forbidden):
        await uploaded(storage, world.system)
    with pytest.raises(Exception, match="no longer active"):
        await uploaded(storage, gone)
    assert await contents(storage) == []
    assert await Attachment.all().count() == 0


async def test_one_content_is_one_file(world: World, storage: Storage) -> None:
    """A constraint says it: purging one file can never take the content of another."""
    agent = await world.agent()
    row = await uploaded(storage, agent)
    content = Content(row.size, row.sha256, row.content_type)
    with pytest.raises(IntegrityError):
        await register_upload(Call(agent), file_name="b", storage_key=row.storage_key, content=content)


# Forgetting


async def test_what_nobody_attaches_is_forgotten_after_a_day(world: World, storage: Storage) -> None:
    agent, ticket = await world.agent(), await world.live_ticket()
    kept = await attached(world, storage, ticket, agent, Channel.INTERNAL_NOTE)
    old = await uploaded(storage, agent)
    young = await uploaded(storage, agent, clock=later(10))
    assert await purge_attachments(storage) == 0
    assert await purge_attachments(storage, later(DAY + 1)) == 1
    assert await purge_attachments(storage, later(DAY + 1)) == 0
    assert {row.id for row in await Attachment.all()} == {kept.id, young.id}
    assert await contents(storage) == sorted([kept.storage_key, young.storage_key])
    async with world.refuses(NotFound):
        await post_comment(Call(agent), ticket.id, body="…", channel=Channel.INTERNAL_NOTE, attachment_ids=[old.id])


async def test_a_file_that_is_attached_while_it_expires_is_kept_or_refused(world: World, storage: Storage) -> None:
    """At the same moment: never a comment with a file that is gone."""
    agent, ticket = await world.agent(), await world.live_ticket()
    for _ in range(10):
        row = await uploaded(storage, agent)
        posted, *_ = await asyncio.gather(
            post_comment(Call(agent), ticket.id, body="…", channel=Channel.INTERNAL_NOTE, attachment_ids=[row.id]),
            purge_attachments(storage, later(DAY + 1)),
            purge_attachments(storage, later(DAY + 1)),
            return_exceptions=True,
        )
        await purge_attachments(storage)
        there = await Attachment.get_or_none(id=row.id)
        assert isinstance(posted, NotFound) == (there is None)
        assert (row.storage_key in await contents(storage)) == (there is not None)


async def test_a_redacted_comment_loses_its_files_at_once(world: World, storage: Storage) -> None:
    """R49: nobody opens them from the redaction on, and the next pass forgets their content."""
    agent, customer = await world.agent(), await world.customer()
    row = await sent(storage, customer)
    comment = await Comment.get(id=row.comment_id)
    ticket = await Ticket.get(conversation_id=comment.conversation_id)
    other = await attached(world, storage, ticket, agent, Channel.MESSAGING)
    await redact_comment(Call(world.admin), comment.id)
    assert [await opens(actor, row) for actor in (agent, world.admin, customer)] == [False] * 3
    assert await purge_attachments(storage) == 1
    assert await contents(storage) == [other.storage_key]
    assert [each.id for each in await Attachment.all()] == [other.id]


async def test_a_message_that_is_taken_back_takes_its_files_along(world: World, storage: Storage) -> None:
    agent, customer = await world.agent(), await world.customer()
    row = await sent(storage, customer)
    assert row.comment_id is not None
    await delete_message(Call(customer), row.comment_id)
    assert [await opens(actor, row) for actor in (agent, customer)] == [False, False]
    async with world.refuses(NotFound):
        await send_message(Call(customer), body="Again", attachment_ids=[row.id])
    assert await purge_attachments(storage) == 1
    assert await contents(storage) == []


async def test_a_storage_that_is_away_is_asked_again(world: World, storage: Storage, tmp_path: Path) -> None:
    """In flight: what could not be deleted stays known until it is; the others do not wait for it."""
    agent = await world.agent()
    rows = [await uploaded(storage, agent) for _ in range(2)]
    stuck = tmp_path / "files" / rows[0].storage_key
    content = stuck.read_bytes()
    stuck.unlink()
    stuck.mkdir()  # not a file: it cannot be deleted as one
    assert await purge_attachments(storage, later(DAY + 1)) == 1
    assert [row.id for row in await Attachment.all()] == [rows[0].id]
    assert not await opens(agent, rows[0])
    stuck.rmdir()
    stuck.write_bytes(content)
    assert await purge_attachments(storage) == 1
    assert (await contents(storage), await Attachment.all().count()) == ([], 0)


async def test_what_a_crash_left_in_the_storage_is_swept(world: World, storage: Storage) -> None:
    """After a crash: a content that was stored and never registered goes after a day, and nothing else does."""
    agent, ticket = await world.agent(), await world.live_ticket()
    kept = await attached(world, storage, ticket, agent, Channel.INTERNAL_NOTE)
    await storage.put(f"{world.id.hex}/00/orphan", pieces(b"never registered"))
    assert await sweep_storage(storage) == 0
    assert len(await contents(storage)) == 2
    assert await sweep_storage(storage, later(DAY + 1)) == 1
    assert await sweep_storage(storage, later(DAY + 1)) == 0
    assert await contents(storage) == [kept.storage_key]


async def test_the_sweep_looks_every_six_hours(world: World, storage: Storage) -> None:
    sweep, start = Sweep(storage), utc_now() + timedelta(days=2)
    found = []
    for hours in (0, 1, 5, 6, 7, 12):
        await storage.put(f"orphan/{hours}", pieces(b"x"))
        found.append(await sweep(lambda hours=hours: start + timedelta(hours=hours)))  # type: ignore[misc]
    assert found == [1, 0, 0, 3, 0, 2]


async def test_a_sweep_of_a_storage_that_is_away_does_nothing(world: World) -> None:
    nowhere = storage_at("s3://nowhere?endpoint=http://127.0.0.1:9")
    with pytest.raises(StorageUnavailable):
        await sweep_storage(nowhere)
    assert await Sweep(nowhere)() == 0
    await nowhere.close()


# What a file is


KINDS = {
    "png": (PNG, "image/png"),
    "jpeg": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "image/jpeg"),
    "gif": (b"GIF89a\x01\x00\x01\x00\x80", "image/gif"),
    "webp": (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "application/pdf"),
    "pdf of text": (b"%PDF-1.4\n1 0 obj\n", "application/pdf"),
    "zip": (b"PK\x03\x04\x14\x00\x00\x00", "application/zip"),
    "mp4": (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00", "video/mp4"),
    "text": ("Grüße, Größe: 5 €\r\n\tfür 😀".encode(), "text/plain"),
    "text like a program": (b"MZ is how it begins", "text/plain"),
    "text like a picture": (b"GIF89a<script>alert(1)</script>", "text/plain"),
    "a page": (b"<!doctype html><script>alert(1)</script>", "text/plain"),
    "a drawing": (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "text/plain"),
    "a script": (b"#!/bin/sh\nrm -rf /\n", "text/plain"),
    "half a character": ("€".encode()[:2], "application/octet-stream"),
    "latin-1": ("Grüße".encode("latin-1"), "application/octet-stream"),
    "zeros": (b"text\x00text", "application/octet-stream"),
    "nothing known": (b"\x01\x02\x03\x04", "application/octet-stream"),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("step", [1, 7, 100_000])
async def test_the_kind_is_read_off_the_content(name: str, step: int) -> None:
    """In whatever pieces it comes, and whatever its sender says."""
    content, kind = KINDS[name]
    inspection = Inspection(10**6)
    chunks = pieces(*(content[start : start + step] for start in range(0, len(content), step)))
    assert b"".join([chunk async for chunk in inspection.watched(chunks)]) == content
    found = inspection.finished()
    assert (found.content_type, found.size) == (kind, len(content))


@pytest.mark.parametrize(("size", "fits"), [(99, True), (100, True), (101, False)])
async def test_the_limit_of_a_file_is_exact(size: int, fits: bool) -> None:
    passed = []
    try:
        async for chunk in Inspection(100).watched(pieces(*[b"x"] * size, b"", b"y" * 0)):
            passed.append(chunk)
    except FileTooLarge:
        assert not fits
    assert len(b"".join(passed)) == min(size, 100)


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("cat.png", "cat.png"),
        ("Größe 5 €, 猫 😀.pdf", "Größe 5 €, 猫 😀.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\Cleo\\cat.png", "cat.png"),
        ("/etc/", "file"),
        ("..", "file"),
        ("", "file"),
        (None, "file"),
        (" . ", "file"),
        (".htaccess", "htaccess"),
        ("a\x00b\r\nSet-Cookie: x\x7f.txt", "abSet-Cookie: x.txt"),
        ("invoice\u202egpj.exe", "invoicegpj.exe"),
        ("line\u2028break.txt", "linebreak.txt"),
        ("e\u0301.txt", "é.txt"),
        ("a" * 300 + ".png", "a" * 251 + ".png"),
        ("a" * 300, "a" * 255),
        ("a." + "b" * 300, "a." + "b" * 253),
        ("x\udc80.txt", "x.txt"),
    ],
)
def test_names_are_made_harmless(given: str | None, clean: str) -> None:
    assert clean_file_name(given) == clean
