"""A demonstration account, made through the same verbs as everything else, at times of the last three days."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from deskwire.demo.content import (
    DemoChannel,
    DemoContent,
    DemoConversation,
    DemoStep,
    StepKind,
    load_content,
)
from domain.actors import Actor, load_actor
from domain.comments import post_comment
from domain.emails import receive_email
from domain.macros import MacroAction, MacroActionKind, save_macro
from domain.messages import send_message
from domain.people import create_account
from domain.sessions import end_session
from domain.tickets import update_ticket
from domain.transactions import Call
from models import (
    Account,
    Channel,
    Group,
    GroupMembership,
    Organization,
    Permission,
    Role,
    Ticket,
    TicketAccess,
    TicketStatus,
    User,
    UserKind,
    utc_now,
)
from schema.ids import encode_id

DEMO_SLUG = "demo"
DEMO_TICKETS = ("live_session", "ended_session", "email")

AGENT_RIGHTS = [
    Permission.EDIT_TICKETS,
    Permission.PUBLIC_COMMENTS,
    Permission.INTERNAL_NOTES,
    Permission.MESSAGING,
    Permission.END_OTHERS_SESSIONS,
    Permission.MERGE_TICKETS,
    Permission.EDIT_END_USERS,
]
GROUP_RIGHTS: list[Permission] = [right for right in AGENT_RIGHTS if right is not Permission.END_OTHERS_SESSIONS]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who works in the demonstration account."""

    key: str
    name: str
    says: str
    kind: UserKind = UserKind.AGENT
    role: str | None = None


STAFF = (
    Person("admin", "Ingrid Solberg", "Admin: everything, and the settings", UserKind.ADMIN),
    Person("agent", "Maya Okafor", "Agent with access to all tickets", role="Agent"),
    Person("agent2", "Tomás Ferreira", "A second agent with access to all tickets", role="Agent"),
    Person("group_agent", "Kofi Mensah", "Agent of the group Repairs only", role="Group agent"),
    Person("light_agent", "Hana Suzuki", "Light agent: reads and writes notes", role="Light agent"),
    Person("partner", "Warehouse integration", "Integration partner", UserKind.PARTNER, "Partner"),
)
ROLES: dict[str, tuple[TicketAccess, list[Permission]]] = {
    "Agent": (TicketAccess.ALL, AGENT_RIGHTS),
    "Group agent": (TicketAccess.GROUPS, GROUP_RIGHTS),
    "Light agent": (TicketAccess.ALL, [Permission.INTERNAL_NOTES]),
    "Partner": (TicketAccess.ALL, [Permission.PUBLIC_COMMENTS, Permission.INTERNAL_NOTES]),
}
CUSTOMERS = {"customer": "Customer of the live and the ended session", "customer2": "Another customer"}


def address(key: str, slug: str) -> str:
    """The e-mail address of somebody who works here."""
    return f"{key.replace('_', '-')}@{slug}.example"


async def demo_people(account: Account) -> dict[str, User]:
    """Who can be tried: what they are, and their users."""
    found = {}
    for says, email in demo_addresses(account).values():
        user = await User.get_or_none(account_id=account.id, email=email, active=True)
        if user is not None:
            found[says] = user
    return found


def demo_addresses(account: Account) -> dict[str, tuple[str, str]]:
    content = load_content()
    emails = {user.key: user.email or "" for user in content.end_users}
    staff = {person.key: (person.says, address(person.key, account.slug)) for person in STAFF}
    return staff | {key: (says, emails[key]) for key, says in CUSTOMERS.items()}


async def demo_tickets(account: Account) -> dict[str, str]:
    """The global ids of the tickets that scripts and examples name."""
    tickets = await Ticket.filter(account_id=account.id)
    marked = {ticket.custom_fields.get("demo"): ticket for ticket in tickets}
    return {key: str(encode_id("Ticket", marked[key].id)) for key in DEMO_TICKETS if key in marked}


@dataclass(slots=True)
class Seeding:
    """One account in the making. Steps of all conversations are played in the order of their times."""

    slug: str
    report: Callable[[str], None]
    now: datetime = field(default_factory=utc_now)
    actors: dict[str, Actor] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    tickets: dict[str, UUID] = field(default_factory=dict)

    async def seed(self) -> Account:
        content = load_content()
        # Under a name of its own until it is complete: a seed that was interrupted is not taken for a whole one.
        account = await create_account(f"unfinished-{uuid4().hex}", "Harbour & Pine", self.now)
        await self._people(account, content, self.now - timedelta(days=30))
        await self._macros(content)
        await self._conversations(content)
        await Account.filter(id=account.id).update(slug=self.slug)
        return await Account.get(id=account.id)

    async def _people(self, account: Account, content: DemoContent, began: datetime) -> None:
        roles = {
            name: await Role.create(
                account_id=account.id, name=name, ticket_access=access, permissions=sorted(permissions)
            )
            for name, (access, permissions) in ROLES.items()
        }
        for person in STAFF:
            user = await User.create(
                account_id=account.id,
                kind=person.kind,
                name=person.name,
                email=address(person.key, self.slug),
                email_verified=True,
                role_id=roles[person.role].id if person.role else None,
                created_at=began,
            )
            await self._know(person.key, user)
        await self._customers(account, content, began)
        await self._memberships(account, content)

    async def _customers(self, account: Account, content: DemoContent, began: datetime) -> None:
        organizations = {
            each.key: await Organization.create(account_id=account.id, name=each.name) for each in content.organizations
        }
        for each in content.end_users:
            user = await User.create(
                account_id=account.id,
                kind=UserKind.END_USER,
                name=each.name,
                email=each.email,
                email_verified=each.email_verified,
                organization_id=organizations[each.organization].id if each.organization else None,
                created_at=began,
            )
            await self._know(each.key, user)

    async def _memberships(self, account: Account, content: DemoContent) -> None:
        for group in content.groups:
            self.groups[group.key] = await Group.create(account_id=account.id, name=group.name)
            for member in group.members:
                await GroupMembership.create(
                    account_id=account.id, user_id=self.actors[member].id, group_id=self.groups[group.key].id
                )
        for key in ("group_agent", "agent", "agent2", "light_agent"):
            await self._know(key, await User.get(id=self.actors[key].id))

    async def _know(self, key: str, user: User) -> None:
        actor = await load_actor(user.account_id, user.id)
        assert actor is not None
        self.actors[key] = actor

    async def _macros(self, content: DemoContent) -> None:
        for macro in content.macros:
            actions = [MacroAction(MacroActionKind(action.kind.value), action.value) for action in macro.actions]
            await save_macro(Call(self.actors["admin"]), title=macro.title, actions=actions, shared=True)

    async def _conversations(self, content: DemoContent) -> None:
        steps = [
            (minutes, number, conversation, step)
            for conversation in content.conversations
            for number, (minutes, step) in enumerate(conversation.timeline())
        ]
        # The oldest first; within a conversation in its own order, also where two steps share a minute.
        steps.sort(key=lambda each: -each[0])
        for count, (minutes, _, conversation, step) in enumerate(steps, start=1):
            await self._play(conversation, step, self.now - timedelta(minutes=minutes))
            if count % 50 == 0 or count == len(steps):
                self.report(f"seeding {self.slug}: {count} of {len(steps)} steps")

    async def _play(self, conversation: DemoConversation, step: DemoStep, moment: datetime) -> None:
        call = Call(self.actors[self._author(conversation, step)], clock=lambda: moment)
        ticket = self.tickets.get(conversation.key)
        match step.by:
            case StepKind.CUSTOMER:
                await self._customer_writes(call, conversation, step, moment)
            case StepKind.AGENT:
                await post_comment(call, _known(ticket), body=step.words, channel=Channel.MESSAGING)
            case StepKind.NOTE:
                await post_comment(call, _known(ticket), body=step.words, channel=Channel.INTERNAL_NOTE)
            case StepKind.EMAIL_REPLY:
                await post_comment(call, _known(ticket), body=step.words, channel=Channel.EMAIL)
            case StepKind.END_SESSION:
                await end_session(call, _known(ticket))
            case StepKind.STATUS:
                await update_ticket(call, _known(ticket), {"status": TicketStatus(step.status.value)})

    def _author(self, conversation: DemoConversation, step: DemoStep) -> str:
        if step.by is StepKind.STATUS and conversation.assignee is None:
            return "admin"
        return conversation.author_of(step)

    async def _customer_writes(
        self, call: Call, conversation: DemoConversation, step: DemoStep, moment: datetime
    ) -> None:
        known = self.tickets.get(conversation.key)
        if conversation.channel is DemoChannel.EMAIL:
            self.tickets[conversation.key] = (await receive_email(call, body=step.words, ticket_id=known)).ticket_id
        else:
            sent = await send_message(call, body=step.words)
            self.tickets[conversation.key] = (await Ticket.get(conversation_id=sent.conversation_id)).id
        if known is None:
            await self._triage(conversation, moment)

    async def _triage(self, conversation: DemoConversation, moment: datetime) -> None:
        """What a trigger or a lead would do with a new ticket: group, owner, tags."""
        ticket_id = self.tickets[conversation.key]
        values: dict[str, object] = {"tags": list(conversation.tags)}
        if conversation.group:
            values["group_id"] = self.groups[conversation.group].id
        if conversation.assignee:
            values["assignee_id"] = self.actors[conversation.assignee].id
        await update_ticket(Call(self.actors["admin"], clock=lambda: moment), ticket_id, values)
        if conversation.key in DEMO_TICKETS:
            # A mark by which scripts find the ticket again; no rule knows it.
            await Ticket.filter(id=ticket_id).update(custom_fields={"demo": conversation.key})


def _known(ticket: UUID | None) -> UUID:
    assert ticket is not None, "a conversation begins with its customer"
    return ticket
