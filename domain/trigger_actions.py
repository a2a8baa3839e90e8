"""What a trigger does to a ticket, under the locks of an end: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.comments import check_body, reply
from domain.conditions import tags_of
from domain.errors import ChannelUnavailable, NotFound, SessionEnded, TicketClosed, UserSuspended
from domain.macros import filled
from domain.sessions import end_locked_session
from domain.surveys import AGAIN, offer_survey
from domain.tickets import change_ticket, check_values, set_routing_channel
from domain.transactions import Transaction
from domain.triggers import TriggerActionKind, identifier
from domain.webhooks import notify_webhook
from models import (
    AccountSettings,
    Channel,
    EndReason,
    Event,
    MessagingSession,
    SessionState,
    Suspension,
    Ticket,
    TicketStatus,
    User,
    Webhook,
)


@dataclass(slots=True)
class Work:
    """One trigger at work on one ticket. `events` are those of the update that it runs after."""

    tx: Transaction
    settings: AccountSettings
    ticket: Ticket
    session: MessagingSession | None
    events: Sequence[Event]

    async def do(self, actions: Sequence[dict[str, Any]]) -> None:
        """All actions, in their order. Raises the refusal of the first that cannot be done."""
        for action in actions:
            await DOES[TriggerActionKind(action["kind"])](self, action["value"] or "")

    @property
    def _lives(self) -> bool:
        return self.session is not None and self.session.state is not SessionState.ENDED

    def _check_open(self) -> None:
        if self.ticket.status is TicketStatus.CLOSED:
            raise TicketClosed

    async def survey(self, value: str) -> None:
        await offer_survey(self.tx, self.settings, self.ticket, self.session, again=value == AGAIN)

    async def add_tags(self, value: str) -> None:
        await self._change({"tags": sorted({*self.ticket.tags, *tags_of(value)})})

    async def remove_tags(self, value: str) -> None:
        await self._change({"tags": sorted({*self.ticket.tags} - tags_of(value))})

    async def set_status(self, value: str) -> None:
        await self._change({"status": TicketStatus(value)})

    async def set_group(self, value: str) -> None:
        await self._change({"group_id": identifier(value)})

    async def set_assignee(self, value: str) -> None:
        await self._change({"assignee_id": identifier(value)})

    async def _change(self, values: dict[str, Any]) -> None:
        if all(_as_kept(getattr(self.ticket, name)) == value for name, value in values.items()):
            return
        self._check_open()
        check_values(values)
        await change_ticket(self.tx, self.ticket, self.session, values)

    async def note(self, value: str) -> None:
        await self._write(value, Channel.INTERNAL_NOTE)

    async def public_reply(self, value: str) -> None:
        await self._write(value, Channel.MESSAGING if self._lives else await self._mail())

    async def _mail(self) -> Channel:
        """E-mail, when the session does not live. Raises UserSuspended, ChannelUnavailable, SessionEnded."""
        requester = await User.get(id=self.ticket.requester_id)
        if requester.suspension is Suspension.ALL:
            raise UserSuspended
        if requester.email and requester.email_verified:
            return Channel.EMAIL
        if self.session is not None:
            raise SessionEnded("The session has ended, and the customer has no verified e-mail address.")
        raise ChannelUnavailable("The customer has no verified e-mail address.")

    async def _write(self, text: str, channel: Channel) -> None:
        self._check_open()
        requester = await User.get(id=self.ticket.requester_id)
        body = filled(text, self.ticket, requester, requester)
        check_body(body)  # once more: placeholders can make it empty or too long
        replied = self.ticket.first_replied_at
        await reply(self.tx, self.ticket, body=body, channel=channel, session=self.session)
        # The first reply is somebody's; what a trigger writes does not answer the customer.
        self.ticket.first_replied_at = replied

    async def end(self, value: str) -> None:
        # The setting of manual ends governs agents alone (R14). What has no session, or has ended, needs no end.
        if self.session is not None and self._lives:
            await end_locked_session(
                self.tx, self.session, self.ticket, reason=EndReason.TRIGGER, settings=self.settings
            )

    async def route(self, value: str) -> None:
        if self.ticket.routing_channel.value != value:
            self._check_open()
            set_routing_channel(self.tx, self.ticket, Channel(value))

    async def notify(self, value: str) -> None:
        webhook = await Webhook.get_or_none(id=UUID(value), account_id=self.tx.account_id, active=True)
        if webhook is None:
            raise NotFound("There is no such webhook.")
        await notify_webhook(self.tx, webhook, self.ticket, self.events)


def _as_kept(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


DOES: dict[TriggerActionKind, Callable[[Work, str], Awaitable[None]]] = {
    TriggerActionKind.SEND_SURVEY: Work.survey,
    TriggerActionKind.ADD_TAGS: Work.add_tags,
    TriggerActionKind.REMOVE_TAGS: Work.remove_tags,
    TriggerActionKind.SET_STATUS: Work.set_status,
    TriggerActionKind.SET_GROUP: Work.set_group,
    TriggerActionKind.SET_ASSIGNEE: Work.set_assignee,
    TriggerActionKind.INTERNAL_NOTE: Work.note,
    TriggerActionKind.PUBLIC_REPLY: Work.public_reply,
    TriggerActionKind.END_SESSION: Work.end,
    TriggerActionKind.SET_ROUTING_CHANNEL: Work.route,
    TriggerActionKind.NOTIFY_WEBHOOK: Work.notify,
}
