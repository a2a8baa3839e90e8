"""Files through a real server: on disk, in a bucket, across a kill, and with a client that hangs up."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.conftest import Start
from tests.server.process import Server
from tests.server.stage import Stage, staged
from tests.storage.buckets import CREDENTIALS, new_bucket, served
from tests.uploads import PNG

LARGE = PNG * 600  # some 6 MB: more than one part of an object

SEND = """mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
    message { attachments { id url } } userErrors { code } } }"""


@pytest.fixture(scope="module")
def stage(sqlite_url: str) -> Stage:
    return staged(sqlite_url)


@pytest.fixture(params=["disk", "bucket"])
def attachments_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "disk":
        yield f"files://{tmp_path / 'files'}"
        return
    with served() as address:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        yield new_bucket(address, "served")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def upload(server: Server, token: str, content: bytes) -> dict[str, Any]:
    files = {"file": ("large.png", content, "image/png")}
    answer = httpx.post(f"{server.address}/attachments", files=files, headers=bearer(token), timeout=30)
    assert answer.status_code == 201, answer.text + server.log.read_text()
    found: dict[str, Any] = answer.json()
    return found


def test_a_file_outlives_a_kill(attachments_url: str, sqlite_url: str, stage: Stage, start: Start) -> None:
    """What was answered is stored, on a disk and in a bucket: also for the process that comes after a `kill -9`."""
    # Without jobs: moto dates every upload that has begun 2010, and the sweep of the storage would abandon it.
    server = start(sqlite_url, attachments_url=attachments_url, jobs="false")
    sent = upload(server, stage.customer, LARGE)
    server.kill()
    server.start()
    variables = {"input": {"body": "See this.", "attachmentIds": [sent["id"]]}}
    answer = httpx.post(
        f"{server.address}/graphql", json={"query": SEND, "variables": variables}, headers=bearer(stage.customer)
    ).json()
    [file] = answer["data"]["sendMessage"]["message"]["attachments"]
    for got in (
        httpx.get(server.address + file["url"], timeout=30),
        httpx.get(f"{server.address}/attachments/{file['id']}", headers=bearer(stage.agent), timeout=30),
    ):
        assert (got.status_code, got.content) == (200, LARGE)
    part = httpx.get(server.address + file["url"], headers={"Range": "bytes=6000000-6000009"})
    assert (part.status_code, part.content) == (206, LARGE[6_000_000:6_000_010])
    server.close()


def test_a_client_that_hangs_up_leaves_nothing(sqlite_url: str, stage: Stage, start: Start, tmp_path: Path) -> None:
    """In flight: half a body, and the line is dead. The server goes on, without a defect in its log."""
    server = start(sqlite_url, attachments_url=f"files://{tmp_path / 'files'}")
    head = (
        "POST /attachments HTTP/1.1\r\nHost: deskwire.example\r\n"
        f"Authorization: Bearer {stage.customer}\r\nContent-Length: 3000000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    )
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(head.encode() + b"x" * 1_000_000)
        assert eventually(lambda: len(files_in(tmp_path)) == 1)
    assert eventually(lambda: files_in(tmp_path) == [])
    assert upload(server, stage.customer, PNG)["size"] == len(PNG)
    assert len(files_in(tmp_path)) == 1
    server.close()


def test_a_declared_size_is_refused_before_it_comes(
    sqlite_url: str, stage: Stage, start: Start, tmp_path: Path
) -> None:
    server = start(sqlite_url, attachments_url=f"files://{tmp_path / 'files'}", attachment_megabytes="1")
    head = (
        "POST /attachments HTTP/1.1\r\nHost: deskwire.example\r\n"
        f"Authorization: Bearer {stage.customer}\r\nContent-Length: 30000000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(head.encode())
        assert line.recv(4096).startswith(b"HTTP/1.1 413 ")
    server.close()


def files_in(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file()]


def eventually(condition: Any, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
