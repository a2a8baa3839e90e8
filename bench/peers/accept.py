"""The peer of reconnecting: all that a WebSocket costs under uvicorn before anybody subscribes to anything.

It accepts, answers `connection_init`, and answers pings. Whatever else it is told it hears and forgets.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from bench.peers.serving import serve


async def accept(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="graphql-transport-ws")
    while (frame := await websocket.receive())["type"] == "websocket.receive":
        if '"connection_init"' in frame["text"]:
            await websocket.send_text('{"type":"connection_ack"}')
        elif '"ping"' in frame["text"]:
            await websocket.send_text('{"type":"pong"}')


if __name__ == "__main__":
    serve(Starlette(routes=[WebSocketRoute("/graphql", accept)]))
