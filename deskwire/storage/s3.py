"""Contents as objects of a bucket, in S3 or what speaks like it.

Credentials come from where boto3 finds them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, a role. The
bucket must be there. boto3 blocks, so it works in threads of this storage's own: a slow bucket takes none that others
wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import cached_property, partial
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from deskwire.storage.keys import check_key
from domain.storage import ContentMissing, StorageUnavailable, Stored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART = 5 * 1024 * 1024
"""The least that S3 takes as one of several parts. At most two are in memory for each upload."""

BLOCK = 256 * 1024
THREADS = 16

T = TypeVar("T")


class S3Storage:
    """A Storage in a bucket, below a prefix if there is one."""

    def __init__(
        self, bucket: str, *, prefix: str = "", endpoint: str | None = None, region: str | None = None
    ) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.endpoint = endpoint
        self.region = region
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")
        self._making = Lock()

    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> None:
        where = self._where(key)
        parts = _parts(chunks)
        first = await anext(parts)
        second = await anext(parts, None)
        if second is None:
            await self._run(lambda client: client.put_object(**where, Body=first))
            return
        await self._put_parts(where, _joined(first, second, parts))

    async def _put_parts(self, where: dict[str, str], parts: AsyncIterable[bytes]) -> None:
        begun = await self._run(lambda client: client.create_multipart_upload(**where))
        upload = {**where, "UploadId": begun["UploadId"]}
        try:
            tags: list[Any] = []
            async for part in parts:
                tags.append(await self._run(_put_part, upload, len(tags) + 1, part))
            await self._run(lambda client: client.complete_multipart_upload(**upload, MultipartUpload={"Parts": tags}))
        except BaseException:
            with suppress(ContentMissing, StorageUnavailable):  # what stays behind, `abandon` finds
                await self._run(lambda client: client.abort_multipart_upload(**upload))
            raise

    @asynccontextmanager
    async def reading(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        asked: dict[str, Any] = self._where(key)
        if start or length is not None:
            asked["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        answer = await self._run(lambda client: client.get_object(**asked))
        body = answer["Body"]
        try:
            yield self._read(body)
        finally:
            body.close()

    async def _read(self, body: Any) -> AsyncIterator[bytes]:
        while block := await self._run(lambda client: body.read(BLOCK)):
            yield block

    async def delete(self, key: str) -> None:
        where = self._where(key)
        await self._run(lambda client: client.delete_object(**where))

    async def listed(self) -> AsyncIterator[Stored]:
        page: dict[str, Any] = {"Bucket": self.bucket, "Prefix": self.prefix}
        while True:
            answer = await self._run(lambda client: client.list_objects_v2(**page))
            for each in answer.get("Contents", ()):
                yield Stored(each["Key"].removeprefix(self.prefix), each["LastModified"])
            if not answer.get("IsTruncated"):
                return
            page["ContinuationToken"] = answer["NextContinuationToken"]

    async def abandon(self, before: datetime) -> int:
        """The first thousand that the service names; the next call finds the others."""
        asked = {"Bucket": self.bucket, "Prefix": self.prefix}
        answer = await self._run(lambda client: client.list_multipart_uploads(**asked))
        old = [each for each in answer.get("Uploads", ()) if each["Initiated"] <= before]
        for each in old:
            where = {"Bucket": self.bucket, "Key": each["Key"], "UploadId": each["UploadId"]}
            await self._run(lambda client, where=where: client.abort_multipart_upload(**where))
        return len(old)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if "_client" in self.__dict__:
            self._client.close()

    def _where(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + check_key(key)}

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(self._translated, work, *arguments))

    def _translated(self, work: Callable[..., T], *arguments: Any) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            with self._making:
                client = self._client
            return work(client, *arguments)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "NoSuchUpload"):
                raise ContentMissing(str(error)) from error
            raise StorageUnavailable(str(error)) from error
        except (BotoCoreError, OSError) as error:
            raise StorageUnavailable(str(error)) from error

    @cached_property
    def _client(self) -> S3Client:
        # Imported late: boto3 takes a while, and who stores on disk does not need it.
        import boto3
        from botocore.config import Config

        config = Config(
            max_pool_connections=THREADS,
            connect_timeout=5,
            read_timeout=20,
            retries={"mode": "standard", "total_max_attempts": 3},
            # Services that only speak like S3 do not know the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # A bucket as a part of the host name needs DNS that a service of one's own rarely has.
            s3={"addressing_style": "path" if self.endpoint else "auto"},
        )
        # A session of our own: the shared one must not be used from several threads.
        return boto3.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region or ("us-east-1" if self.endpoint else None),
            config=config,
        )


def _put_part(client: S3Client, upload: dict[str, Any], number: int, part: bytes) -> dict[str, Any]:
    answer = client.upload_part(**upload, PartNumber=number, Body=part)
    return {"PartNumber": number, "ETag": answer["ETag"]}


async def _parts(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in parts of at least PART, but for the last. At least one part, if an empty one."""
    part = bytearray()
    count = 0
    async for chunk in chunks:
        part += chunk
        if len(part) >= PART:
            yield bytes(part)
            count += 1
            part.clear()
    if part or not count:
        yield bytes(part)


async def _joined(first: bytes, second: bytes, others: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    yield first
    yield second
    async for part in others:
        yield part
