"""One process full of subscribers: raw non-blocking sockets on one epoll, which count what they receive.

A real client per subscriber would cost more than the server that is measured, on a core that is too near. So most
frames are only counted, and recognised as a `next` by their text; every frame of some members is parsed, and kept.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from bench.frames import CLOSE, COMPRESSED, PING, PONG, TEXT, client_frame, split, upgrade

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
RECEIVE_BYTES = 65_536
# Both sides of json's taste in white space.
NEXT = (b'"type":"next"', b'"type": "next"')
PONG_MESSAGE = client_frame(b'{"type":"pong"}')


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Somebody who will subscribe: to what, under which operation id, and whether all that he receives is parsed.

    Without a token he is a bare TCP connection, to whom ready frames are sent.
    """

    identifier: str
    token: str | None = None
    query: str = ""
    variables: dict[str, Any] = field(default_factory=dict)
    sampled: bool = False


@dataclass(slots=True)
class Round:
    """What one event brought: when (time.monotonic) and how many, and what the sampled members received."""

    received: int = 0
    first: float = 0.0
    last: float = 0.0
    frame_bytes: int = 0
    samples: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


class Member:
    """One socket. `state` is what it waits for: connected, upgraded, acknowledged, subscribed."""

    __slots__ = ("count", "fd", "partial", "socket", "state", "subscriber")

    def __init__(self, subscriber: Subscriber) -> None:
        self.subscriber = subscriber
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = self.socket.fileno()
        self.partial = b""
        self.state = "connecting"
        self.count = 0


class Members:
    """All subscribers of one process. Times are those of time.monotonic, one clock for all processes of a machine."""

    def __init__(self, port: int, *, compression: bool = False) -> None:
        self._port = port
        self._compression = compression
        self._poll = select.epoll()
        self._members: dict[int, Member] = {}
        self._subscribed = 0
        self._acknowledged = 0
        self._pongs = 0
        self.round = Round()
        self.gone: list[str] = []
        self.accepted_compression = False

    def register(self, fd: int) -> None:
        """Wake `serve` when this descriptor can be read."""
        self._poll.register(fd, select.EPOLLIN)

    def serve(self, timeout: float) -> set[int]:
        """Handle what has come. Returns the descriptors that are no members' and can be read."""
        strangers = set()
        for fd, event in self._poll.poll(timeout):
            member = self._members.get(fd)
            if member is None:
                strangers.add(fd)
            elif event & select.EPOLLOUT:
                self._connected(member)
            else:
                self._readable(member)
        return strangers

    def join(self, subscribers: Sequence[Subscriber], *, at_once: int, timeout: float) -> tuple[float, float]:
        """Connect and subscribe all of them, so many at once. Returns when it began, and when the last was there.

        There means: subscribed, and a ping sent behind the subscription was answered. Raises TimeoutError.
        """
        waiting, began = deque(subscribers), time.monotonic()
        before, target = self._subscribed, self._subscribed + len(subscribers)
        started = 0
        while self._subscribed < target or waiting:
            while waiting and started - (self._subscribed - before) < at_once:
                self._connect(waiting.popleft())
                started += 1
            self.serve(0.05)
            self._check(began + timeout, f"{self._subscribed} of {target} subscribed")
        while self._pongs < self._acknowledged:
            self.serve(0.05)
            self._check(began + timeout, f"{self._pongs} of {self._acknowledged} answered a ping")
        return began, time.monotonic()

    def begin(self) -> None:
        """What comes from now on is another round."""
        self.round = Round()

    def wait(self, received: int, timeout: float) -> Round:
        """The round, when so many have come, or when the time is over: then it says how many came."""
        deadline = time.monotonic() + timeout
        while self.round.received < received and time.monotonic() < deadline and not self.gone:
            self.serve(min(0.05, timeout))
        return self.round

    def counts(self) -> dict[int, int]:
        """How many members received how many events since this was asked last."""
        found: dict[int, int] = {}
        for member in self._members.values():
            found[member.count] = found.get(member.count, 0) + 1
            member.count = 0
        return found

    def leave(self) -> None:
        """Reset every connection: no socket stays in TIME_WAIT, and the ports are free at once."""
        for member in self._members.values():
            member.socket.close()
        self._members.clear()
        self._subscribed = self._acknowledged = self._pongs = 0

    def _check(self, deadline: float, found: str) -> None:
        if self.gone:
            raise ConnectionError(f"{len(self.gone)} sockets were closed by the server: {self.gone[0]}")
        if time.monotonic() > deadline:
            raise TimeoutError(found)

    def _connect(self, subscriber: Subscriber) -> None:
        member = Member(subscriber)
        self._members[member.fd] = member
        status = member.socket.connect_ex(("127.0.0.1", self._port))
        if status not in (0, errno.EINPROGRESS):
            raise OSError(status, errno.errorcode[status])
        self._poll.register(member.fd, select.EPOLLOUT)

    def _connected(self, member: Member) -> None:
        self._poll.modify(member.fd, select.EPOLLIN)
        if member.subscriber.token is None:
            member.state = "subscribed"
            self._subscribed += 1
            return
        member.state = "upgrading"
        self._send(member, upgrade(self._port, compression=self._compression))

    def _readable(self, member: Member) -> None:
        try:
            data = member.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(member, str(error))
            return
        if not data:
            self._lost(member, "end of stream")
            return
        data = member.partial + data
        if member.state == "upgrading":
            data = self._upgraded(member, data)
        if member.state == "upgrading":
            member.partial = data
            return
        frames, member.partial = split(data)
        for first, payload in frames:
            self._frame(member, first, payload)

    def _upgraded(self, member: Member, data: bytes) -> bytes:
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            return data
        if not head.startswith(b"HTTP/1.1 101"):
            self._lost(member, head.split(b"\r\n")[0].decode(errors="replace"))
            return b""
        self.accepted_compression |= b"permessage-deflate" in head.lower()
        member.state = "initialising"
        payload = {"authorization": f"Bearer {member.subscriber.token}"}
        self._say(member, {"type": "connection_init", "payload": payload})
        return rest

    def _frame(self, member: Member, first: int, payload: bytes) -> None:
        opcode = first & 0xF
        if opcode == TEXT and (NEXT[0] in payload or NEXT[1] in payload or first & COMPRESSED):
            self._counted(member, payload)
        elif opcode == TEXT:
            self._message(member, orjson.loads(payload))
        elif opcode == PING:
            self._send(member, client_frame(payload, PONG))
        elif opcode == CLOSE:
            self._lost(member, f"{int.from_bytes(payload[:2], 'big')} {payload[2:].decode(errors='replace')}")

    def _counted(self, member: Member, payload: bytes) -> None:
        now, this = time.monotonic(), self.round
        if this.received == 0:
            this.first = now
            this.frame_bytes = len(payload)
        this.last = now
        this.received += 1
        member.count += 1
        if member.subscriber.sampled:
            this.samples.append((member.subscriber.identifier, orjson.loads(payload)))

    def _message(self, member: Member, message: dict[str, Any]) -> None:
        match message["type"]:
            case "ping":
                self._send(member, PONG_MESSAGE)
            case "pong":
                self._pongs += 1
            case "connection_ack":
                self._acknowledge(member)
            case _:
                self._lost(member, orjson.dumps(message).decode()[:300])

    def _acknowledge(self, member: Member) -> None:
        self._acknowledged += 1
        payload = {"query": member.subscriber.query, "variables": member.subscriber.variables}
        self._say(member, {"id": member.subscriber.identifier, "type": "subscribe", "payload": payload})
        # Behind it: who answers this has read the subscription.
        self._say(member, {"type": "ping"})
        member.state = "subscribed"
        self._subscribed += 1

    def _say(self, member: Member, message: dict[str, Any]) -> None:
        self._send(member, client_frame(orjson.dumps(message)))

    def _send(self, member: Member, data: bytes) -> None:
        # A socket that has only ever sent a few messages takes them whole.
        if member.socket.send(data) != len(data):
            self._lost(member, "its send buffer is full")

    def _lost(self, member: Member, why: str) -> None:
        self.gone.append(why)
        self._members.pop(member.fd, None)
        member.socket.close()
