"""The messages of graphql-transport-ws: what may be said, and with which code a socket closes that says otherwise.

Close codes: who gets one, and what he must do.

    1011  a defect of ours, which is logged       connect again, resume with the last cursor
    1012  the server restarts                     connect again, resume with the last cursor
    1013  too many connections; no database; or   connect again later, resume with the last cursor
          it was not read for SEND_SECONDS
    4400  a message that the protocol lacks       mend the client
    4401  no connection_init, or token expired    connect again with a valid token
    4403  token unknown or revoked                log in again
    4406  another subprotocol (a 403 before       mend the client
          the socket is accepted)
    4408  no connection_init in time              connect again
    4409  two operations with one id              mend the client
    4429  connection_init twice                   mend the client

Codes from 4400 on are those of the protocol.
"""

from __future__ import annotations

from typing import Any

import orjson

PROTOCOL = "graphql-transport-ws"
LONGEST_ID = 128
ACKNOWLEDGED = b'{"type":"connection_ack"}'
PING = b'{"type":"ping"}'
PONG = b'{"type":"pong"}'


class Close(Exception):
    """The socket must close, with this code. The reason is short ASCII: a close frame holds 123 bytes."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def next_head(identifier: str) -> bytes:
    """The beginning of a `next` message, up to its payload."""
    return b'{"id":' + orjson.dumps(identifier) + b',"type":"next","payload":'


def message_of(text: str | None) -> dict[str, Any]:
    if text is None:
        raise Close(4400, "send text frames")
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Close(4400, "not JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Close(4400, "not a message of the protocol")
    return message


def bearer_of(payload: object) -> str | None:
    """The token in {"authorization": "Bearer …"}."""
    value = payload.get("authorization") if isinstance(payload, dict) else None
    if not isinstance(value, str) or not value.lower().startswith("bearer "):
        return None
    return value[7:].strip()


def operation_id(message: dict[str, Any]) -> str:
    identifier = message.get("id")
    if not isinstance(identifier, str) or not 0 < len(identifier) <= LONGEST_ID:
        raise Close(4400, "an id is a string of 1 to 128 characters")
    return identifier


def parameters_of(payload: object) -> tuple[str, str | None, dict[str, Any]]:
    if not isinstance(payload, dict):
        raise Close(4400, "a payload is an object")
    query, name, variables = payload.get("query"), payload.get("operationName"), payload.get("variables")
    if not isinstance(query, str) or not isinstance(name, str | None) or not isinstance(variables, dict | None):
        raise Close(4400, "query, operationName or variables have a wrong type")
    return query, name, variables or {}


def said(code: str, message: str) -> list[dict[str, Any]]:
    return [{"message": message, "extensions": {"code": code}}]
