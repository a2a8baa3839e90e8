"""Every storage there is. A test that asks for `storage` runs once on each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from deskwire.storage import storage_at
from domain.storage import Storage
from tests.storage.buckets import new_bucket, served

STORAGES = ("disk", "s3")
_numbers = count(1)


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture(params=STORAGES)
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "disk":
        return f"files://{tmp_path / 'files'}"
    return new_bucket(request.getfixturevalue("s3_address"), f"bucket-{next(_numbers)}")


@pytest.fixture
async def storage(storage_url: str) -> AsyncIterator[Storage]:
    storage = storage_at(storage_url)
    yield storage
    await storage.close()
