"""Capacity rules, queues, the ledger, and offers."""

from __future__ import annotations

from strawberry import ID

from domain.availability import set_status
from domain.capacity_rules import capacity_rules_of, choose_capacity_rule, delete_capacity_rule, save_capacity_rule
from domain.directory import capacity_ledger_page
from domain.errors import Forbidden
from domain.offers import accept_offer, decline_offer, open_offers
from domain.queues import delete_queue, queues_of, save_queue
from resolvers.answers import answering, staff
from resolvers.triggers import stored_condition
from schema.availability import SetAvailabilityInput, availability_of
from schema.context import Info
from schema.ids import decode_id
from schema.paging import Connection, check_first, decode_sequence, keyset_page
from schema.payloads import SetAvailabilityPayload
from schema.routing import (
    AcceptOfferInput,
    AcceptOfferPayload,
    CapacityRule,
    ChooseCapacityRuleInput,
    ChooseCapacityRulePayload,
    DeclineOfferInput,
    DeclineOfferPayload,
    DeleteCapacityRuleInput,
    DeleteCapacityRulePayload,
    DeleteQueueInput,
    DeleteQueuePayload,
    LedgerEntry,
    Offer,
    RoutingQueue,
    SaveCapacityRuleInput,
    SaveCapacityRulePayload,
    SaveQueueInput,
    SaveQueuePayload,
)
from schema.tickets import Ticket


async def capacity_rules(info: Info) -> list[CapacityRule]:
    return [CapacityRule.of(row) for row in await capacity_rules_of(staff(info))]


async def queues(info: Info) -> list[RoutingQueue]:
    return [RoutingQueue.of(row) for row in await queues_of(staff(info))]


async def my_offers(info: Info) -> list[Offer]:
    return [Offer.of(row) for row in await open_offers(staff(info))]


async def capacity_ledger(info: Info, agent_id: ID, first: int, after: str | None = None) -> Connection[LedgerEntry]:
    actor = staff(info)
    agent = decode_id("Agent", agent_id, field="agentId")
    rows = await capacity_ledger_page(actor, agent, check_first(first), decode_sequence(after))
    return keyset_page(rows, first, after=after is not None, key=lambda row: (row.sequence,), node=LedgerEntry.of)


@answering(SetAvailabilityPayload)
async def resolve_set_availability(info: Info, input: SetAvailabilityInput) -> SetAvailabilityPayload:
    actor = staff(info)
    agent = decode_id("Agent", input.agent_id, field="agentId") if input.agent_id is not None else actor.id
    if agent is None:
        raise Forbidden
    channels = {each.channel: each.status for each in input.channels}
    changed = await set_status(info.context.call(client_id=input.client_id), agent, input.status, channels=channels)
    return SetAvailabilityPayload(availability=await availability_of(info, changed.agent_id))


@answering(SaveCapacityRulePayload)
async def resolve_save_capacity_rule(info: Info, input: SaveCapacityRuleInput) -> SaveCapacityRulePayload:
    saved = await save_capacity_rule(
        info.context.call(),
        name=input.name,
        messaging_limit=input.messaging_limit,
        email_limit=input.email_limit,
        is_default=input.is_default,
        rule_id=decode_id("CapacityRule", input.id, field="id") if input.id is not None else None,
    )
    row = await info.context.loaders.capacity_rules.load(saved.rule_id)
    return SaveCapacityRulePayload(capacity_rule=CapacityRule.of(row) if row else None)


@answering(DeleteCapacityRulePayload)
async def resolve_delete_capacity_rule(info: Info, input: DeleteCapacityRuleInput) -> DeleteCapacityRulePayload:
    await delete_capacity_rule(info.context.call(), decode_id("CapacityRule", input.id, field="id"))
    return DeleteCapacityRulePayload(deleted=True)


@answering(ChooseCapacityRulePayload)
async def resolve_choose_capacity_rule(info: Info, input: ChooseCapacityRuleInput) -> ChooseCapacityRulePayload:
    rule = input.capacity_rule_id
    chosen = await choose_capacity_rule(
        info.context.call(),
        decode_id("Agent", input.agent_id, field="agentId"),
        decode_id("CapacityRule", rule, field="capacityRuleId") if rule is not None else None,
    )
    row = await info.context.loaders.capacity_rules.load(chosen.rule_id) if chosen else None
    return ChooseCapacityRulePayload(capacity_rule=CapacityRule.of(row) if row else None)


@answering(SaveQueuePayload)
async def resolve_save_queue(info: Info, input: SaveQueueInput) -> SaveQueuePayload:
    saved = await save_queue(
        info.context.call(),
        name=input.name,
        conditions=[stored_condition(each) for each in input.conditions],
        group_ids=[decode_id("Group", group, field="groupIds") for group in input.group_ids],
        place=input.place,
        active=input.active,
        queue_id=decode_id("RoutingQueue", input.id, field="id") if input.id is not None else None,
    )
    row = await info.context.loaders.queues.load(saved.queue_id)
    return SaveQueuePayload(queue=RoutingQueue.of(row) if row else None)


@answering(DeleteQueuePayload)
async def resolve_delete_queue(info: Info, input: DeleteQueueInput) -> DeleteQueuePayload:
    await delete_queue(info.context.call(), decode_id("RoutingQueue", input.id, field="id"))
    return DeleteQueuePayload(deleted=True)


@answering(AcceptOfferPayload)
async def resolve_accept_offer(info: Info, input: AcceptOfferInput) -> AcceptOfferPayload:
    call = info.context.call(client_id=input.client_id)
    decided = await accept_offer(call, decode_id("Offer", input.offer_id, field="offerId"))
    row = await info.context.loaders.tickets.load(decided.ticket_id)
    return AcceptOfferPayload(ticket=Ticket.of(row) if row else None)


@answering(DeclineOfferPayload)
async def resolve_decline_offer(info: Info, input: DeclineOfferInput) -> DeclineOfferPayload:
    call = info.context.call(client_id=input.client_id)
    await decline_offer(call, decode_id("Offer", input.offer_id, field="offerId"))
    return DeclineOfferPayload(declined=True)
