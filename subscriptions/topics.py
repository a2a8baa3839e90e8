"""What the simple subscriptions follow. Permission is asked at every delivery, of the ticket as it is then."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.actors import Actor
from domain.customers import message_of
from domain.errors import AccessRevoked, Forbidden, NotFound
from domain.surveys import survey_of
from domain.visibility import visible_tickets
from models import Event, EventType
from schema.customers import Conversation, Message, Survey
from schema.events import event_of
from schema.live import MessageReceived, SessionEnded, TicketActivity, TicketCreated
from schema.tickets import Ticket
from subscriptions.questions import Key
from subscriptions.scenes import Scene


def check_is_staff(actor: Actor) -> None:
    """Raises Forbidden unless he works in the account."""
    if not actor.is_staff:
        raise Forbidden("This is for the people who answer.")


@dataclass(frozen=True, slots=True)
class Stateless:
    """What most topics have in common: nothing is remembered, and one's own access tells nothing by itself."""

    by_reach = True
    heeds_access = False

    async def check(self, actor: Actor) -> None:
        check_is_staff(actor)

    def state(self) -> Any:
        return None


@dataclass(frozen=True, slots=True)
class SessionEnds(Stateless):
    """Sessions that ended, on all tickets."""

    keys: Collection[Key] = (EventType.MESSAGING_SESSION_ENDED,)

    async def items(self, scene: Scene, event: Event) -> Sequence[SessionEnded]:
        ticket = await scene.ticket(event.ticket_id)
        if ticket is None:
            return ()
        return [
            scene.moment.item(
                (SessionEnds, event.position),
                lambda: SessionEnded(
                    cursor=scene.cursor(event),
                    client_id=event.client_id,
                    event=event_of(event),
                    ticket=Ticket.of(ticket),
                ),
            )
        ]


@dataclass(frozen=True, slots=True)
class NewTickets(Stateless):
    """Tickets that were created."""

    keys: Collection[Key] = (EventType.TICKET_CREATED,)

    async def items(self, scene: Scene, event: Event) -> Sequence[TicketCreated]:
        ticket = await scene.ticket(event.ticket_id)
        if ticket is None:
            return ()
        return [
            scene.moment.item(
                (NewTickets, event.position),
                lambda: TicketCreated(cursor=scene.cursor(event), client_id=event.client_id, ticket=Ticket.of(ticket)),
            )
        ]


@dataclass(frozen=True, slots=True)
class Activity(Stateless):
    """Everything on one ticket, and what changes its composer: the settings (R12), and the subscriber's own access."""

    ticket_id: UUID
    by_reach = False
    heeds_access = True

    @property
    def keys(self) -> Collection[Key]:
        return (self.ticket_id, EventType.MESSAGING_SETTINGS_CHANGED)

    async def check(self, actor: Actor) -> None:
        check_is_staff(actor)
        if not await visible_tickets(actor).filter(id=self.ticket_id).exists():
            raise NotFound

    async def items(self, scene: Scene, event: Event) -> Sequence[TicketActivity]:
        ticket = await scene.ticket(self.ticket_id)
        if ticket is None:
            raise AccessRevoked
        return [
            scene.moment.item(
                (Activity, self.ticket_id, event.position),
                lambda: TicketActivity(
                    cursor=scene.cursor(event),
                    client_id=event.client_id,
                    event=event_of(event),
                    ticket=Ticket.of(ticket),
                ),
            )
        ]


@dataclass(frozen=True, slots=True)
class Messages(Stateless):
    """What is written over messaging, to or by one customer, and the surveys that he is offered.

    A survey is the one thing after an end that he is asked; that and how it ended, he is not told (R53, R109).
    """

    keys: Collection[Key] = (EventType.TICKET_COMMENT_ADDED, EventType.SURVEY_OFFERED)

    async def check(self, actor: Actor) -> None:
        if not actor.is_customer:
            raise Forbidden("This is for customers.")

    async def items(self, scene: Scene, event: Event) -> Sequence[MessageReceived]:
        if event.payload.get("customer") != str(scene.actor.id):
            return ()
        found = await (_offered if event.type is EventType.SURVEY_OFFERED else _written)(scene, event)
        return [found] if found is not None else ()


async def _written(scene: Scene, event: Event) -> MessageReceived | None:
    received = await message_of(scene.actor, event)
    if received is None:
        return None
    message, conversation = received
    return MessageReceived(
        cursor=scene.cursor(event),
        conversation=Conversation.of(conversation),
        message=Message.of(message),
        survey=None,
    )


async def _offered(scene: Scene, event: Event) -> MessageReceived | None:
    offered = await survey_of(scene.actor, event)
    if offered is None:
        return None
    survey, conversation = offered
    return MessageReceived(
        cursor=scene.cursor(event),
        conversation=Conversation.of(conversation),
        message=None,
        survey=Survey.of(survey),
    )
