"""Old snapshot + events = fresh snapshot, for every mutation and for every kind of access.

What a list and an open ticket show is folded from their streams alone, and compared with what they would load now.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from deskwire.schema import build_schema
from domain.actors import Actor
from domain.assignment import offer_to_all
from domain.availability import set_status
from domain.bot_settings import save_bot
from domain.errors import Refusal
from domain.lifecycle import close_ticket
from domain.offers import open_offers
from domain.people import deactivate, set_groups, set_organizations, set_role, update_role
from domain.sessions import mark_inactive
from domain.tickets import update_ticket
from domain.transactions import Call
from models import (
    AgentStatus,
    Channel,
    Comment,
    Group,
    InactiveReason,
    MessagingSession,
    Organization,
    Survey,
    Ticket,
    TicketAccess,
    TicketStatus,
    Trigger,
    new_id,
)
from schema.ids import encode_id
from tests.automation import settle
from tests.bots import RULES
from tests.conftest import SignIn
from tests.delivery.folding import Follower, Row, Watcher
from tests.delivery.stage import Stage, ticket_id, user_id
from tests.factories import AGENT, World

NO_TICKET = {
    "chooseCapacityRule",
    "createApiToken",
    "createWebhook",
    "deleteCapacityRule",
    "deleteMacro",
    "deleteQueue",
    "deleteRole",
    "deleteTrigger",
    "markRead",
    "reactivateAgent",
    "revokeApiToken",
    "revokeToken",
    "saveBot",
    "saveCapacityRule",
    "saveEndUser",
    "saveGroup",
    "saveMacro",
    "saveOrganization",
    "saveQueue",
    "saveTrigger",
    "sendTyping",
    "setAvailability",
    "updateRoutingSettings",
}
"""Mutations that change nothing that a list or an open ticket shows (names are the directory's)."""


@dataclass
class Cast:
    """One account, with an agent for each kind of access."""

    stage: Stage
    group: Group
    other_group: Group
    organization: Organization
    customer: Actor
    agents: dict[TicketAccess, Actor]

    @classmethod
    async def of(cls, stage: Stage) -> Cast:
        world = stage.world
        group, other, organization = await world.group(), await world.group("Others"), await world.organization()
        agents = {
            access: await world.agent(access.value, access=access, groups=(group,), organizations=(organization,))
            for access in TicketAccess
        }
        customer = await world.customer(organization=organization)
        return cls(stage, group, other, organization, customer, agents)

    async def ticket(self) -> Ticket:
        """A live ticket that all of them reach, of a customer of its own."""
        self.customer = await self.stage.world.customer(organization=self.organization)
        ticket = await self.stage.world.message(self.customer)
        mine = {"group_id": self.group.id, "assignee_id": self.agents[TicketAccess.ASSIGNED].id}
        await update_ticket(Call(self.stage.world.admin), ticket.id, mine)
        return await Ticket.get(id=ticket.id)

    @property
    def filters(self) -> list[Row | None]:
        group = encode_id("Group", self.group.id)
        return [
            None,
            {"statuses": ["OPEN"]},
            {"unassigned": True},
            {"groupId": group},
            {"sessionStates": ["ACTIVE"]},
            {"sessionStates": ["ACTIVE", "INACTIVE"], "groupId": group, "statuses": ["OPEN", "PENDING"]},
        ]

    @asynccontextmanager
    async def following(self, filters: list[Row | None], narrow: list[Row | None]) -> AsyncIterator[list[Follower]]:
        """Lists of the agent who reaches everything by all filters, of the others by some."""
        async with AsyncExitStack() as stack:
            followers = []
            for access, agent in self.agents.items():
                for filter in filters if access is TicketAccess.ALL else narrow:
                    started = Follower.started(self.stage, agent, filter)
                    followers.append(await stack.enter_async_context(started))
            yield followers

    @asynccontextmanager
    async def watching(self, ticket: Ticket) -> AsyncIterator[list[Watcher]]:
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(Watcher.started(self.stage, agent, ticket))
                for agent in self.agents.values()
            ]


Scene = Callable[[Cast, Ticket], Awaitable[object]]


MESSAGE = "mutation ($input: %sInput!) { %s(input: $input) { message { id } userErrors { code } } }"
REDACT = "mutation ($input: RedactCommentInput!) { redactComment(input: $input) { userErrors { code } } }"
LIFECYCLE = "mutation ($input: %sInput!) { %s(input: $input) { userErrors { code } } }"
REQUEST = "mutation ($input: CommentOnRequestInput!) { commentOnRequest(input: $input) { userErrors { code } } }"
BOT = "mutation ($input: %sInput!) { %s(input: $input) { userErrors { code } } }"
EDIT = MESSAGE % ("EditMessage", "editMessage")
DELETE = MESSAGE % ("DeleteMessage", "deleteMessage")
REACT = MESSAGE % ("ReactToMessage", "reactToMessage")


ASK: Row = {
    "title": "Ask",
    "conditions": [{"rules": [{"subject": "END_REASON", "operator": "CHANGED_TO", "value": "AGENT"}]}],
    "actions": [{"kind": "SEND_SURVEY"}],
}
TAG: Row = {
    "title": "Tag",
    "conditions": [{"rules": [{"subject": "EVENT", "operator": "IS", "value": "SURVEY_ANSWERED"}]}],
    "actions": [{"kind": "ADD_TAGS", "value": "rated"}, {"kind": "SET_ROUTING_CHANNEL", "value": "EMAIL"}],
}


async def ends(cast: Cast, ticket: Ticket) -> None:
    await cast.stage.do(cast.stage.world.admin, "EndSession", ticketId=ticket_id(ticket), closingMessage="Good bye")


async def ends_many(cast: Cast, ticket: Ticket) -> None:
    other = await cast.stage.world.live_ticket()
    client = await cast.stage.client(cast.stage.world.admin)
    await client.do("EndSessions", ticketIds=[ticket_id(ticket), ticket_id(other)])


async def posts(cast: Cast, ticket: Ticket) -> None:
    for channel in ("INTERNAL_NOTE", "MESSAGING", "EMAIL"):
        await cast.stage.do(
            cast.stage.world.admin, "PostComment", ticketId=ticket_id(ticket), body="…", channel=channel
        )


async def updates(cast: Cast, ticket: Ticket) -> None:
    group = encode_id("Group", cast.other_group.id)
    everything: list[Row] = [
        {"status": "PENDING"},
        {"status": "OPEN", "assigneeId": None, "tags": ["a", "b"]},
        {"assigneeId": user_id(cast.agents[TicketAccess.ASSIGNED])},
        {"groupId": group, "status": "SOLVED"},
        {"groupId": encode_id("Group", cast.group.id), "assigneeId": user_id(cast.stage.world.admin)},
        {"groupId": None},
    ]
    for values in everything:
        await cast.stage.do(cast.stage.world.admin, "UpdateTicket", ticketId=ticket_id(ticket), **values)


async def applies_a_macro(cast: Cast, ticket: Ticket) -> None:
    actions = [
        {"kind": "PUBLIC_REPLY", "value": "Hello {{ticket.requester.first_name}}"},
        {"kind": "SET_STATUS", "value": "PENDING"},
        {"kind": "END_SESSION"},
        {"kind": "ADD_TAGS", "value": "done"},
    ]
    admin = cast.stage.world.admin
    saved = await cast.stage.do(admin, "SaveMacro", title="All", actions=actions, shared=True)
    await cast.stage.do(admin, "ApplyMacro", ticketId=ticket_id(ticket), macroId=saved["macro"]["id"])


async def redacts(cast: Cast, ticket: Ticket) -> None:
    comment = await Comment.filter(conversation_id=ticket.conversation_id, sequence=1).get()
    await cast.stage.do(cast.stage.world.admin, REDACT, commentId=encode_id("Comment", comment.id))


async def changes_his_message(cast: Cast, ticket: Ticket, mutation: str, **values: Any) -> None:
    comment = await Comment.filter(conversation_id=ticket.conversation_id, sequence=1).get()
    await cast.stage.do(cast.customer, mutation, messageId=encode_id("Message", comment.id), **values)


async def edits(cast: Cast, ticket: Ticket) -> None:
    await changes_his_message(cast, ticket, EDIT, body="Better so")


async def deletes(cast: Cast, ticket: Ticket) -> None:
    await changes_his_message(cast, ticket, DELETE)


async def reacts(cast: Cast, ticket: Ticket) -> None:
    await changes_his_message(cast, ticket, REACT, reaction="👍")


async def comments_on_his_request(cast: Cast, ticket: Ticket) -> None:
    await update_ticket(Call(cast.stage.world.admin), ticket.id, {"status": TicketStatus.SOLVED})
    await cast.stage.do(cast.customer, REQUEST, requestId=encode_id("Request", ticket.id), body="Not yet")


async def writes(cast: Cast, ticket: Ticket) -> None:
    await cast.stage.do(cast.customer, "SendMessage", body="Hello?")
    await cast.stage.world.end(ticket, cast.stage.world.admin)
    await cast.stage.do(cast.customer, "SendMessage", body="A new one")


async def gives_to_the_bot(cast: Cast, ticket: Ticket) -> str:
    """The conversation's global id."""
    await save_bot(Call(cast.stage.world.admin), RULES)
    await MessagingSession.filter(conversation_id=ticket.conversation_id).update(with_bot=True)
    return encode_id("Conversation", ticket.conversation_id)


async def replies_as_the_bot(cast: Cast, ticket: Ticket) -> None:
    conversation = await gives_to_the_bot(cast, ticket)
    await cast.stage.do(
        cast.stage.world.admin, BOT % ("ReplyAsBot", "replyAsBot"), conversationId=conversation, body="…"
    )


async def hands_off(cast: Cast, ticket: Ticket) -> None:
    mutation = BOT % ("HandOffConversation", "handOffConversation")
    conversation = await gives_to_the_bot(cast, ticket)
    await cast.stage.do(cast.stage.world.admin, mutation, conversationId=conversation, note="…")


async def ends_as_the_bot(cast: Cast, ticket: Ticket) -> None:
    mutation = BOT % ("EndConversationAsBot", "endConversationAsBot")
    await cast.stage.do(cast.stage.world.admin, mutation, conversationId=await gives_to_the_bot(cast, ticket))


async def is_asked(cast: Cast, ticket: Ticket) -> None:
    """By triggers: one asks after an end, the other tags what was answered."""
    admin = cast.stage.world.admin
    await cast.stage.do(admin, "SaveTrigger", **ASK)
    await cast.stage.do(admin, "SaveTrigger", **TAG)
    await cast.stage.world.end(ticket, admin)
    await settle()
    survey = await Survey.get(ticket_id=ticket.id)
    await cast.stage.do(cast.customer, "RateConversation", surveyId=encode_id("Survey", survey.id), score="BAD")
    await settle()
    await Trigger.filter(active=True).update(active=False)


async def changes_settings(cast: Cast, ticket: Ticket) -> None:
    await cast.stage.do(cast.stage.world.admin, "UpdateMessagingSettings", agentsCanEndSessions=False)


async def changes_roles(cast: Cast, ticket: Ticket) -> None:
    """No mutation does this yet; the command line and tests of others do."""
    role = await cast.stage.world.role(TicketAccess.ALL)
    few = AGENT - {next(iter(sorted(AGENT)))}
    await update_role(Call(cast.stage.world.admin), role.id, ticket_access=TicketAccess.ALL, permissions=few)
    for agent in cast.agents.values():
        assert agent.id is not None
        await set_groups(Call(cast.stage.world.admin), agent.id, frozenset({cast.other_group.id}))
        await set_organizations(Call(cast.stage.world.admin), agent.id, frozenset())


ADMINISTER = "mutation ($input: %sInput!) { %s(input: $input) { userErrors { code } } }"


async def administers(cast: Cast, mutation: str, **input: Any) -> None:
    text = ADMINISTER % (mutation[0].upper() + mutation[1:], mutation)
    await cast.stage.do(cast.stage.world.admin, text, **input)


async def changes_agents(cast: Cast, ticket: Ticket) -> None:
    """All of them reach what one group has, each by one call that takes what he had and gives this; and back.

    The ticket they reach all the time: who lost it for a moment would have lost his stream of it.
    """
    role = encode_id("Role", (await cast.stage.world.role(TicketAccess.GROUPS)).id)
    groups = [encode_id("Group", cast.group.id)]
    for agent in cast.agents.values():
        await administers(cast, "saveAgent", agentId=agent_id(agent), roleId=role, groupIds=groups, organizationIds=[])
    await put_back(cast)


async def put_back(cast: Cast) -> None:
    """As `Cast.of` made them."""
    for access, agent in cast.agents.items():
        await administers(
            cast,
            "saveAgent",
            agentId=agent_id(agent),
            roleId=encode_id("Role", (await cast.stage.world.role(access)).id),
            groupIds=[encode_id("Group", cast.group.id)],
            organizationIds=[encode_id("Organization", cast.organization.id)],
        )


def agent_id(agent: Actor) -> str:
    return encode_id("Agent", agent.id or new_id())


async def changes_a_role_by_name(cast: Cast, ticket: Ticket) -> None:
    role = encode_id("Role", (await cast.stage.world.role(TicketAccess.GROUPS)).id)
    for access in ("ALL", "GROUPS"):
        await administers(cast, "saveRole", roleId=role, ticketAccess=access)


async def deletes_teams(cast: Cast, ticket: Ticket) -> None:
    """Some that nothing names; whoever is in them reaches no less without them."""
    world = cast.stage.world
    group, organization = await world.group(new_id().hex), await world.organization(new_id().hex)
    for agent in cast.agents.values():
        await set_groups(Call(world.admin), agent.id or new_id(), frozenset({cast.group.id, group.id}))
        both = frozenset({cast.organization.id, organization.id})
        await set_organizations(Call(world.admin), agent.id or new_id(), both)
    await administers(cast, "deleteGroup", groupId=encode_id("Group", group.id))
    await administers(cast, "deleteOrganization", organizationId=encode_id("Organization", organization.id))


async def deactivates(cast: Cast, ticket: Ticket) -> None:
    """Somebody else: what becomes of his own streams is tested with the subscriptions."""
    other = await cast.stage.world.agent("Going")
    await update_ticket(Call(cast.stage.world.admin), ticket.id, {"assignee_id": other.id})
    await administers(cast, "deactivateAgent", agentId=agent_id(other))


async def closes(cast: Cast, ticket: Ticket) -> None:
    """Nor this: the system does."""
    await mark_inactive(
        Call(cast.stage.world.system), (await cast.stage.world.session(ticket)).id, InactiveReason.NO_REPLY
    )
    await close_ticket(Call(cast.stage.world.system), ticket.id)


ANSWER_OFFER = "mutation ($id: ID!) { %s(input: {offerId: $id}) { userErrors { code } } }"


async def offered(cast: Cast, ticket: Ticket) -> tuple[Actor, str]:
    """The ticket waits again, and is offered to somebody who reaches everything."""
    agent = cast.agents[TicketAccess.ALL]
    assert agent.id is not None
    await update_ticket(Call(cast.stage.world.admin), ticket.id, {"assignee_id": None})
    await set_status(Call(agent), agent.id, AgentStatus.ONLINE)
    await offer_to_all(Call(cast.stage.world.system), ticket.id, [agent.id])
    offer = next(each for each in await open_offers(agent) if each.ticket_id == ticket.id)
    return agent, encode_id("Offer", offer.id)


async def accepts(cast: Cast, ticket: Ticket) -> None:
    agent, offer = await offered(cast, ticket)
    await (await cast.stage.client(agent)).ask(ANSWER_OFFER % "acceptOffer", {"id": offer})


async def declines(cast: Cast, ticket: Ticket) -> None:
    agent, offer = await offered(cast, ticket)
    await (await cast.stage.client(agent)).ask(ANSWER_OFFER % "declineOffer", {"id": offer})


async def merges(cast: Cast, ticket: Ticket) -> None:
    other = await cast.stage.world.email_ticket(cast.customer)
    merging = {"sourceId": ticket_id(ticket), "targetId": ticket_id(other), "endSession": True}
    await cast.stage.do(cast.stage.world.admin, LIFECYCLE % ("MergeTickets", "mergeTickets"), **merging)


async def deletes_a_ticket(cast: Cast, ticket: Ticket) -> None:
    delete = LIFECYCLE % ("DeleteTicket", "deleteTicket")
    await cast.stage.do(cast.stage.world.admin, delete, ticketId=ticket_id(ticket))


async def restores_a_ticket(cast: Cast, ticket: Ticket) -> None:
    other = await cast.stage.world.live_ticket()
    for name in ("Delete", "Restore"):
        mutation = LIFECYCLE % (f"{name}Ticket", f"{name.lower()}Ticket")
        await cast.stage.do(cast.stage.world.admin, mutation, ticketId=ticket_id(other))
        await cast.stage.settled()


async def suspends(cast: Cast, ticket: Ticket) -> None:
    mutation, customer = LIFECYCLE % ("SuspendUser", "suspendUser"), user_id(cast.customer)
    for scope in ("MESSAGING", "ALL"):
        await cast.stage.do(cast.stage.world.admin, mutation, userId=customer, scope=scope)
    await cast.stage.do(cast.customer, "SendMessage", body="Hello?")


async def lifts(cast: Cast, ticket: Ticket) -> None:
    await suspends(cast, ticket)
    mutation = LIFECYCLE % ("LiftSuspension", "liftSuspension")
    await cast.stage.do(cast.stage.world.admin, mutation, userId=user_id(cast.customer))


async def gives_to_another_requester(cast: Cast, ticket: Ticket) -> None:
    admin, other = cast.stage.world.admin, await cast.stage.world.customer()
    await cast.stage.do(admin, "UpdateMessagingSettings", agentsCanEndSessions=True)
    await cast.stage.world.end(ticket, admin)
    await cast.stage.do(admin, "UpdateTicket", ticketId=ticket_id(ticket), requesterId=user_id(other))


async def leaves(cast: Cast, ticket: Ticket) -> None:
    """Nor this: the assignee is deactivated."""
    world = cast.stage.world
    leaving = await world.agent("Leaving")
    await update_ticket(Call(world.admin), ticket.id, {"assignee_id": leaving.id})
    assert leaving.id is not None
    await deactivate(Call(world.admin), leaving.id)


SCENES: dict[str, Scene] = {
    "acceptOffer": accepts,
    "declineOffer": declines,
    "applyMacro": applies_a_macro,
    "commentOnRequest": comments_on_his_request,
    "deactivateAgent": deactivates,
    "deleteGroup": deletes_teams,
    "deleteMessage": deletes,
    "deleteTicket": deletes_a_ticket,
    "deleteOrganization": deletes_teams,
    "editMessage": edits,
    "endConversationAsBot": ends_as_the_bot,
    "endSession": ends,
    "endSessions": ends_many,
    "liftSuspension": lifts,
    "mergeTickets": merges,
    "postComment": posts,
    "rateConversation": is_asked,
    "reactToMessage": reacts,
    "redactComment": redacts,
    "restoreTicket": restores_a_ticket,
    "handOffConversation": hands_off,
    "replyAsBot": replies_as_the_bot,
    "saveAgent": changes_agents,
    "saveRole": changes_a_role_by_name,
    "sendMessage": writes,
    "suspendUser": suspends,
    "updateMessagingSettings": changes_settings,
    "updateTicket": updates,
}
OTHER_SCENES: dict[str, Scene] = {
    "closing": closes,
    "requester": gives_to_another_requester,
    "leaving": leaves,
    "roles": changes_roles,
}


def test_every_mutation_has_a_scene() -> None:
    """A new mutation needs a row above: what it changes must reach the streams."""
    mutations = set(build_schema()._schema.mutation_type.fields)  # type: ignore[union-attr]
    assert set(SCENES) | NO_TICKET == mutations
    assert not set(SCENES) & NO_TICKET


async def compare_lists(followers: list[Follower], after: str) -> None:
    for follower in followers:
        await follower.fold()
        assert follower.rows == await follower.fresh(), (after, follower.actor.access.tickets, follower.filter)


async def compare_views(watchers: list[Watcher], after: str) -> None:
    for watcher in watchers:
        await watcher.fold()
        fresh = await watcher.fresh()
        assert watcher.revoked == (fresh is None), (after, watcher.actor.access.tickets)
        if fresh is not None:
            assert watcher.view == fresh, (after, watcher.actor.access.tickets)


async def test_streams_converge_after_every_mutation(stage: Stage) -> None:
    """R152–R155, R12: lists and open tickets, folded, show what they would show if they were loaded now."""
    cast = await Cast.of(stage)
    async with cast.following(cast.filters[:5], [None, cast.filters[5]]) as followers:
        for name, scene in {**SCENES, **OTHER_SCENES}.items():
            ticket = await cast.ticket()
            await stage.settled()
            async with cast.watching(ticket) as watchers:
                await scene(cast, ticket)
                await stage.settled()
                await compare_views(watchers, name)
                await compare_lists(followers, name)


# Random histories


KINDS = (
    "message",
    "end",
    "note",
    "reply",
    "assign",
    "status",
    "group",
    "groups",
    "role",
    "organizations",
    "inactive",
    "fold",
    "drop",
    "connect",
)
steps = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2), st.integers(0, 7)), min_size=4, max_size=20)


@dataclass
class Play:
    """A random history: each step names what happens, to which of three tickets, and how."""

    cast: Cast
    customers: list[Actor]
    followers: list[Follower]

    async def step(self, kind: str, which: int, how: int) -> None:
        with suppress(Refusal):  # a closed ticket, an ended session: nothing happened
            await getattr(self, kind)(which, how)

    @property
    def call(self) -> Call:
        return Call(self.cast.stage.world.admin)

    async def _ticket(self, which: int) -> Ticket:
        ticket = await Ticket.filter(requester_id=self.customers[which].id).order_by("-number").first()
        return ticket or await self.cast.stage.world.message(self.customers[which])

    def _agent(self, how: int) -> Actor:
        return list(self.cast.agents.values())[how % 4]

    async def message(self, which: int, how: int) -> None:
        await self.cast.stage.world.message(self.customers[which])

    async def end(self, which: int, how: int) -> None:
        closing = "Good bye" if how % 2 else None
        await self.cast.stage.world.end(await self._ticket(which), self.call.actor, closing_message=closing)

    async def note(self, which: int, how: int) -> None:
        await self.cast.stage.world.comment(await self._ticket(which), self.call.actor)

    async def reply(self, which: int, how: int) -> None:
        await self.cast.stage.world.comment(await self._ticket(which), self.call.actor, "…", Channel.MESSAGING)

    async def assign(self, which: int, how: int) -> None:
        assignee = None if how > 5 else self._agent(how).id
        await update_ticket(self.call, (await self._ticket(which)).id, {"assignee_id": assignee})

    async def status(self, which: int, how: int) -> None:
        status = (TicketStatus.OPEN, TicketStatus.PENDING, TicketStatus.SOLVED)[how % 3]
        await update_ticket(self.call, (await self._ticket(which)).id, {"status": status})

    async def group(self, which: int, how: int) -> None:
        group = (None, self.cast.group.id, self.cast.other_group.id)[how % 3]
        await update_ticket(self.call, (await self._ticket(which)).id, {"group_id": group})

    async def groups(self, which: int, how: int) -> None:
        groups = [self.cast.group.id] * (how % 2) + [self.cast.other_group.id] * (how // 2 % 2)
        await set_groups(self.call, self._agent(which + 1).id or new_id(), frozenset(groups))

    async def organizations(self, which: int, how: int) -> None:
        organizations = [self.cast.organization.id] * (how % 2)
        await set_organizations(self.call, self._agent(which + 1).id or new_id(), frozenset(organizations))

    async def role(self, which: int, how: int) -> None:
        role = await self.cast.stage.world.role(list(TicketAccess)[how % 4])
        await set_role(self.call, self._agent(which + how // 4).id or new_id(), role.id)

    async def inactive(self, which: int, how: int) -> None:
        session = await self.cast.stage.world.session(await self._ticket(which))
        await mark_inactive(self.call, session.id, InactiveReason.NO_REPLY)

    def _some(self, which: int) -> list[Follower]:
        return self.followers[which::3]

    async def fold(self, which: int, how: int) -> None:
        for follower in self._some(which):
            await follower.fold(most=how)

    async def drop(self, which: int, how: int) -> None:
        for follower in self._some(which):
            await follower.fold(most=how)
            await follower.drop()

    async def connect(self, which: int, how: int) -> None:
        for follower in self._some(which):
            await follower.connect()


async def play(app: Starlette, sign_in: SignIn, history: list[tuple[str, int, int]]) -> None:
    """A history of its own account, and what followers make of it."""
    stage = Stage(app, await World.create(f"w{new_id().hex}"), sign_in)
    cast = await Cast.of(stage)
    customers = [cast.customer, await stage.world.customer(), await stage.world.customer()]
    for customer in customers:
        await stage.world.message(customer)
    async with cast.following([None, *cast.filters[4:]], [None, cast.filters[5]]) as followers:
        played = Play(cast, customers, followers)
        for kind, which, how in history:
            await played.step(kind, which, how)
        for follower in followers:
            await follower.connect()
        await stage.settled()
        await compare_lists(followers, "a random history")


random_histories = settings(
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@settings(random_histories, max_examples=20)
@given(history=steps)
async def test_random_histories_converge(app: Starlette, sign_in: SignIn, history: list[tuple[str, int, int]]) -> None:
    """R154, R155, R157: whatever happens, in whatever order, and wherever a connection breaks."""
    await play(app, sign_in, history)


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@settings(random_histories, max_examples=5)
@given(history=steps)
async def test_random_histories_converge_on_postgres(
    app: Starlette, sign_in: SignIn, history: list[tuple[str, int, int]]
) -> None:
    """The same, with connections that see each other's commits at once."""
    await play(app, sign_in, history)
