"""The rules that a constraint cannot say, as triggers; and the moment from which sessions can be ended (D10)."""

from __future__ import annotations

from typing import Any

from tortoise import migrations
from tortoise.migrations import operations as ops

from models.base import utc_now

# (name, table, event, condition over OLD and NEW, what the refusal says)
RULES = [
    ("events_are_append_only_u", "events", "UPDATE", "TRUE", "R49: events are append-only"),
    ("events_are_append_only_d", "events", "DELETE", "TRUE", "R49: events are append-only"),
    ("audits_are_append_only_u", "audits", "UPDATE", "TRUE", "R49: audits are append-only"),
    ("audits_are_append_only_d", "audits", "DELETE", "TRUE", "R49: audits are append-only"),
    ("audit_log_is_append_only_u", "audit_log_entries", "UPDATE", "TRUE", "the audit log is append-only"),
    ("audit_log_is_append_only_d", "audit_log_entries", "DELETE", "TRUE", "the audit log is append-only"),
    (
        "ended_is_for_ever",
        "messaging_sessions",
        "UPDATE",
        "OLD.state = 'ENDED'",
        "R39: an ended session never changes",
    ),
    (
        "nothing_after_the_end",
        "comments",
        "INSERT",
        "NEW.channel = 'MESSAGING' AND EXISTS (SELECT 1 FROM messaging_sessions s"
        " WHERE s.conversation_id = NEW.conversation_id AND s.state = 'ENDED')",
        "R58, R68: an ended session takes no messages",
    ),
]


def _sqlite(name: str, table: str, event: str, condition: str, message: str) -> str:
    return (
        f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW WHEN {condition} "
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


def _postgres(name: str, table: str, event: str, condition: str, message: str) -> str:
    row = "OLD" if event == "DELETE" else "NEW"
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF {condition} THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation'; END IF; "
        f"RETURN {row}; END $$; "
        f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"
    )


async def create_triggers(apps: Any, editor: Any) -> None:
    client = editor.client
    write = _sqlite if client.capabilities.dialect == "sqlite" else _postgres
    for rule in RULES:
        await client.execute_script(write(*rule))


async def note_the_moment(apps: Any, editor: Any) -> None:
    client = editor.client
    now = utc_now()
    if client.capabilities.dialect == "sqlite":
        statement = "INSERT INTO deployment (id, ending_sessions_since) VALUES (1, ?)"
        await client.execute_query(statement, [now.isoformat(" ")])
    else:
        await client.execute_query("INSERT INTO deployment (id, ending_sessions_since) VALUES (1, %s)", [now])


class Migration(migrations.Migration):
    dependencies = [("models", "0001_initial")]
    initial = False

    operations = [ops.RunPython(create_triggers), ops.RunPython(note_the_moment)]
