"""How a letter leaves: over SMTP, or into a folder.

Failure          it did not leave
├── Temporary    it may, later
│   └── Away     nothing would: the server is not there, or does not let us in
└── Permanent    this one never will
"""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import aiosmtplib

from partners.email.outgoing import Letter

SECONDS = 20.0
"""Of one step of the conversation with a server."""
WHOLE_SECONDS = 120.0
"""Of all of it: a server that answers each step just in time is no better than one that does not answer."""


class Failure(Exception):
    """The letter did not leave."""


class Temporary(Failure):
    """Another try makes sense."""


class Away(Temporary):
    """So it is for every other letter now."""


class Permanent(Failure):
    """No other try makes sense."""


class Transport(Protocol):
    """Takes a letter to where it goes on by itself."""

    async def send(self, letter: Letter) -> None:
        """Raises Temporary, Away or Permanent; otherwise the letter has left."""


class BadEmailUrl(ValueError):
    """The URL names no transport."""


def open_transport(url: str) -> Transport:
    """The transport of a URL: smtp://[user:password@]host[:port], smtps://…, or files://folder. Raises BadEmailUrl."""
    if url.startswith("files://") and url != "files://":
        return Files(Path(url.removeprefix("files://")))
    parts = urlsplit(url)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise BadEmailUrl("Use smtp://[user:password@]host:port, smtps://…, or files://folder.")
    tls = parts.scheme == "smtps"
    user, password = (unquote(each) if each else None for each in (parts.username, parts.password))
    try:
        return Smtp(parts.hostname, parts.port or (465 if tls else 25), user, password, tls=tls)
    except ValueError as error:
        raise BadEmailUrl(f"The port is no port: {error}") from None


@dataclass(frozen=True, slots=True)
class Files:
    """For development: each letter is a file .eml."""

    folder: Path

    async def send(self, letter: Letter) -> None:
        try:
            await asyncio.to_thread(self._write, letter)
        except OSError as error:
            raise Away(f"{self.folder} takes no files: {error.strerror}") from error

    def _write(self, letter: Letter) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # A name of its own for each attempt: two threads may write one letter at the same moment.
        unfinished = self.folder / f".{letter.name}.{uuid4().hex}"
        unfinished.write_bytes(letter.content)
        unfinished.replace(self.folder / f"{letter.name}.eml")


@dataclass(frozen=True, slots=True)
class Smtp:
    """A server that sends on. STARTTLS when the server offers it; a password never goes over an open line."""

    host: str
    port: int
    user: str | None = None
    password: str | None = None
    tls: bool = False
    seconds: float = SECONDS

    async def send(self, letter: Letter) -> None:
        client = aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            username=self.user,
            password=self.password,
            use_tls=self.tls,
            start_tls=True if self._must_start_tls else None if not self.tls else False,
            timeout=self.seconds,
        )
        try:
            async with asyncio.timeout(min(WHOLE_SECONDS, 6 * self.seconds)):
                await self._connect(client)
                await self._hand_over(client, letter)
                # It has left. What goes wrong from here on must not send it again.
                with suppress(aiosmtplib.SMTPException, OSError):
                    await client.quit()
        except TimeoutError:
            raise Away(f"{self.host} takes too long.") from None
        finally:
            client.close()

    @property
    def _must_start_tls(self) -> bool:
        return self.user is not None and not self.tls and not _is_here(self.host)

    async def _connect(self, client: aiosmtplib.SMTP) -> None:
        try:
            await client.connect()
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Away(f"{self.host} does not let us in: {error}") from error

    async def _hand_over(self, client: aiosmtplib.SMTP, letter: Letter) -> None:
        try:
            await client.sendmail(letter.sender, [letter.recipient], letter.content)
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _refused(error.recipients[0]) from error
        except aiosmtplib.SMTPResponseException as error:
            raise _refused(error) from error
        except aiosmtplib.SMTPTimeoutError as error:
            raise Away(f"{self.host} takes too long: {error}") from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Temporary(f"{self.host} went away: {error}") from error


def _refused(error: aiosmtplib.SMTPResponseException) -> Failure:
    said = f"{error.code} {error.message}"
    return Permanent(said) if 500 <= error.code < 600 else Temporary(said)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
