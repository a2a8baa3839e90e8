"""Our addresses and Message-IDs. Those that name a ticket or a comment are signed: nobody else can make one.

    support@acme.mail.example                     the account's own; what customers write to
    support+<ticket>.<tag>@acme.mail.example      Reply-To: finds the ticket when a mail program drops References
    bounce+<comment>.<tag>@acme.mail.example      the envelope's sender: finds the mail that could not be delivered
    <<comment>.<tag>@acme.mail.example>           Message-ID

Each account has a host of its own, so that whoever brings mail in can tell accounts apart by the recipient, and a
local part stays within the 64 characters that RFC 5321 allows.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from uuid import UUID

# 80 bits, and guesses can only be made one mail at a time.
_TAG = 20
_SIGNED = re.compile(rf"([0-9a-f]{{32}})\.([0-9a-f]{{{_TAG}}})")


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses below one domain. `secret` signs; whoever changes it makes all earlier answers new tickets."""

    domain: str
    secret: str

    def host(self, slug: str) -> str:
        return f"{slug}.{self.domain}".lower()

    def support(self, slug: str) -> str:
        return f"support@{self.host(slug)}"

    def reply_to(self, slug: str, ticket_id: UUID) -> str:
        return f"support+{self._signed('ticket', slug, ticket_id)}@{self.host(slug)}"

    def bounces(self, slug: str, comment_id: UUID) -> str:
        return f"bounce+{self._signed('bounce', slug, comment_id)}@{self.host(slug)}"

    def message_id(self, slug: str, comment_id: UUID) -> str:
        return f"<{self._signed('message', slug, comment_id)}@{self.host(slug)}>"

    def comment_of_message(self, slug: str, message_id: str) -> UUID | None:
        """The comment that went out under this Message-ID; None for what we did not sign for this account."""
        local, _, host = message_id.strip("<> ").lower().rpartition("@")
        return self._opened("message", slug, local) if host == self.host(slug) else None

    def comment_of_bounce(self, slug: str, address: str) -> UUID | None:
        """The comment whose mail came back to this address."""
        return self._of_address("bounce", "bounce+", slug, address)

    def ticket_of(self, slug: str, address: str) -> UUID | None:
        """The ticket that this address answers."""
        return self._of_address("ticket", "support+", slug, address)

    def is_own(self, slug: str, address: str) -> bool:
        """Whether this is an address of the account itself."""
        return address.lower().endswith(f"@{self.host(slug)}")

    def _of_address(self, purpose: str, prefix: str, slug: str, address: str) -> UUID | None:
        local, _, host = address.lower().rpartition("@")
        if host != self.host(slug) or not local.startswith(prefix):
            return None
        return self._opened(purpose, slug, local.removeprefix(prefix))

    def _signed(self, purpose: str, slug: str, identifier: UUID) -> str:
        return f"{identifier.hex}.{self._tag(purpose, slug, identifier)}"

    def _opened(self, purpose: str, slug: str, text: str) -> UUID | None:
        match = _SIGNED.fullmatch(text)
        if match is None:
            return None
        identifier = UUID(hex=match[1])
        return identifier if hmac.compare_digest(match[2], self._tag(purpose, slug, identifier)) else None

    def _tag(self, purpose: str, slug: str, identifier: UUID) -> str:
        # The first words keep these tags apart from everything else that the same key signs.
        words = f"email {purpose} {slug.lower()} {identifier.hex}"
        return hmac.new(self.secret.encode(), words.encode(), hashlib.sha256).hexdigest()[:_TAG]
