"""Who may ask what: every root field of the schema, for every kind of caller (rules 3.2, R8, R28, R113).

Who adds a field adds a row to MATRIX.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from starlette.applications import Starlette

from deskwire.schema import build_schema
from domain.actors import Actor, load_actor
from domain.bot_settings import save_bot
from domain.deletion import delete_ticket
from domain.macros import MacroAction, MacroActionKind, save_macro
from domain.people import issue_token
from domain.suspension import suspend_user
from domain.transactions import Call
from models import (
    CapacityRule,
    Comment,
    MessagingSession,
    Offer,
    Permission,
    Role,
    RoutingQueue,
    Survey,
    SurveyState,
    Suspension,
    Ticket,
    TicketAccess,
    User,
    UserKind,
    new_id,
    utc_now,
)
from schema.context import Signal
from schema.ids import decode_id
from tests.api.stage import everything, gid
from tests.automation import SOLVE, SOLVED, every, trigger
from tests.bots import RULES
from tests.client import Client, Closed, Socket
from tests.conftest import SignIn
from tests.factories import LIGHT, World

CALLERS = ("customer", "agent", "light", "admin", "partner")

OK = "OK"
NO = "FORBIDDEN"
NONE = "NOT_FOUND"

Variables = dict[str, Any]


async def make_caller(world: World, kind: str) -> Actor:
    """Somebody of each kind. The partner's role has every permission there is: what he may not is for his kind."""
    match kind:
        case "customer":
            return await world.customer()
        case "agent":
            return await world.agent()
        case "light":
            return await world.agent("Lia Light", permissions=LIGHT)
        case "partner":
            return await world.agent("Parcel partner", permissions=frozenset(Permission), kind=UserKind.PARTNER)
    return world.admin


@dataclass
class Scene:
    """A caller, and tickets that he may see: a customer his own, staff new ones."""

    world: World
    caller: Actor
    client: Client
    ended: Ticket
    cursor: str

    @classmethod
    async def of(cls, world: World, kind: str, sign_in: SignIn, app: Starlette) -> Scene:
        caller = await make_caller(world, kind)
        cursor = await app.state.deskwire.feeds.sync_cursor(caller)
        ended = await world.ended_ticket(customer=caller if kind == "customer" else await world.customer())
        return cls(world, caller, await sign_in(caller), ended, cursor)

    async def live(self) -> Ticket:
        customer = self.caller if self.caller.is_customer else await self.world.customer()
        return await self.world.live_ticket(customer=customer)

    async def nothing(self) -> Variables:
        return {}

    async def after(self) -> Variables:
        return {"after": self.cursor}

    async def ticket(self) -> Variables:
        return {"id": gid("Ticket", (await self.live()).id)}

    async def activity(self) -> Variables:
        return {"id": gid("Ticket", self.ended.id), "after": self.cursor}

    async def ticket_input(self) -> Variables:
        return {"ticketId": gid("Ticket", (await self.live()).id)}

    async def tickets(self) -> Variables:
        return {"ticketIds": [gid("Ticket", (await self.live()).id)]}

    async def note(self) -> Variables:
        return {**await self.ticket_input(), "body": "…", "channel": "INTERNAL_NOTE"}

    async def reply(self) -> Variables:
        return {**await self.ticket_input(), "body": "…", "channel": "MESSAGING"}

    async def comment(self) -> Variables:
        return {"commentId": gid("Comment", (await self._message()).id)}

    async def message(self) -> Variables:
        return {"messageId": gid("Message", (await self._message()).id)}

    async def edit(self) -> Variables:
        return {**await self.message(), "body": "Better."}

    async def reaction(self) -> Variables:
        return {**await self.message(), "reaction": "👍"}

    async def read(self) -> Variables:
        kind = "Message" if self.caller.is_customer else "Comment"
        return {"messageId": gid(kind, (await self._message()).id)}

    async def _message(self) -> Comment:
        return await Comment.get(conversation_id=(await self.live()).conversation_id, sequence=1)

    async def update(self) -> Variables:
        return {**await self.ticket_input(), "tags": ["urgent"]}

    async def merge(self) -> Variables:
        source = await self.live()
        target = await self.world.email_ticket(customer=await load_actor(self.world.id, source.requester_id))
        return {"sourceId": gid("Ticket", source.id), "targetId": gid("Ticket", target.id), "endSession": True}

    async def deleted(self) -> Variables:
        ticket = await self.live()
        await delete_ticket(Call(self.world.admin), ticket.id)
        return {"ticketId": gid("Ticket", ticket.id)}

    async def suspension(self) -> Variables:
        return {"userId": gid("User", (await self._other()).requester_id), "scope": "ALL"}

    async def suspended(self) -> Variables:
        ticket = await self._other()
        await suspend_user(Call(self.world.admin), ticket.requester_id, Suspension.MESSAGING)
        return {"userId": gid("User", ticket.requester_id)}

    async def requester(self) -> Variables:
        other = (await self._other()).requester_id
        return {"ticketId": gid("Ticket", self.ended.id), "requesterId": gid("User", other)}

    async def _other(self) -> Ticket:
        """A ticket of somebody else, whom the caller can go without."""
        return await self.world.live_ticket()

    async def conversation(self) -> Variables:
        ticket = await self.live()
        if self.caller.is_customer:
            return {"conversationId": gid("Conversation", ticket.conversation_id)}
        return {"ticketId": gid("Ticket", ticket.id)}

    async def signals(self) -> Variables:
        return {"ticketId": None, "conversationId": None} | await self.conversation()

    async def noting_macro(self) -> Variables:
        return await self._macro(MacroAction(MacroActionKind.INTERNAL_NOTE, "…"))

    async def ending_macro(self) -> Variables:
        return await self._macro(MacroAction(MacroActionKind.END_SESSION))

    async def _macro(self, action: MacroAction) -> Variables:
        saved = await save_macro(Call(self.world.admin), title="Macro", actions=[action], shared=True)
        return {**await self.ticket_input(), "macroId": gid("Macro", saved.macro_id)}

    async def own_macro(self) -> Variables:
        return {"title": "Mine", "actions": [{"kind": "END_SESSION"}], "shared": False}

    async def shared_macro(self) -> Variables:
        return {**await self.own_macro(), "shared": True}

    async def macro(self) -> Variables:
        return {"macroId": (await self.noting_macro())["macroId"]}

    async def agent(self) -> Variables:
        return {"id": (await self.other_agent())["agentId"]}

    async def other_agent(self) -> Variables:
        return {"agentId": gid("Agent", (await self.world.agent("Somebody else")).id)}

    async def renamed_agent(self) -> Variables:
        return {**await self.other_agent(), **await self.named()}

    async def new_agent(self) -> Variables:
        role = gid("Role", (await self.world.role()).id)
        return {**await self.named(), "email": f"{new_id().hex}@acme.example", "roleId": role}

    async def named(self) -> Variables:
        return {"name": f"Name {new_id().hex}"}

    async def role(self) -> Variables:
        row = await Role.create(
            account_id=self.world.id, name=new_id().hex, ticket_access=TicketAccess.ALL, permissions=[]
        )
        return {"roleId": gid("Role", row.id)}

    async def renamed_role(self) -> Variables:
        return {**await self.role(), **await self.named()}

    async def new_role(self) -> Variables:
        return {**await self.named(), "ticketAccess": "ALL", "permissions": []}

    async def group(self) -> Variables:
        return {"groupId": gid("Group", (await self.world.group(new_id().hex)).id)}

    async def organization(self) -> Variables:
        return {"organizationId": gid("Organization", (await self.world.organization(new_id().hex)).id)}

    async def partners_token(self) -> Variables:
        partner = await self.world.agent("Parcels", kind=UserKind.PARTNER)
        return {**await self.named(), "userId": gid("User", partner.id)}

    async def online(self) -> Variables:
        # Not ONLINE: routing would begin to change things by itself.
        return {"status": "TRANSFERS_ONLY"}

    async def own_ledger(self) -> Variables:
        return {"id": gid("Agent", self.caller.id)}

    async def others_ledger(self) -> Variables:
        return {"id": gid("Agent", (await self.world.agent("Somebody else")).id)}

    async def others_status(self) -> Variables:
        return {"status": "TRANSFERS_ONLY", "agentId": (await self.others_ledger())["id"]}

    async def capacity_rule(self) -> Variables:
        return {"name": f"Rule {new_id()}", "messagingLimit": 3}

    async def _rule(self) -> CapacityRule:
        return await CapacityRule.create(account_id=self.world.id, name=f"Rule {new_id()}", created_at=utc_now())

    async def old_rule(self) -> Variables:
        return {"id": gid("CapacityRule", (await self._rule()).id)}

    async def chosen_rule(self) -> Variables:
        return {
            "agentId": gid("Agent", (await self.world.agent("Somebody else")).id),
            "capacityRuleId": gid("CapacityRule", (await self._rule()).id),
        }

    async def queue(self) -> Variables:
        group = await self.world.group(f"Group {new_id()}")
        return {"name": f"Queue {new_id()}", "groupIds": [gid("Group", group.id)]}

    async def old_queue(self) -> Variables:
        queue = await RoutingQueue.create(
            account_id=self.world.id, name=f"Queue {new_id()}", conditions=[], group_ids=[], created_at=utc_now()
        )
        return {"id": gid("RoutingQueue", queue.id)}

    async def offer(self) -> Variables:
        ticket = await self.world.live_ticket()
        offer = await Offer.create(
            account_id=self.world.id,
            ticket_id=ticket.id,
            agent_id=self.caller.id,
            channel="MESSAGING",
            created_at=utc_now(),
        )
        return {"offerId": gid("Offer", offer.id)}

    async def messaging(self) -> Variables:
        return {"agentsCanEndSessions": True, "inactiveAfterMinutes": 11}

    async def routing(self) -> Variables:
        return {"mode": "OMNICHANNEL"}

    async def own_token(self) -> Variables:
        return await self._token(self.caller)

    async def others_token(self) -> Variables:
        return await self._token(await self.world.agent("Somebody else"))

    async def _token(self, of: Actor) -> Variables:
        return {"tokenId": gid("Token", (await issue_token(await User.get(id=of.id), "…", utc_now())).token_id)}

    async def text(self) -> Variables:
        return {"body": "Is anybody there?"}

    async def request(self) -> Variables:
        return {"requestId": gid("Request", self.ended.id), "body": "And another thing."}

    async def with_bot(self) -> Variables:
        await save_bot(Call(self.world.admin), RULES)
        return {}

    async def bot(self) -> Variables:
        return {"name": "Robin", "kind": "RULES"}

    async def bots_conversation(self) -> Variables:
        await self.with_bot()
        ticket = await self.live()
        await MessagingSession.filter(conversation_id=ticket.conversation_id).update(with_bot=True)
        return {"conversationId": gid("Conversation", ticket.conversation_id)}

    async def bots_reply(self) -> Variables:
        return {**await self.bots_conversation(), "body": "…"}

    async def rating(self) -> Variables:
        return {"surveyId": gid("Survey", await self._survey()), "score": "GOOD"}

    async def _survey(self) -> UUID:
        survey = await Survey.create(
            account_id=self.world.id,
            ticket_id=self.ended.id,
            end_user_id=self.ended.requester_id,
            number=1,
            state=SurveyState.OFFERED,
            question="How was it?",
            created_at=utc_now(),
        )
        return survey.id

    async def trigger(self) -> Variables:
        conditions = [{"rules": [{"subject": "STATUS", "operator": "CHANGED"}]}]
        return {"title": "Mine", "conditions": conditions, "actions": [{"kind": "END_SESSION"}]}

    async def old_trigger(self) -> Variables:
        return {"id": gid("Trigger", (await trigger(self.world, every(SOLVED), SOLVE)).id)}

    async def webhook(self) -> Variables:
        return {"url": "https://hooks.example/in"}


@dataclass(frozen=True)
class Row:
    """A call of a field with valid arguments, and what it comes to for each of CALLERS."""

    text: str
    given: Callable[[Scene], Awaitable[Variables]]
    expected: tuple[str, ...]


def query(text: str, given: Callable[[Scene], Awaitable[Variables]], *expected: str) -> Row:
    return Row(f"query {text}", given, expected)


def mutation(name: str, answer: str, given: Callable[[Scene], Awaitable[Variables]], *expected: str) -> Row:
    errors = "userErrors { code message field }"
    text = f"mutation ($input: {name[0].upper()}{name[1:]}Input!) {{ {name}(input: $input) {{ {answer} {errors} }} }}"
    return Row(text, given, expected)


def stream(name: str, answer: str, given: Callable[[Scene], Awaitable[Variables]], *expected: str) -> Row:
    return Row(f"subscription ($after: String) {{ {name}(after: $after) {{ {answer} }} }}", given, expected)


LEDGER = "($id: ID!) { capacityLedger(agentId: $id, first: 9) { edges { node { id } } } }"

# The word before the first blank of a key is the field. Verdicts in the order of CALLERS:
#                                                    customer, agent, light, admin, partner
MATRIX: dict[str, Row] = {
    "viewer": query("{ viewer { user { id } } }", Scene.nothing, OK, OK, OK, OK, OK),
    "syncCursor": query("{ syncCursor }", Scene.nothing, OK, OK, OK, OK, OK),
    "node": query("($id: ID!) { node(id: $id) { id } }", Scene.ticket, NO, OK, OK, OK, OK),
    "nodes": query("($id: ID!) { nodes(ids: [$id]) { id } }", Scene.ticket, NO, OK, OK, OK, OK),
    "ticket": query("($id: ID!) { ticket(id: $id) { id } }", Scene.ticket, NO, OK, OK, OK, OK),
    "tickets": query("{ tickets(first: 9) { edges { node { id } } } }", Scene.nothing, NO, OK, OK, OK, OK),
    "sessionEndPreview": query(
        "($id: ID!) { sessionEndPreview(ticketId: $id) { allowed reason } }", Scene.ticket, NO, OK, OK, OK, OK
    ),
    "agent": query("($id: ID!) { agent(id: $id) { id } }", Scene.agent, NO, OK, OK, OK, OK),
    "agents (who are deactivated)": query(
        "{ agents(first: 9, active: false) { edges { node { id } } } }", Scene.nothing, NO, NO, NO, OK, OK
    ),
    "agents (partners)": query(
        "{ agents(first: 9, partners: true) { edges { node { id } } } }", Scene.nothing, NO, NO, NO, OK, OK
    ),
    "organizations": query("{ organizations(first: 9) { edges { node { id } } } }", Scene.nothing, NO, OK, OK, OK, OK),
    "endUsers": query("{ endUsers(first: 9) { edges { node { id } } } }", Scene.nothing, NO, OK, NO, OK, OK),
    "tokens": query("{ tokens(first: 9) { edges { node { id } } } }", Scene.nothing, NO, OK, OK, OK, OK),
    "macros": query("{ macros(first: 9) { edges { node { id } } } }", Scene.nothing, NO, OK, OK, OK, OK),
    "deletedTickets": query(
        "{ deletedTickets(first: 9) { edges { node { id } } } }", Scene.nothing, NO, NO, NO, OK, OK
    ),
    "suspendedMessages": query(
        "{ suspendedMessages(first: 9) { edges { node { id } } } }", Scene.nothing, NO, NO, NO, OK, OK
    ),
    "bot": query("{ bot { id } }", Scene.with_bot, NO, NO, NO, OK, OK),
    "triggers": query("{ triggers(first: 9) { edges { node { id } } } }", Scene.nothing, NO, NO, NO, OK, OK),
    "satisfaction": query("{ satisfaction { offered } }", Scene.nothing, NO, NO, NO, OK, OK),
    "webhooks": query("{ webhooks(first: 9) { edges { node { id } } } }", Scene.nothing, NO, NO, NO, OK, OK),
    "saveTrigger": mutation("saveTrigger", "trigger { id }", Scene.trigger, NO, NO, NO, OK, OK),
    "deleteTrigger": mutation("deleteTrigger", "deleted", Scene.old_trigger, NO, NO, NO, OK, OK),
    "createWebhook": mutation("createWebhook", "webhook { id }", Scene.webhook, NO, NO, NO, OK, OK),
    "messagingSettings": query("{ messagingSettings { version } }", Scene.nothing, NO, NO, NO, OK, OK),
    "routingSettings": query("{ routingSettings { version } }", Scene.nothing, NO, NO, NO, OK, OK),
    "auditLog": query("{ auditLog(first: 9) { edges { node { id } } } }", Scene.nothing, NO, NO, NO, OK, OK),
    "agents": query("{ agents(first: 9) { edges { node { id } } } }", Scene.nothing, NO, OK, OK, OK, OK),
    "groups": query("{ groups(first: 9) { edges { node { id } } } }", Scene.nothing, NO, OK, OK, OK, OK),
    "roles": query("{ roles { id } }", Scene.nothing, NO, OK, OK, OK, OK),
    "myConversations": query(
        "{ myConversations(first: 9) { edges { node { id } } } }", Scene.nothing, OK, NO, NO, NO, NO
    ),
    "myRequests": query("{ myRequests(first: 9) { edges { node { id } } } }", Scene.nothing, OK, NO, NO, NO, NO),
    "endSession": mutation("endSession", "outcome", Scene.ticket_input, NO, OK, NO, OK, OK),
    "endSessions": mutation(
        "endSessions", "results { outcome userErrors { code } }", Scene.tickets, NO, OK, NO, OK, OK
    ),
    "postComment (a note)": mutation("postComment", "comment { id }", Scene.note, NO, OK, OK, OK, OK),
    "postComment (a reply)": mutation("postComment", "comment { id }", Scene.reply, NO, OK, NO, OK, OK),
    "redactComment": mutation("redactComment", "comment { id }", Scene.comment, NO, NO, NO, OK, OK),
    "updateTicket": mutation("updateTicket", "ticket { id }", Scene.update, NO, OK, NO, OK, OK),
    "applyMacro (that notes)": mutation("applyMacro", "ticket { id }", Scene.noting_macro, NO, OK, OK, OK, OK),
    "applyMacro (that ends)": mutation("applyMacro", "ticket { id }", Scene.ending_macro, NO, OK, NO, OK, OK),
    "saveMacro (one's own)": mutation("saveMacro", "macro { id }", Scene.own_macro, NO, OK, OK, OK, OK),
    "saveMacro (a shared one)": mutation("saveMacro", "macro { id }", Scene.shared_macro, NO, NO, NO, OK, OK),
    "setAvailability": mutation("setAvailability", "availability { status }", Scene.online, NO, OK, OK, OK, NONE),
    "setAvailability (another's)": mutation(
        "setAvailability", "availability { status }", Scene.others_status, NO, NO, NO, OK, OK
    ),
    "capacityRules": query("{ capacityRules { id } }", Scene.nothing, NO, NO, NO, OK, OK),
    "queues": query("{ queues { id } }", Scene.nothing, NO, NO, NO, OK, OK),
    "myOffers": query("{ myOffers { id } }", Scene.nothing, NO, OK, OK, OK, OK),
    "capacityLedger (one's own)": query(LEDGER, Scene.own_ledger, NO, OK, OK, OK, OK),
    "capacityLedger (another's)": query(LEDGER, Scene.others_ledger, NO, NO, NO, OK, OK),
    "acceptOffer": mutation("acceptOffer", "ticket { id }", Scene.offer, NO, OK, NO, OK, NONE),
    "declineOffer": mutation("declineOffer", "declined", Scene.offer, NO, OK, OK, OK, OK),
    "saveCapacityRule": mutation("saveCapacityRule", "capacityRule { id }", Scene.capacity_rule, NO, NO, NO, OK, OK),
    "deleteCapacityRule": mutation("deleteCapacityRule", "deleted", Scene.old_rule, NO, NO, NO, OK, OK),
    "chooseCapacityRule": mutation("chooseCapacityRule", "capacityRule { id }", Scene.chosen_rule, NO, NO, NO, OK, OK),
    "saveQueue": mutation("saveQueue", "queue { id }", Scene.queue, NO, NO, NO, OK, OK),
    "deleteQueue": mutation("deleteQueue", "deleted", Scene.old_queue, NO, NO, NO, OK, OK),
    "mergeTickets": mutation("mergeTickets", "source { id }", Scene.merge, NO, NO, NO, OK, OK),
    "deleteTicket": mutation("deleteTicket", "deletedTicketId", Scene.ticket_input, NO, NO, NO, OK, OK),
    "restoreTicket": mutation("restoreTicket", "ticket { id }", Scene.deleted, NONE, NONE, NONE, OK, OK),
    "suspendUser": mutation("suspendUser", "user { id }", Scene.suspension, NO, NO, NO, OK, OK),
    "liftSuspension": mutation("liftSuspension", "user { id }", Scene.suspended, NO, NO, NO, OK, OK),
    "updateTicket (the requester)": mutation("updateTicket", "ticket { id }", Scene.requester, NO, OK, NO, OK, OK),
    "deleteMacro": mutation("deleteMacro", "deleted", Scene.macro, NO, NO, NO, OK, OK),
    "saveAgent (somebody new)": mutation("saveAgent", "agent { id }", Scene.new_agent, NO, NO, NO, OK, NO),
    "saveAgent (a change)": mutation("saveAgent", "agent { id }", Scene.renamed_agent, NO, NO, NO, OK, NO),
    "deactivateAgent": mutation("deactivateAgent", "agent { id }", Scene.other_agent, NO, NO, NO, OK, NO),
    "reactivateAgent": mutation("reactivateAgent", "agent { id }", Scene.other_agent, NO, NO, NO, OK, NO),
    "saveEndUser": mutation("saveEndUser", "endUser { id }", Scene.named, NO, NO, NO, OK, OK),
    "saveRole (a new one)": mutation("saveRole", "role { id }", Scene.new_role, NO, NO, NO, OK, NO),
    "saveRole (a change)": mutation("saveRole", "role { id }", Scene.renamed_role, NO, NO, NO, OK, NO),
    "deleteRole": mutation("deleteRole", "deleted", Scene.role, NO, NO, NO, OK, NO),
    "saveGroup": mutation("saveGroup", "group { id }", Scene.named, NO, NO, NO, OK, NO),
    "deleteGroup": mutation("deleteGroup", "deleted", Scene.group, NO, NO, NO, OK, NO),
    "saveOrganization": mutation("saveOrganization", "organization { id }", Scene.named, NO, NO, NO, OK, NO),
    "deleteOrganization": mutation("deleteOrganization", "deleted", Scene.organization, NO, NO, NO, OK, NO),
    "createApiToken (for oneself)": mutation("createApiToken", "apiToken { id }", Scene.named, NO, OK, OK, OK, OK),
    "createApiToken (for a partner)": mutation(
        "createApiToken", "apiToken { id }", Scene.partners_token, NO, NO, NO, OK, NO
    ),
    "revokeApiToken (one's own)": mutation("revokeApiToken", "apiToken { id }", Scene.own_token, OK, OK, OK, OK, OK),
    "revokeApiToken (another's)": mutation(
        "revokeApiToken", "apiToken { id }", Scene.others_token, NONE, NONE, NONE, OK, OK
    ),
    "sendTyping": mutation("sendTyping", "delivered", Scene.conversation, OK, OK, OK, OK, OK),
    "markRead": mutation("markRead", "marked", Scene.read, OK, OK, OK, OK, OK),
    "updateMessagingSettings": mutation("updateMessagingSettings", "changed", Scene.messaging, NO, NO, NO, OK, NO),
    "updateRoutingSettings": mutation("updateRoutingSettings", "changed", Scene.routing, NO, NO, NO, OK, NO),
    "revokeToken (one's own)": mutation("revokeToken", "revoked", Scene.own_token, OK, OK, OK, OK, OK),
    "revokeToken (another's)": mutation("revokeToken", "revoked", Scene.others_token, NONE, NONE, NONE, OK, OK),
    "saveBot": mutation("saveBot", "bot { id }", Scene.bot, NO, NO, NO, OK, NO),
    "replyAsBot": mutation("replyAsBot", "message { id }", Scene.bots_reply, NO, NO, NO, OK, OK),
    "handOffConversation": mutation(
        "handOffConversation", "ticket { id }", Scene.bots_conversation, NO, NO, NO, OK, OK
    ),
    "endConversationAsBot": mutation("endConversationAsBot", "outcome", Scene.bots_conversation, NO, NO, NO, OK, OK),
    "sendMessage": mutation("sendMessage", "message { id }", Scene.text, OK, NO, NO, NO, NO),
    "editMessage": mutation("editMessage", "message { id }", Scene.edit, OK, NO, NO, NO, NO),
    "reactToMessage": mutation("reactToMessage", "message { id }", Scene.reaction, OK, NO, NO, NO, NO),
    "deleteMessage": mutation("deleteMessage", "message { id }", Scene.message, OK, NO, NO, NO, NO),
    "commentOnRequest": mutation("commentOnRequest", "request { id }", Scene.request, OK, NO, NO, NO, NO),
    "rateConversation": mutation("rateConversation", "rating { score }", Scene.rating, OK, NO, NO, NO, NO),
    "sessionEnded": stream("sessionEnded", "cursor", Scene.after, NO, OK, OK, OK, OK),
    "ticketCreated": stream("ticketCreated", "cursor", Scene.after, NO, OK, OK, OK, OK),
    "inbox": stream("inbox", "cursor", Scene.after, NO, OK, OK, OK, OK),
    "messageReceived": stream("messageReceived", "cursor", Scene.after, OK, NO, NO, NO, NO),
    "ticketActivity": Row(
        "subscription ($id: ID!, $after: String) { ticketActivity(ticketId: $id, after: $after) { cursor } }",
        Scene.activity,
        (NO, OK, OK, OK, OK),
    ),
    "conversationSignals": Row(
        "subscription ($ticketId: ID, $conversationId: ID)"
        "{ conversationSignals(ticketId: $ticketId, conversationId: $conversationId) { kind } }",
        Scene.signals,
        (OK, OK, OK, OK, OK),
    ),
}


def fields() -> set[str]:
    schema = build_schema()._schema
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    return {name for root in roots if root is not None for name in root.fields}


def test_every_root_field_has_a_row() -> None:
    """A field without a decision about its callers is no field."""
    assert {key.split()[0] for key in MATRIX} == fields()
    assert [key for key, row in MATRIX.items() if len(row.expected) != len(CALLERS)] == []


async def asked(scene: Scene, row: Row) -> str:
    """OK, or the code of the refusal."""
    variables = await row.given(scene)
    if row.text.startswith("subscription"):
        return await _listened(scene, row.text, variables)
    before = await everything(scene.world)
    answer = await scene.client.ask(row.text, {"input": variables} if "$input" in row.text else variables)
    verdict = _verdict(answer)
    if verdict != OK and await everything(scene.world) != before:
        return f"{verdict}, but something was changed"
    return verdict


def _verdict(answer: dict[str, Any]) -> str:
    if "errors" in answer:
        (error,) = answer["errors"]
        held_back = not any((answer["data"] or {}).values())
        return str(error["extensions"]["code"]) if held_back else f"data beside {error}"
    (value,) = answer["data"].values()
    if isinstance(value, dict) and isinstance(value.get("results"), list):
        (value,) = value["results"]
    if isinstance(value, dict) and value.get("userErrors"):
        (error,) = value.pop("userErrors")
        return f"{value} beside {error}" if any(value.values()) else str(error["code"])
    return OK if value is not None and value != [None] else "null"


async def _listened(scene: Scene, text: str, variables: Variables) -> str:
    async with scene.client.connected() as socket:
        await socket.subscribe(text, variables)
        word = await _first_signal(scene, socket, variables) if "Signals" in text else await socket.hear()
    return OK if word["type"] == "next" else str(word["payload"][0]["extensions"]["code"])


async def _first_signal(scene: Scene, socket: Socket, variables: Variables) -> dict[str, Any]:
    """Signals are not replayed: somebody types on and on until it is heard, or the stream is refused."""
    conversation_id = await _conversation(variables)
    typist = new_id()
    for _ in range(100):
        signal = Signal(scene.world.id, conversation_id, "TYPING", typist, "AGENT")
        await scene.client.app.state.deskwire.feeds.signal(signal)
        try:
            word: dict[str, Any] = await socket.hear(0.05)
        except TimeoutError:
            continue
        return word
    raise AssertionError("no signal came through")


async def _conversation(variables: Variables) -> UUID:
    if variables["ticketId"] is None:
        return decode_id("Conversation", variables["conversationId"])
    return (await Ticket.get(id=decode_id("Ticket", variables["ticketId"]))).conversation_id


@pytest.mark.parametrize("kind", CALLERS)
async def test_every_field_for_every_kind_of_caller(kind: str, world: World, sign_in: SignIn, app: Starlette) -> None:
    """R8, R21, R28, R113 and the design: allowed, or exactly this code and nothing changed."""
    scene = await Scene.of(world, kind, sign_in, app)
    column = CALLERS.index(kind)
    got = {key: await asked(scene, row) for key, row in MATRIX.items()}
    assert got == {key: row.expected[column] for key, row in MATRIX.items()}


async def test_nobody_is_answered_nothing(world: World, sign_in: SignIn, app: Starlette) -> None:
    """Without a valid token every operation is 401 UNAUTHENTICATED, and a socket is closed before any operation."""
    scene = await Scene.of(world, "admin", sign_in, app)
    expired = (await issue_token(await User.get(id=world.admin.id), "…", utc_now().replace(year=2020))).secret
    bodies = [(row.text, await row.given(scene)) for row in MATRIX.values()]
    before = await everything(world)
    for token in ("", "dw_0_0", "no token at all", expired, scene.client.token[:-1] + "x"):
        nobody = Client(app, token)
        for text, given in bodies if token == "" else bodies[:1]:
            response = await nobody.post(text, {"input": given} if "$input" in text else given)
            assert response.status_code == 401, text
            assert response.headers["www-authenticate"] == "Bearer"
            (error,) = response.json()["errors"]
            assert response.json().keys() == {"errors"}
            assert error["extensions"] == {"code": "UNAUTHENTICATED"}
        with pytest.raises(Closed) as closed:
            async with nobody.connected():
                pass
        assert closed.value.code == 4403
    assert await everything(world) == before
