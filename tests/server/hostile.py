"""WebSocket sessions that nobody's client would have: kinds of them, each with any number of variations by a seed.

A kind is a function that makes the bytes of one session, with the ends that are legal for it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from tests.client import OPERATIONS, PROTOCOL
from tests.server.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, closing, fragments, frame

LARGEST = 65_536
# Ends that are no close code and no HTTP status.
SILENT, ALIVE, DROPPED = 0, 1, 2
"""It waits for the rest of something; it answers a ping as ever; it hung up without a close frame.

The last is legal only where something was written behind what the server closed for: the RST that answers it may
overtake the close frame.
"""

ENDED = OPERATIONS["SessionEnded"]


@dataclass(frozen=True, slots=True)
class Session:
    """What is sent, and how it may end.

    written      the bytes, each written by itself; the first follow the handshake (or are all there is, without one)
    begins       whether the runner shakes hands and initialises, only shakes hands, or does nothing
    """

    name: str
    written: list[bytes]
    ends: frozenset[int]
    begins: Begins


@dataclass(frozen=True, slots=True)
class Begins:
    handshake: bool
    initialised: bool


INITIALISED = Begins(True, True)
ACCEPTED = Begins(True, False)
RAW = Begins(False, False)

Make = Callable[[Random], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Kind:
    make: Make
    ends: frozenset[int]
    begins: Begins

    def session(self, seed: int, number: int) -> Session:
        """The same for the same seed and number."""
        name = self.make.__name__
        written = list(self.make(Random(f"{seed} {name} {number}")))
        return Session(f"{name} {number} (seed {seed})", written, self.ends, self.begins)


KINDS: dict[str, Kind] = {}


def kind(*ends: int, begins: Begins = INITIALISED) -> Callable[[Make], Make]:
    def added(make: Make) -> Make:
        KINDS[make.__name__] = Kind(make, frozenset(ends), begins)
        return make

    return added


def text(message: Any) -> bytes:
    return frame(message if isinstance(message, str) else orjson.dumps(message))


def subscribe(identifier: Any = "1", **payload: Any) -> dict[str, Any]:
    return {"type": "subscribe", "id": identifier, "payload": {"query": ENDED} | payload}


def odd(random: Random) -> Any:
    """A value of a type that nobody asked for, and no string."""
    return random.choice([1, -1, 1.5, True, False, [], {}, [[]], {"a": []}, ["x"], random.getrandbits(40)])


def letters(random: Random, size: int) -> str:
    return "".join(random.choices('abcdefghijklmnopqrstuvwxyzäπ🙂"\\/', k=size))


# Messages


@kind(4400)
def no_object(random: Random) -> Iterable[bytes]:
    yield text(
        random.choice(["[]", "1", '"x"', "null", "true", "1.5", "[{}]", "", " ", "{", "}", "{} {}", "nul", "\ufeff{}"])
    )


@kind(4401, 4400, begins=ACCEPTED)
def no_object_at_first(random: Random) -> Iterable[bytes]:
    yield from no_object(random)


@kind(4400)
def deep_json(random: Random) -> Iterable[bytes]:
    depth = random.randint(1_000, LARGEST // 2 - 100)
    opened, shut = random.choice([("[", "]"), ('{"":', "}")])
    depth = min(depth, LARGEST // (len(opened) + 2))
    yield text(random.choice(["", '{"type":"ping","payload":']) + opened * depth + "1" + shut * depth)


@kind(4400, ALIVE, DROPPED)
def long_integers(random: Random) -> Iterable[bytes]:
    digits = "9" * random.randint(4_301, 60_000)
    yield text(
        random.choice(
            [
                f'{{"type":{digits}}}',
                f'{{"type":"complete","id":{digits}}}',
                f'{{"type":"ping","payload":{digits}}}',
                f'{{"type":"ping","payload":-{digits}.5e9}}',
                f'{{"type":"subscribe","id":"1","payload":{{"query":"{{x}}","variables":{{"after":{digits}}}}}}}',
            ]
        )
    )


@kind(4400)
def half_surrogates(random: Random) -> Iterable[bytes]:
    half = f"\\u{random.randint(0xD800, 0xDFFF):x}"
    where = random.choice(
        [
            '{"type":"%s"}',
            '{"type":"ping","%s":1}',
            '{"type":"complete","id":"%s"}',
            '{"type":"subscribe","id":"1","payload":{"query":"{x}","variables":{"after":"%s"}}}',
        ]
    )
    yield text(where % half)


@kind(4400, ALIVE, DROPPED)
def nul(random: Random) -> Iterable[bytes]:
    yield text(
        random.choice(
            [
                {"type": "ping\0"},
                {"type": "complete", "id": "\0"},
                subscribe("\0\0"),
                subscribe(query="\0" * random.randint(1, 99)),
                subscribe(variables={"after": "\0"}),
                subscribe(operationName="\0"),
                subscribe(query=OPERATIONS["TicketActivity"], variables={"ticketId": "\0"}),
            ]
        )
    )


@kind(4400)
def long_types(random: Random) -> Iterable[bytes]:
    yield text({"type": letters(random, random.randint(100, 12_000))})


@kind(4400)
def unknown_types(random: Random) -> Iterable[bytes]:
    known = ["next", "error", "connection_ack", "start", "stop", "connection_terminate", "ka", "Ping", "subscribe ", ""]
    yield text({"type": random.choice([*known, letters(random, 9)]), "id": "1", "payload": {}})


@kind(4400)
def odd_types(random: Random) -> Iterable[bytes]:
    yield text(random.choice([{}, {"type": None}, {"type": odd(random)}, {"typ": "ping"}]))


@kind(4400)
def odd_payloads(random: Random) -> Iterable[bytes]:
    part = random.choice(["payload", "query", "operationName", "variables"])
    value = random.choice([1, True, [], ["x"], 1.5])
    message = subscribe(**({} if part == "payload" else {part: value}))
    if part == "payload":
        message["payload"] = random.choice([value, None, "x", {}, {"query": None}])
    yield text(message)


@kind(4400)
def odd_ids(random: Random) -> Iterable[bytes]:
    wrong = [odd(random), None, "", letters(random, random.randint(129, 5_000))]
    message = random.choice([subscribe(), {"type": "complete"}])
    yield text({**message, "id": random.choice(wrong)})


@kind(4401, begins=ACCEPTED)
def subscribing_before_all_else(random: Random) -> Iterable[bytes]:
    yield from [text({"type": "ping"})] * random.randint(0, 3)
    yield text(random.choice([subscribe(), {"type": "complete", "id": "1"}, {"type": letters(random, 5)}]))


@kind(4403, begins=ACCEPTED)
def odd_credentials(random: Random) -> Iterable[bytes]:
    said = [
        None,
        odd(random),
        "",
        "Bearer",
        "Bearer ",
        "Basic x",
        f"Bearer {letters(random, random.randint(1, 9_000))}",
    ]
    payload: Any = random.choice(
        [None, "x", 1, [], {}, {"Authorization": "Bearer x"}, *({"authorization": x} for x in said)]
    )
    yield text(
        {"type": "connection_init", "payload": payload} if random.random() < 0.9 else {"type": "connection_init"}
    )


@kind(4429)
def initialising_twice(random: Random) -> Iterable[bytes]:
    yield from [text(subscribe())] * random.randint(0, 1)
    yield text({"type": "connection_init", "payload": odd(random)})


@kind(4409)
def an_id_twice(random: Random) -> Iterable[bytes]:
    identifier = letters(random, random.randint(1, 128))
    yield text(subscribe(identifier)) + text(subscribe(identifier))


@kind(ALIVE)
def queries_and_mutations(random: Random) -> Iterable[bytes]:
    names = [name for name, query in OPERATIONS.items() if not query.lstrip("# ").startswith("subscription")]
    name = random.choice([each for each in names if f"subscription {each}" not in OPERATIONS[each]])
    yield text(subscribe(query=OPERATIONS[name], variables={"input": {}}))


@kind(ALIVE)
def documents_that_do_not_parse(random: Random) -> Iterable[bytes]:
    start = random.randint(1, len(ENDED) - 1)
    wrong = [ENDED[:start], "{" * random.randint(1, 9_000), '"""', "\\", "fragment", letters(random, 40), "{a(b:$)}"]
    yield text(subscribe(query=random.choice(wrong), variables=random.choice([None, {}, {"after": odd(random)}])))


@kind(ALIVE)
def too_many_operations(random: Random) -> Iterable[bytes]:
    yield b"".join(text(subscribe(f"{number}")) for number in range(random.randint(21, 40)))


@kind(ALIVE)
def completing_what_is_not_there(random: Random) -> Iterable[bytes]:
    yield b"".join(text({"type": "complete", "id": letters(random, 8)}) for _ in range(random.randint(1, 50)))
    yield text(subscribe("1")) + text({"type": "complete", "id": "1"}) * 2


# Frames


@kind(1009, DROPPED)
def too_large(random: Random) -> Iterable[bytes]:
    message = b'{"type":"ping"}'.ljust(LARGEST + random.randint(1, 200_000))
    whole = [frame(message, random.choice([TEXT, BINARY]))]
    yield from random.choice([whole, fragments(message, random.randint(1_000, LARGEST))])


@kind(ALIVE)
def tiny_fragments(random: Random) -> Iterable[bytes]:
    message = orjson.dumps({"type": "ping", "payload": {"x": letters(random, random.randint(1, 300))}})
    pieces = fragments(message, 1)
    if random.random() < 0.5:
        pieces[1:1] = [frame(b"", CONTINUATION, final=False)] * random.randint(1, 500)
    yield from [b"".join(pieces)] if random.random() < 0.7 else [*pieces[:40], b"".join(pieces[40:])]


@kind(ALIVE)
def control_frames_between_fragments(random: Random) -> Iterable[bytes]:
    for piece in fragments(b'{"type": "ping"}', random.randint(1, 5)):
        yield frame(letters(random, 5), random.choice([PING, PONG])) + piece


@kind(1002)
def reserved_bits(random: Random) -> Iterable[bytes]:
    opcode = random.choice([TEXT, BINARY, PING, PONG, CLOSE])
    yield frame('{"type":"ping"}', opcode, reserved=random.randint(1, 7))


@kind(1002)
def unknown_opcodes(random: Random) -> Iterable[bytes]:
    opcode = random.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
    yield frame(letters(random, random.randint(0, 20)), opcode, final=random.random() < 0.8)


@kind(1002)
def unmasked(random: Random) -> Iterable[bytes]:
    yield frame('{"type":"ping"}', random.choice([TEXT, BINARY, PING]), masked=False)


@kind(1002, 1007, 1009, 4400, ALIVE, SILENT, DROPPED)
def lying_lengths(random: Random) -> Iterable[bytes]:
    payload = b'{"type":"ping"}'
    size = len(payload)
    length = random.choice(
        [
            b"\x7e" + size.to_bytes(2, "big"),  # longer than it need be
            b"\x7f" + size.to_bytes(8, "big"),
            b"\x7f" + (random.getrandbits(63) | 1 << 63).to_bytes(8, "big"),  # the highest bit must be 0
            b"\x7f" + random.getrandbits(62).to_bytes(8, "big"),
            bytes([random.randint(size + 1, 125)]),  # more than comes
            bytes([random.randint(0, size - 1)]),  # less
        ]
    )
    yield frame(payload, length=length)


@kind(ALIVE)
def utf8_in_two_fragments(random: Random) -> Iterable[bytes]:
    message = '{"type": "ping", "payload": {"x": "äπ🙂äπ🙂"}}'.encode()
    yield from fragments(message, random.randint(1, 3))


@kind(1007)
def invalid_utf8(random: Random) -> Iterable[bytes]:
    wrong = random.choice(
        [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80", b"\xf0\x9f"]
    )
    message = b'{"type":"' + letters(random, random.randint(0, 30)).encode() + wrong
    yield from random.choice([[frame(message)], fragments(message, 3)])


@kind(1002, 1007, *range(1000, 1012), 1012, 1013, 1014, *range(3000, 5000), DROPPED)
def close_codes(random: Random) -> Iterable[bytes]:
    """A legal one is sent back, another one is a mistake of its own."""
    edges = [0, 1, 999, 1000, 1004, 1005, 1006, 1015, 1016, 2999, 3000, 4400, 4999, 5000, 65_535]
    reason = random.choice([b"", b"", b"bye", b"x" * 123, b"\xff"])
    yield closing(random.choice([*edges, random.randint(0, 65_535), random.randint(1000, 1016)]), reason)


@kind(1002, 1005)
def short_close_frames(random: Random) -> Iterable[bytes]:
    yield frame(random.choice([b"", b"\x03"]), CLOSE) + text({"type": "ping"}) * random.randint(0, 3)


@kind(1002, 1009, DROPPED)
def long_control_frames(random: Random) -> Iterable[bytes]:
    yield frame(b"x" * random.choice([126, 127, 200, 65_535, 70_000]), random.choice([PING, PONG, CLOSE]))


@kind(1002)
def fragmented_control_frames(random: Random) -> Iterable[bytes]:
    yield frame(b"x", random.choice([PING, PONG, CLOSE]), final=False) + frame(b"y", CONTINUATION)


@kind(1002)
def fragments_out_of_order(random: Random) -> Iterable[bytes]:
    first = frame('{"type":', final=False)
    yield random.choice([frame('"ping"}', CONTINUATION), first + text('"ping"}'), first + first])


@kind(4400)
def binary(random: Random) -> Iterable[bytes]:
    message = random.choice([b'{"type":"ping"}', b"", random.randbytes(200), orjson.dumps(subscribe())])
    yield from random.choice([[frame(message, BINARY)], fragments(message, 7, BINARY)])


@kind(ALIVE)
def many_pings(random: Random) -> Iterable[bytes]:
    ping = random.choice([text({"type": "ping"}), frame(letters(random, 9), PING), frame(b"", PONG)])
    yield ping * random.randint(50, 400)


@kind(1002, 1003, 1005, 1007, 1009, 4400, *range(1000, 1016), *range(3000, 5000), ALIVE, SILENT, DROPPED)
def mutations(random: Random) -> Iterable[bytes]:
    """Right frames with a few bits turned."""
    data = bytearray(text(subscribe()) + text({"type": "ping"}) + frame(b"x", PING) + text(subscribe("2")))
    for _ in range(random.randint(1, 6)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    yield bytes(data)


@kind(1002, 1003, 1005, 1007, 1009, 4400, *range(1000, 1016), *range(3000, 5000), ALIVE, SILENT, DROPPED)
def noise(random: Random) -> Iterable[bytes]:
    yield random.randbytes(random.randint(1, 3_000))


# Handshakes


def handshake(line: str = "GET /graphql HTTP/1.1", *more: str, without: str = "", **changed: str) -> bytes:
    headers = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
        "Sec-WebSocket-Protocol": PROTOCOL,
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if name != without]
    return ("\r\n".join([line, *lines, *more]) + "\r\n\r\n").encode("latin-1")


@kind(403, 400, begins=RAW)
def other_subprotocols(random: Random) -> Iterable[bytes]:
    offered = [
        "graphql-ws",
        "soap",
        "graphql-Transport-WS",
        "x, " * 50 + "x",
        "\xe9\xff",
        "a,,b",
        "graphql-transport-wsx",
    ]
    chosen = random.choice(offered)
    if random.random() < 0.2:
        yield handshake(without="Sec-WebSocket-Protocol")
    else:
        yield handshake(Sec_WebSocket_Protocol=chosen)


@kind(ALIVE, begins=RAW)
def several_subprotocols(random: Random) -> Iterable[bytes]:
    offered = ["graphql-ws", "soap", PROTOCOL]
    random.shuffle(offered)
    yield handshake(Sec_WebSocket_Protocol=random.choice([", ", ","]).join(offered))


@kind(400, 403, 404, 405, 426, 415, 401, begins=RAW)
def broken_handshakes(random: Random) -> Iterable[bytes]:
    yield random.choice(
        [
            handshake(without="Sec-WebSocket-Key"),
            handshake(without="Sec-WebSocket-Version"),
            handshake(without="Connection"),
            handshake(without="Upgrade"),
            handshake(Sec_WebSocket_Version=random.choice(["8", "0", "x", "13, 8", "-1", ""])),
            handshake(Sec_WebSocket_Key=random.choice(["", "x", "\xe9" * 22 + "==", "=" * 24, "QUJD"])),
            handshake("POST /graphql HTTP/1.1", "Content-Length: 0"),
            handshake("GET /nothing HTTP/1.1"),
            handshake(Upgrade=random.choice(["h2c", "websockets", ""])),
        ]
    )


@kind(ALIVE, 400, 426, 505, begins=RAW)
def old_http(random: Random) -> Iterable[bytes]:
    """The WebSocket's RFC asks for 1.1; uvicorn accepts 1.0 as well, which harms nobody."""
    yield handshake(f"GET /graphql HTTP/{random.choice(['1.0', '0.9', '1.2'])}")


@kind(ALIVE, 403, begins=RAW)
def foreign_origins(random: Random) -> Iterable[bytes]:
    yield handshake(
        Origin=random.choice(["https://evil.example", "null", "\xe9", "file://", "https://a, https://b", ""])
    )


@kind(400, 404, 405, 431, DROPPED, SILENT, begins=RAW)
def no_http(random: Random) -> Iterable[bytes]:
    yield random.choice(
        [
            random.randbytes(random.randint(1, 4_000)),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(200),
            b"GET / HTTP/9.9\r\n\r\n",
            b"\r\n" * random.randint(1, 99),
            b"GET /" + b"x" * random.randint(1, 70_000) + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            handshake(X="\x00"),
            handshake("GET /graphql HTTP/1.1", "No colon"),
        ]
    )


@kind(SILENT, begins=RAW)
def half_handshakes(random: Random) -> Iterable[bytes]:
    whole = handshake()
    yield whole[: random.randint(0, len(whole) - 1)]


# Ends


@kind(4408, begins=ACCEPTED)
def silence(random: Random) -> Iterable[bytes]:
    """Not a word after the handshake, or only pings."""
    yield from [text({"type": "ping"})] * random.randint(0, 3)


@kind(400, 1002, 1007, 1009, 4400, ALIVE, SILENT, DROPPED, begins=RAW)
def leaving_anywhere(random: Random) -> Iterable[bytes]:
    """Everything as it should be, up to some byte of it."""
    init = text({"type": "connection_init", "payload": {"authorization": "Bearer x"}})
    whole = handshake() + init[: random.randint(0, len(init) - 1)]
    yield whole[: random.randint(0, len(whole) - 1)]


@kind(1002, 1007, 1009, 4400, ALIVE, SILENT, DROPPED)
def leaving_in_the_middle(random: Random) -> Iterable[bytes]:
    whole = b"".join(text(subscribe(f"{number}")) for number in range(5))
    yield whole[: random.randint(0, len(whole))]
