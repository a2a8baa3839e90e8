import asyncio
import random
from collections.abc import Callable
from typing import Any

from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportError, TransportQueryError
from gql.transport.websockets import WebsocketsTransport
from websockets.exceptions import ConnectionClosed

LONGEST_WAIT = 30
HOPELESS = (4400, 4403, 4409, 4429)


async def follow(url: str, token: str, query: str, variables: dict[str, Any], use: Callable[[Any], None]) -> None:
    """Until it is cancelled. Raises TransportQueryError for what the server refuses."""
    after, failures = variables.get("after"), 0
    init = {"authorization": f"Bearer {token}"}
    while True:
        transport = WebsocketsTransport(url.replace("http", "ws", 1), init_payload=init)
        request = GraphQLRequest(query, variable_values=variables | {"after": after})
        try:
            async with Client(transport=transport) as session:
                async for data in session.subscribe(request):
                    (item,) = data.values()
                    use(item)
                    after, failures = item["cursor"], 0  # only now
        except TransportQueryError as refusal:
            said = (refusal.errors or [{}])[0].get("extensions", {})
            if said.get("code") != "SLOW_CONSUMER":
                raise
            after = said["cursor"]
        except (OSError, TransportError) as failure:
            if close_code(failure) in HOPELESS:
                raise
        await asyncio.sleep(random.random() * min(LONGEST_WAIT, 0.5 * 2**failures))
        failures += 1


def close_code(failure: BaseException | None) -> int | None:
    while failure:
        if isinstance(failure, ConnectionClosed) and failure.rcvd:
            return failure.rcvd.code
        failure = failure.__cause__
    return None
