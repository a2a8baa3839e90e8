"""Webhooks."""

from __future__ import annotations

from domain.webhooks import create_webhook, webhooks_page
from resolvers.answers import answering, staff
from schema.context import Info
from schema.paging import Connection, check_first, decode_moment, keyset_page
from schema.webhooks import CreateWebhookInput, CreateWebhookPayload, Webhook


async def webhooks(info: Info, first: int, after: str | None = None) -> Connection[Webhook]:
    rows = await webhooks_page(staff(info), check_first(first), decode_moment(after))
    return keyset_page(rows, first, after=after is not None, key=lambda row: (row.created_at, row.id), node=Webhook.of)


@answering(CreateWebhookPayload)
async def resolve_create_webhook(info: Info, input: CreateWebhookInput) -> CreateWebhookPayload:
    created = await create_webhook(info.context.call(), url=input.url, event_types=input.event_types)
    row = await info.context.loaders.webhooks.load(created.webhook_id)
    return CreateWebhookPayload(webhook=Webhook.of(row) if row else None, signing_secret=created.secret)
