"""The timers of sessions that live already, an index for what waits, and a ledger that only grows."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tortoise import migrations
from tortoise.migrations import operations as ops

from models.base import new_id

rules = import_module("models.migrations.0002_rules_as_triggers")

RULES = [
    ("ledger_is_append_only_u", "capacity_ledger", "UPDATE", "TRUE", "R99: the capacity ledger is append-only"),
    ("ledger_is_append_only_d", "capacity_ledger", "DELETE", "TRUE", "R99: the capacity ledger is append-only"),
]
WAITING = (
    "CREATE INDEX waiting_tickets ON tickets (account_id, number)"
    " WHERE assignee_id IS NULL AND status IN ('NEW', 'OPEN') AND deleted_at IS NULL"
)
DUE = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000+00:00', last_customer_message_at, '+10 minutes')",
    "postgres": "last_customer_message_at + interval '10 minutes'",
}


async def add_rules(apps: Any, editor: Any) -> None:
    client = editor.client
    write = rules._sqlite if client.capabilities.dialect == "sqlite" else rules._postgres
    for rule in RULES:
        await client.execute_script(write(*rule))
    await client.execute_script(WAITING)


async def set_timers(apps: Any, editor: Any) -> None:
    client = editor.client
    due = DUE["sqlite" if client.capabilities.dialect == "sqlite" else "postgres"]
    await client.execute_script(f"UPDATE messaging_sessions SET due_at = {due} WHERE state = 'ACTIVE'")


async def start_readers(apps: Any, editor: Any) -> None:
    """The readers of the log begin at its end: what happened before they existed is not acted on again."""
    client = editor.client
    mark = "?" if client.capabilities.dialect == "sqlite" else "%s"
    _, accounts = await client.execute_query("SELECT id, last_position FROM accounts")
    for account in accounts:
        for name in ("triggers", "bots"):
            await client.execute_query(
                f"INSERT INTO log_readers (id, account_id, name, position) VALUES ({mark}, {mark}, {mark}, {mark})",
                [str(new_id()), str(account["id"]), name, account["last_position"]],
            )


class Migration(migrations.Migration):
    dependencies = [("models", "0003_around_the_end")]
    initial = False

    operations = [ops.RunPython(add_rules), ops.RunPython(set_timers), ops.RunPython(start_readers)]
