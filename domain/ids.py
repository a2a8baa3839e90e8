"""Global ids, as the API writes them, for what leaves us by another way than the API: calls to bots and webhooks."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from uuid import UUID


def global_id(kind: str, identifier: UUID) -> str:
    """base64url of `Kind:uuid`, without padding. Opaque to whoever gets it."""
    return urlsafe_b64encode(f"{kind}:{identifier}".encode()).decode().rstrip("=")
