"""Attachments: uploading a file, attaching it to a comment, who may open it, and when its content is forgotten.

A file is stored first and registered then, so that no row is without its content. In between only its storage knows
it; `sweep_storage` forgets what was never registered. Until it is attached it is its uploader's alone. Attaching is a
part of writing the comment: both happen, or neither. From then on the comment's access rule is the file's (R65).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from domain.actors import Actor, system
from domain.contents import Content, Inspection, clean_file_name
from domain.errors import Forbidden, InvalidInput, NotFound, Refusal, TooManyUploads
from domain.locks import confirm_actor, lock_user
from domain.storage import Storage, StorageUnavailable
from domain.transactions import Call, Transaction, unit_of_work
from domain.visibility import visible_tickets
from models import Attachment, Channel, Comment, Conversation, Visibility, new_id, utc_now

MOST_OF_A_COMMENT = 10
MOST_UNATTACHED = 50
UNATTACHED_FOR = timedelta(hours=24)
SWEPT_EVERY = timedelta(hours=6)
BATCH = 100

log = logging.getLogger("deskwire.attachments")

Clock = Callable[[], datetime]


async def upload_file(
    call: Call, storage: Storage, *, file_name: str | None, chunks: AsyncIterable[bytes], most_bytes: int
) -> Attachment:
    """Store a file of the caller and register it, attached to nothing yet.

    Raises FileTooLarge, TooManyUploads, InvalidInput (empty, or a program), Forbidden, StorageUnavailable, and
    whatever `chunks` raises. Then nothing is registered, and what was stored is forgotten.
    """
    await check_can_upload(call.actor)
    key = _new_key(call.actor)
    inspection = Inspection(most_bytes)
    await storage.put(key, inspection.watched(chunks))
    try:
        return await register_upload(call, file_name=file_name, storage_key=key, content=inspection.finished())
    except Refusal:
        # Only then is it certain that no row names it. In doubt it stays, for the sweep.
        await _forget(storage, key)
        raise


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A content that is in the storage, and that no row names yet."""

    file_name: str
    storage_key: str
    content: Content


async def store_file(
    account_id: UUID, storage: Storage, *, file_name: str | None, chunks: AsyncIterable[bytes], most_bytes: int
) -> StoredFile:
    """Store a file that came in by itself, with a mail. `attach_stored` registers it; else the sweep forgets it.

    Raises FileTooLarge, InvalidInput (empty, or a program), StorageUnavailable; then nothing stays.
    """
    key = _new_key(system(account_id))
    inspection = Inspection(most_bytes)
    await storage.put(key, inspection.watched(chunks))
    try:
        return StoredFile(clean_file_name(file_name), key, inspection.finished())
    except Refusal:
        await _forget(storage, key)
        raise


async def attach_stored(tx: Transaction, comment: Comment, files: Sequence[StoredFile]) -> None:
    """Register stored files as those of a comment of this transaction."""
    for file in files:
        await Attachment.create(
            id=new_id(),
            account_id=tx.account_id,
            uploader_id=tx.actor.id,
            comment_id=comment.id,
            file_name=file.file_name,
            content_type=file.content.content_type,
            size=file.content.size,
            sha256=file.content.sha256,
            storage_key=file.storage_key,
            created_at=tx.now,
            attached_at=tx.now,
        )


def _new_key(actor: Actor) -> str:
    """Folders of an account's own, and 256 below them: no folder grows too large. Nothing of the file's name."""
    name = new_id().hex
    return f"{actor.account_id.hex}/{name[-2:]}/{name}"


async def check_can_upload(actor: Actor) -> None:
    """Raises Forbidden for who is no person, TooManyUploads for who has left too many files unattached."""
    if actor.id is None:
        raise Forbidden("Only people upload files.")
    count = await Attachment.filter(account_id=actor.account_id, uploader_id=actor.id, comment_id=None).count()
    if count >= MOST_UNATTACHED:
        raise TooManyUploads(count)


async def register_upload(call: Call, *, file_name: str | None, storage_key: str, content: Content) -> Attachment:
    """Note that the caller has stored a content. Raises as `upload_file` does, but knows no storage."""

    async def work(tx: Transaction) -> Attachment:
        if tx.actor.id is None:
            raise Forbidden("Only people upload files.")
        await lock_user(tx, tx.actor.id)  # or several uploads at once were one too many
        await check_can_upload(await confirm_actor(tx))
        return await Attachment.create(
            id=new_id(),
            account_id=tx.account_id,
            uploader_id=tx.actor.id,
            file_name=clean_file_name(file_name),
            content_type=content.content_type,
            size=content.size,
            sha256=content.sha256,
            storage_key=storage_key,
            created_at=tx.now,
        )

    return await unit_of_work(call, work)


def check_attachments(ids: Sequence[UUID]) -> None:
    """Raises InvalidInput when there are too many for one comment."""
    if len(ids) > MOST_OF_A_COMMENT:
        raise InvalidInput(f"A comment takes at most {MOST_OF_A_COMMENT} files.", field=("attachmentIds",))


async def attach_uploads(tx: Transaction, comment: Comment, ids: Sequence[UUID]) -> None:
    """Attach uploads of the actor to a comment of this transaction: all of them, or NotFound.

    Their rows are locked behind all other rows but the account's position. Of two comments that want one upload at
    the same moment, the second finds it gone.
    """
    if not ids:
        return
    wanted, uploader = set(ids), tx.actor.id
    mine = Attachment.filter(id__in=list(wanted), account_id=tx.account_id, uploader_id=uploader, comment_id=None)
    if uploader is None or len(await mine.order_by("id").select_for_update()) != len(wanted):
        raise NotFound("A file is not there, is not yours, or is attached already.", field=("attachmentIds",))
    await mine.update(comment_id=comment.id, attached_at=tx.now)


async def withdraw_attachments(tx: Transaction, comment_id: UUID) -> None:
    """Take the files of a comment away from everybody, at once and for ever. A pass forgets their content."""
    await Attachment.filter(comment_id=comment_id).update(comment_id=None, attached_at=None, uploader_id=None)


async def readable_attachments(actor: Actor, ids: Sequence[UUID]) -> dict[UUID, Attachment]:
    """Those of these attachments that the actor may open now, by id. At most four statements, whatever their number.

    Staff open what hangs on a comment of a ticket that they may see. Customers open what hangs on messages of their
    own conversations, and on other public comments of their own tickets; never what hangs on a note (R53, R65).
    """
    rows = await Attachment.filter(account_id=actor.account_id, id__in=list(ids))
    found = await Comment.filter(id__in=[row.comment_id for row in rows if row.comment_id is not None])
    comments = {comment.id: comment for comment in found}
    threads = {comment.conversation_id for comment in found}
    tickets = await visible_tickets(actor).filter(conversation_id__in=list(threads))
    of_tickets = {ticket.conversation_id for ticket in tickets}
    of_his: set[UUID] = set()
    if actor.is_customer:
        of_his = {each.id for each in await Conversation.filter(id__in=list(threads), end_user_id=actor.id)}

    def may_open(row: Attachment) -> bool:
        if row.comment_id is None:
            return actor.id is not None and row.uploader_id == actor.id
        comment = comments[row.comment_id]
        if not actor.is_customer:
            return comment.conversation_id in of_tickets
        if comment.visibility is not Visibility.PUBLIC:
            return False
        return comment.conversation_id in (of_his if comment.channel is Channel.MESSAGING else of_tickets)

    return {row.id: row for row in rows if may_open(row)}


async def readable_attachment(actor: Actor, attachment_id: UUID) -> Attachment:
    """The attachment, if the actor may open it now. Raises NotFound, for missing and inaccessible alike."""
    found = await readable_attachments(actor, [attachment_id])
    if attachment_id not in found:
        raise NotFound
    return found[attachment_id]


async def purge_attachments(storage: Storage, clock: Clock = utc_now) -> int:
    """A pass: forget files that were never attached within UNATTACHED_FOR, or whose comment was taken back.

    A file is taken from its uploader first, so that nobody attaches it any more; then its content is deleted, and its
    row at last. Cut short anywhere, the next pass goes on. Returns how many files are gone.
    """
    for row in await _expired(clock() - UNATTACHED_FOR):
        await _in_system(row, clock, _give_up)
    withdrawn = await Attachment.filter(comment_id=None, uploader_id=None).order_by("created_at").limit(BATCH)
    return sum([await _purged(storage, row, clock) for row in withdrawn])


async def _expired(before: datetime) -> list[Attachment]:
    old = Attachment.filter(comment_id=None, uploader_id__not_isnull=True, created_at__lte=before)
    return await old.order_by("created_at").limit(BATCH)


async def _in_system(row: Attachment, clock: Clock, change: Callable[[Attachment], Awaitable[object]]) -> None:
    async def work(tx: Transaction) -> None:
        await change(row)

    await unit_of_work(Call(system(row.account_id), clock=clock), work)


async def _give_up(row: Attachment) -> None:
    # Asked again: it may have been attached since. The update waits for whoever is attaching it.
    await Attachment.filter(id=row.id, comment_id=None).update(uploader_id=None)


async def _delete_row(row: Attachment) -> None:
    await Attachment.filter(id=row.id, comment_id=None, uploader_id=None).delete()


async def _purged(storage: Storage, row: Attachment, clock: Clock) -> bool:
    if not await _forget(storage, row.storage_key):
        return False
    await _in_system(row, clock, _delete_row)
    return True


async def _forget(storage: Storage, key: str) -> bool:
    try:
        await storage.delete(key)
    except StorageUnavailable as error:
        log.warning("the content %s cannot be deleted now: %s", key, error)
        return False
    return True


async def sweep_storage(storage: Storage, clock: Clock = utc_now) -> int:
    """Forget what a crash left in the storage: contents without a row, and beginnings of contents.

    Only what is older than UNATTACHED_FOR: a younger one may be about to be registered. It looks at every content.
    Returns how many were forgotten.
    """
    before = clock() - UNATTACHED_FOR
    count = await storage.abandon(before)
    batch: list[str] = []
    async for stored in storage.listed():
        if stored.modified_at <= before:
            batch.append(stored.key)
        if len(batch) == BATCH:
            count += await _forget_orphans(storage, batch)
            batch = []
    return count + await _forget_orphans(storage, batch)


async def _forget_orphans(storage: Storage, keys: list[str]) -> int:
    known = {row.storage_key for row in await Attachment.filter(storage_key__in=keys)}
    return sum([await _forget(storage, key) for key in keys if key not in known])


class Sweep:
    """A pass that may be called at any time, and calls `sweep_storage` every SWEPT_EVERY."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._due: datetime | None = None

    async def __call__(self, clock: Clock = utc_now) -> int:
        """Returns how many were forgotten."""
        now = clock()
        if self._due is not None and now < self._due:
            return 0
        self._due = now + SWEPT_EVERY
        try:
            return await sweep_storage(self._storage, clock)
        except StorageUnavailable as error:
            log.warning("the storage cannot be swept now: %s", error)
            return 0
