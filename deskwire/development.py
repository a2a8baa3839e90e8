"""The pages of development: what this is, and GraphiQL with a token and the contract's operations filled in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    Visitor,
    parse,
    print_ast,
    visit,
)
from starlette.routing import BaseRoute

from deskwire.app import Deskwire
from deskwire.demo.seeding import DEMO_SLUG, DEMO_TICKETS, demo_people, demo_tickets
from deskwire.pages import DemoPerson, Example, pages
from domain.people import issue_token
from models import Account, User, utc_now

# The operations that the applications send; the tests run the same files.
CONTRACT = Path(__file__).parents[1] / "tests" / "contract"

# What the examples are called, in the order in which one may want to try them.
TITLES = {
    "Viewer": "Who am I?",
    "TicketList": "The tickets that I may see",
    "TicketView": "One ticket: composer, thread, history",
    "EndPreview": "What would ending the session do?",
    "EndSession": "End the session",
    "PostComment": "Write an internal note",
    "UpdateTicket": "Change the ticket",
    "EndSessions": "End several sessions",
    "ApplyMacro": "Apply a macro",
    "SetAvailability": "Say that I take work",
    "SessionEnded": "Sessions that end",
    "TicketCreated": "New tickets",
    "TicketActivity": "Everything on one ticket",
    "Inbox": "The whole inbox from one stream",
    "MyConversations": "As a customer: my conversations",
    "SendMessage": "As a customer: write",
    "RateConversation": "As a customer: answer a survey",
    "MessageReceived": "As a customer: messages as they arrive",
    "MessagingSettings": "As an admin: the settings",
    "UpdateMessagingSettings": "As an admin: switch the end of sessions off",
    "UpdateRoutingSettings": "As an admin: choose the routing",
    "AccountAudit": "As an admin: what was changed",
    "People": "As an admin: people, groups, roles",
    "SaveMacro": "As an admin: save a macro",
    "Automation": "As an admin: macros and triggers",
    "SaveTrigger": "As an admin: ask the customer when an agent ends",
    "Satisfaction": "As an admin: what customers think",
    "CreateWebhook": "As an admin: register a webhook",
    "Webhooks": "As an admin: webhooks and their deliveries",
    "TicketPage": "As a partner: tickets with their last events",
    "CreateApiToken": "As a partner: make another token",
}


def operations_of(file: Path) -> dict[str, str]:
    """The operations of a file by name, each with the fragments that it uses, as a client sends it."""
    document = parse(file.read_text())
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    return {each.name.value: _with_fragments(each, fragments) for each in operations if each.name}


def _with_fragments(operation: OperationDefinitionNode, fragments: dict[str, FragmentDefinitionNode]) -> str:
    used: dict[str, FragmentDefinitionNode] = {}

    class Spreads(Visitor):
        def enter_fragment_spread(self, spread: FragmentSpreadNode, *_: Any) -> None:
            name = spread.name.value
            if name not in used:
                used[name] = fragments[name]
                visit(fragments[name], self)

    visit(operation, Spreads())
    return print_ast(DocumentNode(definitions=(operation, *used.values())))


def variables_for(name: str, tickets: dict[str, str]) -> dict[str, Any]:
    """Variables that make an example run as it stands on the demonstration account."""
    live, ended = tickets.get("live_session", "…"), tickets.get("ended_session", "…")
    known: dict[str, dict[str, Any]] = {
        "TicketView": {"id": live, "events": 50},
        "EndPreview": {"ticketId": live},
        "TicketActivity": {"ticketId": live},
        "EndSession": {"input": {"ticketId": live, "closingMessage": "Thank you, goodbye!"}},
        "EndSessions": {"input": {"ticketIds": [live, ended]}},
        "PostComment": {"input": {"ticketId": live, "body": "Calling the workshop now.", "channel": "INTERNAL_NOTE"}},
        "UpdateTicket": {"input": {"ticketId": live, "tags": ["vip"]}},
        "ApplyMacro": {"input": {"ticketId": live, "macroId": "an id from the macros query"}},
        "SetAvailability": {"input": {"status": "ONLINE"}},
        "SendMessage": {"input": {"body": "Hello, is anybody there?"}},
        "RateConversation": {"input": {"surveyId": "the id of an offered survey", "score": "GOOD"}},
        "UpdateMessagingSettings": {"input": {"agentsCanEndSessions": False}},
        "UpdateRoutingSettings": {"input": {"mode": "OMNICHANNEL"}},
        "SaveTrigger": {
            "input": {
                "title": "Ask after an agent's end",
                "conditions": [{"rules": [{"subject": "END_REASON", "operator": "CHANGED_TO", "value": "AGENT"}]}],
                "actions": [{"kind": "SEND_SURVEY"}],
            }
        },
        "CreateWebhook": {"input": {"url": "https://hooks.example.com/deskwire", "eventTypes": []}},
        "CreateApiToken": {"input": {"name": "Nightly export", "expiresInDays": 30}},
        "SaveMacro": {"input": {"title": "Thanks", "actions": [{"kind": "PUBLIC_REPLY", "value": "Thank you!"}]}},
    }
    paged = {"TicketList", "MyConversations", "AccountAudit", "TicketPage"}
    return {"first": 10} if name in paged else known.get(name, {})


async def _demo_account() -> Account | None:
    return await Account.get_or_none(slug=DEMO_SLUG)


async def examples() -> list[Example]:
    """The contract's operations, with the demonstration account's ids filled in."""
    account = await _demo_account()
    tickets = await demo_tickets(account) if account else dict.fromkeys(DEMO_TICKETS, "…")
    operations = {name: query for file in CONTRACT.glob("*.graphql") for name, query in operations_of(file).items()}
    return [
        Example(name=name, title=title, query=operations[name], variables=variables_for(name, tickets))
        for name, title in TITLES.items()
        if name in operations
    ]


class People:
    """Everyone of the demonstration account, with one token each for as long as this process lives."""

    def __init__(self) -> None:
        self._tokens: dict[UUID, str] = {}

    async def __call__(self) -> list[DemoPerson]:
        account = await _demo_account()
        if account is None:
            return []
        found = (await demo_people(account)).items()
        return [DemoPerson(name=user.name, role=says, token=await self._token(user)) for says, user in found]

    async def _token(self, user: User) -> str:
        if user.id not in self._tokens:
            self._tokens[user.id] = (await issue_token(user, "pages", utc_now())).secret
        return self._tokens[user.id]


def development_pages(deskwire: Deskwire) -> Sequence[BaseRoute]:
    return pages(People(), examples)
