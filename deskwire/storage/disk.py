"""Contents as files below a folder, which several processes may share.

A content is written beside its place, flushed to the disk, and renamed: whoever looks sees all of it or nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from uuid import uuid4

from deskwire.storage.keys import check_key
from domain.storage import ContentMissing, StorageUnavailable, Stored

BLOCK = 256 * 1024
BEGUN = ".begun"
"""The folder of what is being written. No key has a dot, so none is in it."""

T = TypeVar("T")


class DiskStorage:
    """A Storage on a disk. The folder is made when something is first stored."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> None:
        place, begun = self._place(key), self.folder / BEGUN / uuid4().hex
        file = await _run(_create, begun)
        try:
            with _closing(file):
                async for block in _blocks(chunks):
                    await _run(file.write, block)
                await _run(_flush, file)
            await _run(_move, begun, place, self.folder)
        except BaseException:
            # Without a thread, so that it is done even while this task is being cancelled.
            begun.unlink(missing_ok=True)
            raise

    @asynccontextmanager
    async def reading(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        file = await _run(_open, self._place(key), start)
        with file:
            yield _read(file, length)

    async def delete(self, key: str) -> None:
        place = self._place(key)
        await _run(lambda: place.unlink(missing_ok=True))

    async def listed(self) -> AsyncIterator[Stored]:
        for each in await _run(self._stored):
            yield each

    async def abandon(self, before: datetime) -> int:
        return await _run(self._abandon, before.timestamp())

    async def close(self) -> None:
        return

    def _place(self, key: str) -> Path:
        return self.folder / check_key(key)

    def _stored(self) -> list[Stored]:
        begun, found = self.folder / BEGUN, []
        for each in self.folder.rglob("*"):
            with suppress(FileNotFoundError):  # deleted meanwhile
                if each.is_file() and each.parent != begun:
                    modified = datetime.fromtimestamp(each.stat().st_mtime, UTC)
                    found.append(Stored(each.relative_to(self.folder).as_posix(), modified))
        return found

    def _abandon(self, before: float) -> int:
        begun = self.folder / BEGUN
        count = 0
        for each in begun.iterdir() if begun.is_dir() else ():
            with suppress(FileNotFoundError):  # it was finished meanwhile
                if each.stat().st_mtime <= before:
                    each.unlink()
                    count += 1
        return count


async def _run(work: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.to_thread(_translated, work, *arguments)


def _translated(work: Callable[..., T], *arguments: Any) -> T:
    try:
        return work(*arguments)
    except OSError as error:
        raise StorageUnavailable(str(error)) from error


@contextmanager
def _closing(file: BinaryIO) -> Iterator[None]:
    """Closes the file. That fails only where writing or flushing failed before, and has said so."""
    try:
        yield
    finally:
        with suppress(OSError):
            file.close()


def _create(begun: Path) -> BinaryIO:
    begun.parent.mkdir(parents=True, exist_ok=True)
    return begun.open("xb")


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _move(begun: Path, place: Path, folder: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    begun.replace(place)
    # The names of the file and of new folders are kept by the folders above them.
    for each in (above for above in place.parents if above == folder or folder in above.parents):
        _flush_folder(each)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open(place: Path, start: int) -> BinaryIO:
    try:
        file = place.open("rb")
    except FileNotFoundError as error:
        raise ContentMissing(place.name) from error
    file.seek(start)
    return file


async def _blocks(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of some size: a thread for every packet would cost more than the writing."""
    block = bytearray()
    async for chunk in chunks:
        block += chunk
        if len(block) >= BLOCK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


async def _read(file: BinaryIO, length: int | None) -> AsyncIterator[bytes]:
    left = length
    while left is None or left > 0:
        block = await _run(file.read, BLOCK if left is None else min(BLOCK, left))
        if not block:
            return
        left = None if left is None else left - len(block)
        yield block
