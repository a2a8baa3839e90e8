"""What every storage must do: the same tests on a folder and on a bucket of a real S3-compatible server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from deskwire.config import BadConfiguration
from deskwire.storage import storage_at
from deskwire.storage.s3 import PART
from domain.storage import ContentMissing, Storage, StorageUnavailable
from models import utc_now

KEY = "account/4f/4f4f"
LARGE = random.Random(65).randbytes(2 * PART + 12_345)


class Lost(Exception):
    """The other side went away."""


async def chunks_of(content: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def cut_short(content: bytes) -> AsyncIterator[bytes]:
    async for chunk in chunks_of(content):
        yield chunk
    raise Lost


async def content_of(storage: Storage, key: str, start: int = 0, length: int | None = None) -> bytes:
    async with storage.reading(key, start, length) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def keys_of(storage: Storage) -> list[str]:
    return sorted([stored.key async for stored in storage.listed()])


@pytest.mark.parametrize("size", [0, 1, 300_000, PART, PART + 1, len(LARGE)])
async def test_what_is_put_is_read_again(storage: Storage, size: int) -> None:
    await storage.put(KEY, chunks_of(LARGE[:size]))
    assert await content_of(storage, KEY) == LARGE[:size]
    assert await keys_of(storage) == [KEY]


async def test_a_piece_is_read_alone(storage: Storage) -> None:
    await storage.put(KEY, chunks_of(LARGE))
    assert await content_of(storage, KEY, 5, 3) == LARGE[5:8]
    assert await content_of(storage, KEY, 0, 1) == LARGE[:1]
    assert await content_of(storage, KEY, len(LARGE) - 4) == LARGE[-4:]
    assert await content_of(storage, KEY, 1_000, 700_000) == LARGE[1_000:701_000]


async def test_a_second_content_replaces_the_first(storage: Storage) -> None:
    await storage.put(KEY, chunks_of(b"first and long"))
    await storage.put(KEY, chunks_of(b"second"))
    assert await content_of(storage, KEY) == b"second"
    assert await keys_of(storage) == [KEY]


async def test_what_is_missing_is_said_to_be(storage: Storage) -> None:
    with pytest.raises(ContentMissing):
        await content_of(storage, KEY)
    assert await keys_of(storage) == []


async def test_deleting_twice_is_deleting(storage: Storage) -> None:
    await storage.put(KEY, chunks_of(b"gone soon"))
    await storage.put("account/4f/stays", chunks_of(b"stays"))
    await storage.delete(KEY)
    await storage.delete(KEY)
    assert await keys_of(storage) == ["account/4f/stays"]
    with pytest.raises(ContentMissing):
        await content_of(storage, KEY)


@pytest.mark.parametrize("size", [0, 10, PART + 1, len(LARGE)])
async def test_half_a_content_is_none(storage: Storage, size: int) -> None:
    """In flight: what the sender did not finish leaves nothing behind, not even a beginning."""
    with pytest.raises(Lost):
        await storage.put(KEY, cut_short(LARGE[:size]))
    assert await keys_of(storage) == []
    assert await storage.abandon(utc_now() + timedelta(hours=1)) == 0


async def test_half_a_second_content_leaves_the_first(storage: Storage) -> None:
    await storage.put(KEY, chunks_of(b"first"))
    with pytest.raises(Lost):
        await storage.put(KEY, cut_short(LARGE))
    assert await content_of(storage, KEY) == b"first"


async def test_a_cancelled_put_stores_nothing(storage: Storage) -> None:
    waiting = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        async for chunk in chunks_of(LARGE):
            yield chunk
        waiting.set()
        await asyncio.sleep(60)

    put = asyncio.create_task(storage.put(KEY, endless()))
    await waiting.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert await keys_of(storage) == []
    assert await storage.abandon(utc_now() + timedelta(hours=1)) == 0


async def test_what_a_crash_began_is_abandoned(storage: Storage) -> None:
    """After a crash: a put that will never go on. One that is younger may go on, and does."""
    held, going = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        async for chunk in chunks_of(LARGE):
            yield chunk
        held.set()
        await going.wait()

    put = asyncio.create_task(storage.put(KEY, slow()))
    await held.wait()
    # Before any clock: moto stamps every beginning with one moment of 2010.
    assert await storage.abandon(utc_now() - timedelta(days=365 * 30)) == 0
    assert await keys_of(storage) == []
    assert await storage.abandon(utc_now() + timedelta(hours=1)) == 1
    going.set()
    with pytest.raises((ContentMissing, StorageUnavailable)):
        await put
    assert await keys_of(storage) == []


async def test_many_are_put_and_listed_at_once(storage: Storage) -> None:
    keys = [f"account/{number % 7:02}/{number:04}" for number in range(60)]
    await asyncio.gather(*(storage.put(key, chunks_of(key.encode())) for key in keys))
    assert await keys_of(storage) == sorted(keys)
    found = await asyncio.gather(*(content_of(storage, key) for key in keys))
    assert found == [key.encode() for key in keys]


async def test_a_content_says_when_it_was_stored(storage: Storage) -> None:
    before = utc_now() - timedelta(seconds=2)
    await storage.put(KEY, chunks_of(b"now"))
    [stored] = [each async for each in storage.listed()]
    assert before <= stored.modified_at <= utc_now() + timedelta(seconds=2)


@pytest.mark.parametrize(
    "key", ["", "/", "/etc/passwd", "..", "a/../b", "../up", "a//b", "a/", ".begun/x", "a\\b", "a\x00", "é", "a" * 201]
)
async def test_no_key_leads_out_of_the_storage(storage: Storage, key: str) -> None:
    """Path traversal: whatever somebody makes a key of, it is refused before anything is touched."""
    with pytest.raises(ValueError, match="no key"):
        await storage.put(key, chunks_of(b"x"))
    with pytest.raises(ValueError, match="no key"):
        await content_of(storage, key)
    with pytest.raises(ValueError, match="no key"):
        await storage.delete(key)
    assert await keys_of(storage) == []


async def test_a_bucket_that_is_not_there_is_unavailable(s3_address: str) -> None:
    storage = storage_at(f"s3://no-such-bucket?endpoint={s3_address}")
    with pytest.raises(StorageUnavailable, match="NoSuchBucket"):
        await storage.put(KEY, chunks_of(b"x"))
    with pytest.raises(StorageUnavailable, match="NoSuchBucket"):
        await content_of(storage, KEY)
    await storage.close()


async def test_a_folder_that_cannot_be_written_is_unavailable() -> None:
    storage = storage_at("files:///proc/nobody/writes/here")
    with pytest.raises(StorageUnavailable):
        await storage.put(KEY, chunks_of(b"x"))
    await storage.close()


@pytest.mark.parametrize(
    "url",
    ["", "files://", "ftp://x", "s3://", "s3:///key", "s3://key:secret@bucket", "s3://bucket?secret=x", "var/files"],
)
def test_what_names_no_storage_is_refused(url: str) -> None:
    with pytest.raises(BadConfiguration, match="files://folder") as refused:
        storage_at(url)
    assert "key:secret" not in str(refused.value)
