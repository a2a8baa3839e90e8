"""Where a call of ours may go: to public addresses, so that nobody reaches our own network through us."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

IP = ipaddress.IPv4Address | ipaddress.IPv6Address

# Ways of writing an IPv4 address as an IPv6 one. A gateway may lead them back into the network that it stands in.
TUNNELS = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))


class ForbiddenAddress(Exception):
    """This is no public address."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open Internet."""
    ip: IP = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif any(ip in tunnel for tunnel in TUNNELS):
            return False
    return ip.is_global and not ip.is_multicast


async def resolved(url: str, *, allow_private: bool = False) -> str:
    """The IP address to connect to for a URL. Raises OSError when there is none, ForbiddenAddress.

    It is for the caller to connect to this very address: a name that is looked up again may then be another.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    # One that is not public is enough to refuse: whoever answers so plays games.
    if not allow_private and not all(map(is_public, addresses)):
        raise ForbiddenAddress(parts.hostname)
    return addresses[0]
