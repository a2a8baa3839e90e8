"""The storages of attachments, by URL: a folder (`files://`), or a bucket of an S3-compatible service (`s3://`)."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from deskwire.config import BadConfiguration
from deskwire.storage.disk import DiskStorage
from deskwire.storage.s3 import S3Storage
from domain.storage import Storage

EXAMPLES = "use files://folder, files:///folder, or s3://bucket?endpoint=…&region=…"


def storage_at(url: str) -> Storage:
    """The storage that a URL names. It touches neither disk nor network yet. Raises BadConfiguration."""
    if url.startswith("files://") and (folder := url.removeprefix("files://")):
        return DiskStorage(folder)
    if url.startswith("s3://"):
        return _bucket(url)
    raise BadConfiguration(f"DESKWIRE_ATTACHMENTS_URL={url!r} names no storage: {EXAMPLES}.")


def _bucket(url: str) -> S3Storage:
    parts, options = urlsplit(url), parse_qs(urlsplit(url).query, strict_parsing=False)
    unknown = sorted(set(options) - {"endpoint", "region"})
    if not parts.hostname or parts.username or parts.port or unknown:
        # Not the URL itself: somebody may have put a secret into it.
        raise BadConfiguration(
            f"DESKWIRE_ATTACHMENTS_URL: {EXAMPLES}. Credentials come from AWS_ACCESS_KEY_ID and the like."
        )
    endpoint, region = (options.get(name, [None])[0] for name in ("endpoint", "region"))
    return S3Storage(parts.netloc, prefix=parts.path.strip("/"), endpoint=endpoint, region=region)
