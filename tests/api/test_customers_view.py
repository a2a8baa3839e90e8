"""Rules R28 and R53: what a customer's client can reach at all, read off the schema and tried on real rows."""

from __future__ import annotations

from graphql import GraphQLInterfaceType, GraphQLNamedType, GraphQLObjectType, GraphQLSchema, get_named_type

from deskwire.schema import build_schema
from models import Channel
from tests.api.covered import codes
from tests.api.stage import SECRET, Stage, gid
from tests.api.test_authorization import CALLERS, MATRIX, OK
from tests.client import Client
from tests.conftest import SignIn
from tests.factories import World

SCALARS = {"Boolean", "DateTime", "ID", "Int", "String"}

# Behind `viewer`, which agents and customers share. Always null for who is no agent.
AVAILABILITY = {"Availability", "AvailabilityStatus", "ChannelAvailability", "Channel"}

# Of people, for staff. Always null for a customer (R140).
SUSPENSION = {"Suspension"}

# Every type that a customer's operation can hold. One that is added here shows him something new: is it his?
ALLOWED = SCALARS | {
    # himself
    *{"Viewer", "User", "UserRole", "Account", "Permission"},
    # his conversations
    *{"ConversationConnection", "ConversationEdge", "Conversation", "PageInfo"},
    *{"MessageConnection", "MessageEdge", "Message", "MessageAuthor", "MessageAuthorKind"},
    # files that he sent or was sent
    "Attachment",
    # his requests
    *{"RequestConnection", "RequestEdge", "Request", "TicketStatus"},
    # what he does, and what he hears
    *{"SendMessagePayload", "ChangeMessagePayload", "CommentOnRequestPayload", "RateConversationPayload", "Rating"},
    *{
        "MarkReadPayload",
        "SendTypingPayload",
        "RevokeTokenPayload",
        "RevokeApiTokenPayload",
        "ApiToken",
        "UserError",
        "ErrorCode",
    },
    *{"MessageReceived", "Survey", "SurveyScore", "ConversationSignal", "SignalKind"},
    *AVAILABILITY,
    *SUSPENSION,
}

# Of the types that are the customer's own, exactly these fields.
FIELDS = {
    "Conversation": {"id", "startedAt", "messages", "survey"},
    "Message": {
        "id",
        "clientMessageId",
        "body",
        "sentAt",
        "editedAt",
        "deletedAt",
        "reaction",
        "author",
        "attachments",
    },
    "Attachment": {"id", "fileName", "contentType", "size", "url"},
    "MessageAuthor": {"kind", "name"},
    "Request": {"id", "number", "subject", "status", "createdAt"},
    "MessageReceived": {"cursor", "conversation", "message", "survey"},
    "ConversationSignal": {"kind", "side", "at"},
    "Survey": {"id", "question"},
    "User": {"id", "name", "email", "role", "suspension"},
    "Viewer": {"user", "account", "permissions", "availability", "tokenId"},
}

# What is nobody's business but the account's.
INTERNAL = ("session", "note", "visibility", "assignee", "group", "capacity", "routing", "audit", "composer", "ended")


def asked_by_customers() -> set[str]:
    """The root fields that answer a customer, by the matrix of test_authorization.py."""
    column = CALLERS.index("customer")
    return {key.split()[0] for key, row in MATRIX.items() if row.expected[column] == OK}


def reachable(schema: GraphQLSchema) -> dict[str, GraphQLNamedType]:
    """Every type that the answers of those fields can hold, the implementations of interfaces included."""
    roots = [root for root in (schema.query_type, schema.mutation_type, schema.subscription_type) if root]
    fields = [field for root in roots for name, field in root.fields.items() if name in asked_by_customers()]
    found: dict[str, GraphQLNamedType] = {}
    waiting = [get_named_type(field.type) for field in fields]
    while waiting:
        kind = waiting.pop()
        if kind.name in found:
            continue
        found[kind.name] = kind
        if isinstance(kind, GraphQLInterfaceType):
            waiting += schema.get_possible_types(kind)
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            waiting += [get_named_type(field.type) for field in kind.fields.values()]
    return found


def test_customers_reach_these_types_and_no_others() -> None:
    """R53: nothing of sessions, notes, routing, capacity or audits can even be asked for."""
    assert set(reachable(build_schema()._schema)) == ALLOWED


def test_what_is_the_customers_own_has_these_fields_and_no_others() -> None:
    """R53: the customer's types are types of their own, not views of the agents'."""
    types = reachable(build_schema()._schema)
    for name, fields in FIELDS.items():
        kind = types[name]
        assert isinstance(kind, GraphQLObjectType)
        assert set(kind.fields) == fields


def test_no_field_that_a_customer_reaches_is_named_after_internals() -> None:
    """R53: a second net, for fields that are added to a type that is allowed."""
    found = [
        f"{kind.name}.{name}"
        for kind in reachable(build_schema()._schema).values()
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType) and kind.name not in AVAILABILITY
        for name in kind.fields
        if any(word in name.lower() for word in INTERNAL)
    ]
    assert found == []


EVERYTHING_HIS = """query {
    viewer { user { id name email role } account { id name } permissions availability { status } }
    myConversations(first: 9) { pageInfo { hasNextPage hasPreviousPage startCursor endCursor } edges { cursor node {
        id startedAt messages(first: 50) { pageInfo { hasNextPage } edges { cursor node {
            id clientMessageId body sentAt editedAt deletedAt reaction author { kind name } } } } } } }
    myRequests(first: 9) { edges { cursor node { id number subject status createdAt } } } }"""


async def _seen(client: Client) -> str:
    response = await client.post(EVERYTHING_HIS)
    assert "errors" not in response.json()
    return response.text


async def test_an_end_changes_nothing_that_the_customer_can_read(world: World, sign_in: SignIn) -> None:
    """R53, R63, R108: byte for byte the same before and after notes, a routing change and the end."""
    agent, customer = await world.agent(), await world.customer()
    ticket = await world.message(customer)
    client = await sign_in(customer)
    before = await _seen(client)
    await world.comment(ticket, agent, "He is always like that.", Channel.INTERNAL_NOTE)
    await (await sign_in(agent)).do("UpdateTicket", ticketId=gid("Ticket", ticket.id), tags=["difficult"])
    await world.end(ticket, agent)
    await world.settings(route_agent_ended_sessions_as_email=True)
    assert await _seen(client) == before


async def test_a_customer_reads_nothing_of_another_customer(world: World, sign_in: SignIn) -> None:
    """R27, R53: whatever there is in the account, his answers hold none of it."""
    await Stage.set(world)
    stranger = await sign_in(await world.customer("Otto Other"))
    seen = await _seen(stranger)
    assert SECRET not in seen
    assert '"permissions":[],"availability":null' in seen
    assert '"myConversations":{"pageInfo":{"hasNextPage":false,"hasPreviousPage":false' in seen


async def test_a_customer_cannot_end_his_session(world: World, sign_in: SignIn) -> None:
    """R28: there is leaving, and no end of his; not of many either, nor by a macro or with a preview."""
    customer = await world.customer()
    ticket = await world.message(customer)
    client, target = await sign_in(customer), gid("Ticket", ticket.id)
    before = await world.fingerprint()
    assert codes(await client.do("EndSession", ticketId=target)) == [("FORBIDDEN", [])]
    (result,) = (await client.do("EndSessions", ticketIds=[target]))["results"]
    assert (result["outcome"], codes(result)) == (None, [("FORBIDDEN", [])])
    macro = await client.do("ApplyMacro", ticketId=target, macroId=gid("Macro", ticket.id))
    assert codes(macro) == [("FORBIDDEN", [])]
    preview = await client.ask("query ($id: ID!) { sessionEndPreview(ticketId: $id) { allowed } }", {"id": target})
    assert preview["data"] == {"sessionEndPreview": None}
    assert preview["errors"][0]["extensions"] == {"code": "FORBIDDEN"}
    assert await world.fingerprint() == before
