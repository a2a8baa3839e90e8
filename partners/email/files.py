"""The files that come with a mail: stored before the mail is taken in, or named in its text as not kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from domain.attachments import MOST_OF_A_COMMENT, StoredFile, store_file
from domain.comments import LONGEST_BODY
from domain.contents import clean_file_name
from domain.emails import IncomingMail
from domain.errors import Refusal
from domain.storage import Storage
from partners.email.incoming import MailAttachment

BLOCK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Files:
    """Where files go, and how large one may be."""

    storage: Storage
    most_bytes: int

    async def kept(self, account_id: UUID, mail: IncomingMail, attachments: Sequence[MailAttachment]) -> IncomingMail:
        """The mail with its files stored. What is too much, too large, empty or a program is named in its text.

        Raises StorageUnavailable: the mail can be sent again.
        """
        kept: list[StoredFile] = []
        lost: list[str] = [clean_file_name(each.file_name) for each in attachments[MOST_OF_A_COMMENT:]]
        for each in attachments[:MOST_OF_A_COMMENT]:
            try:
                kept.append(await self._stored(account_id, each))
            except Refusal:
                lost.append(clean_file_name(each.file_name))
        return replace(mail, files=tuple(kept), body=_with_remark(mail.body, lost))

    async def _stored(self, account_id: UUID, file: MailAttachment) -> StoredFile:
        chunks = _chunks(file.content)
        name, most = file.file_name, self.most_bytes
        return await store_file(account_id, self.storage, file_name=name, chunks=chunks, most_bytes=most)


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), BLOCK):
        yield content[start : start + BLOCK]


def _with_remark(body: str, lost: list[str]) -> str:
    if not lost:
        return body
    remark = f"\n\n[Not kept: {', '.join(lost)}]"
    return body[: LONGEST_BODY - len(remark)] + remark if len(remark) < LONGEST_BODY else body
