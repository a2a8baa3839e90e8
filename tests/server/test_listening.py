"""What the sockets of clients inherit from the one that accepts them."""

from __future__ import annotations

import socket

import pytest

from deskwire.serving.listening import GONE_AFTER_SECONDS, listening


@pytest.mark.parametrize("shared", [False, True])
def test_accepted_sockets_send_at_once_and_notice_who_is_gone(shared: bool) -> None:
    """F6; and no answer waits for an acknowledgement, as a small second write does otherwise."""
    with listening("127.0.0.1", 0, shared=shared) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            timeout = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert timeout == GONE_AFTER_SECONDS * 1000
