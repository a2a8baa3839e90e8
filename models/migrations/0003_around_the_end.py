"""What happens around the end of a session: routing, triggers, surveys, bots, suspension, e-mail, attachments."""

from typing import Any

from tortoise import migrations
from tortoise.migrations import operations as ops
from models.accounts import StandardDistribution
from models.base import new_id
from models.bots import BotKind
from models.emails import InboundOutcome
from models.events import EventType
from models.people import Suspension
from models.routing import AgentStatus, LedgerReason, OfferState
from models.surveys import Score, SkipReason, SurveyState
from models.tickets import Channel
from models.triggers import RunState
from models.webhooks import DeliveryState
from orjson import loads
from tortoise.fields.base import OnDelete
from tortoise.fields.data import JSON_DUMPS
from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint

class SameColumn(ops.AlterField):
    """The field is described anew, the column stays. (Tortoise would make the table again, and lose its triggers.)"""

    async def database_forward(self, *args: Any, **kwargs: Any) -> None:
        return

    async def database_backward(self, *args: Any, **kwargs: Any) -> None:
        return


class Migration(migrations.Migration):
    dependencies = [('models', '0002_rules_as_triggers')]

    initial = False

    operations = [
        ops.CreateModel(
            name='Attachment',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('uploader', fields.ForeignKeyField('models.User', source_field='uploader_id', null=True, db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('comment', fields.ForeignKeyField('models.Comment', source_field='comment_id', null=True, db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('file_name', fields.CharField(max_length=255)),
                ('content_type', fields.CharField(max_length=127)),
                ('size', fields.BigIntField()),
                ('sha256', fields.CharField(max_length=64)),
                ('storage_key', fields.CharField(max_length=200)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ('attached_at', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'attachments', 'app': 'models', 'constraints': [UniqueConstraint(fields=('storage_key',), name='a_stored_file_is_one_attachment'), CheckConstraint(check='size > 0', name='files_are_not_empty'), CheckConstraint(check='(comment_id IS NULL) = (attached_at IS NULL)', name='attached_files_say_when')], 'indexes': [Index(fields=['comment_id']), Index(fields=['account_id', 'attached_at', 'created_at'])], 'pk_attr': 'id', 'table_description': 'A file. Its content is in the storage under `storage_key`. Until it is attached, only its uploader reaches it.'},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='Bot',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('name', fields.CharField(max_length=100)),
                ('kind', fields.CharEnumField(description='RULES: RULES\nHTTP: HTTP', enum_type=BotKind, max_length=8)),
                ('greeting', fields.TextField(null=True, unique=False)),
                ('answers', fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
                ('handoff_keywords', fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
                ('handoff_message', fields.TextField(null=True, unique=False)),
                ('url', fields.CharField(null=True, max_length=2000)),
                ('secret', fields.CharField(null=True, max_length=200)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'bots', 'app': 'models', 'constraints': [UniqueConstraint(fields=('account_id',), name='one_first_responder_per_account'), CheckConstraint(check="kind <> 'HTTP' OR (url IS NOT NULL AND secret IS NOT NULL)", name='http_bots_have_an_address')], 'pk_attr': 'id', 'table_description': 'Who answers first. `answers` is [{"keywords": [str], "reply": str}].'},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='CapacityRule',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('name', fields.CharField(max_length=100)),
                ('is_default', fields.BooleanField(default=False)),
                ('messaging_limit', fields.IntField(null=True)),
                ('email_limit', fields.IntField(null=True)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'capacity_rules', 'app': 'models', 'constraints': [UniqueConstraint(fields=('account_id', 'name'), name='capacity_rule_names_are_unique'), UniqueConstraint(fields=('account_id',), name='one_default_capacity_rule', condition='is_default'), CheckConstraint(check='(messaging_limit IS NULL OR messaging_limit >= 0) AND (email_limit IS NULL OR email_limit >= 0)', name='limits_are_not_negative')], 'pk_attr': 'id', 'table_description': 'How many work items an agent may get automatically at one time, per channel. None: not limited, not counted.'},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='AgentAvailability',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('agent', fields.ForeignKeyField('models.User', source_field='agent_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('status', fields.CharEnumField(default=AgentStatus.OFFLINE, description='ONLINE: ONLINE\nAWAY: AWAY\nTRANSFERS_ONLY: TRANSFERS_ONLY\nOFFLINE: OFFLINE', enum_type=AgentStatus, max_length=16)),
                ('messaging_status', fields.CharEnumField(null=True, description='ONLINE: ONLINE\nAWAY: AWAY\nTRANSFERS_ONLY: TRANSFERS_ONLY\nOFFLINE: OFFLINE', enum_type=AgentStatus, max_length=16)),
                ('email_status', fields.CharEnumField(null=True, description='ONLINE: ONLINE\nAWAY: AWAY\nTRANSFERS_ONLY: TRANSFERS_ONLY\nOFFLINE: OFFLINE', enum_type=AgentStatus, max_length=16)),
                ('changed_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ('absent_since', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ('capacity_rule', fields.ForeignKeyField('models.CapacityRule', source_field='capacity_rule_id', null=True, db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('messaging_work', fields.IntField(null=True)),
                ('email_work', fields.IntField(null=True)),
                ('last_assigned_at', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ('last_entry', fields.IntField(default=0)),
            ],
            options={'table': 'agent_availabilities', 'app': 'models', 'constraints': [UniqueConstraint(fields=('agent_id',), name='one_availability_per_agent'), CheckConstraint(check='(messaging_work IS NULL OR messaging_work >= 0) AND (email_work IS NULL OR email_work >= 0)', name='work_is_never_negative')], 'indexes': [Index(fields=['account_id', 'status'])], 'pk_attr': 'id', 'table_description': 'Whether an agent takes work, and how much he has: his row is the lock of his capacity.'},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='InboundEmail',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('message_id', fields.CharField(max_length=255)),
                ('from_address', fields.CharField(max_length=320)),
                ('subject', fields.CharField(max_length=500)),
                ('outcome', fields.CharEnumField(description='COMMENT: COMMENT\nTICKET: TICKET\nFOLLOW_UP: FOLLOW_UP\nSUSPENDED: SUSPENDED\nBOUNCE: BOUNCE\nAUTO_REPLY: AUTO_REPLY\nLOOP: LOOP\nREJECTED: REJECTED', enum_type=InboundOutcome, max_length=16)),
                ('reason', fields.CharField(null=True, max_length=200)),
                ('ticket', fields.ForeignKeyField('models.Ticket', source_field='ticket_id', null=True, db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('comment', fields.ForeignKeyField('models.Comment', source_field='comment_id', null=True, db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('received_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'inbound_emails', 'app': 'models', 'constraints': [UniqueConstraint(fields=('account_id', 'message_id'), name='a_mail_comes_in_once')], 'indexes': [Index(fields=['account_id', 'from_address', 'received_at']), Index(fields=['comment_id'])], 'pk_attr': 'id', 'table_description': 'A mail that came in, and what became of it. The same mail twice is one (by its Message-ID).'},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='LedgerEntry',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('agent', fields.ForeignKeyField('models.User', source_field='agent_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('sequence', fields.IntField()),
                ('channel', fields.CharEnumField(description='MESSAGING: MESSAGING\nEMAIL: EMAIL\nHELP_CENTER: HELP_CENTER\nINTERNAL_NOTE: INTERNAL_NOTE', enum_type=Channel, max_length=16)),
                ('change', fields.IntField()),
                ('count_after', fields.IntField()),
                ('reason', fields.CharEnumField(description='ASSIGNMENT_CHANGED: ASSIGNMENT_CHANGED\nSTATUS_CHANGED: STATUS_CHANGED\nSESSION_ENDED: SESSION_ENDED\nSESSION_BECAME_INACTIVE: SESSION_BECAME_INACTIVE\nSESSION_BECAME_ACTIVE: SESSION_BECAME_ACTIVE\nROUTING_CHANNEL_CHANGED: ROUTING_CHANNEL_CHANGED\nTICKET_MERGED: TICKET_MERGED\nTICKET_DELETED: TICKET_DELETED\nTICKET_RESTORED: TICKET_RESTORED\nSETTINGS_CHANGED: SETTINGS_CHANGED\nCAPACITY_RULE_CHANGED: CAPACITY_RULE_CHANGED', enum_type=LedgerReason, max_length=32)),
                ('ticket', fields.ForeignKeyField('models.Ticket', source_field='ticket_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('audit_id', fields.UUIDField()),
                ('at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'capacity_ledger', 'app': 'models', 'constraints': [UniqueConstraint(fields=('agent_id', 'sequence'), name='ledger_lines_are_in_one_order'), CheckConstraint(check='change IN (-1, 1)', name='a_slot_is_one'), CheckConstraint(check='count_after >= 0', name='no_ledger_line_is_negative')], 'indexes': [Index(fields=['account_id', 'ticket_id'])], 'pk_attr': 'id', 'table_description': 'One change of one count by one (R99). Append-only. `sequence` numbers the lines of an agent.'},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='LogReader',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('name', fields.CharField(max_length=32)),
                ('position', fields.BigIntField(default=0)),
            ],
            options={'table': 'log_readers', 'app': 'models', 'constraints': [UniqueConstraint(fields=('account_id', 'name'), name='one_position_per_reader')], 'pk_attr': 'id', 'table_description': "How far a reader of an account's event log has come. Everything up to `position` is dealt with."},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='Offer',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('ticket', fields.ForeignKeyField('models.Ticket', source_field='ticket_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('agent', fields.ForeignKeyField('models.User', source_field='agent_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('channel', fields.CharEnumField(description='MESSAGING: MESSAGING\nEMAIL: EMAIL\nHELP_CENTER: HELP_CENTER\nINTERNAL_NOTE: INTERNAL_NOTE', enum_type=Channel, max_length=16)),
                ('state', fields.CharEnumField(default=OfferState.OPEN, description='OPEN: OPEN\nACCEPTED: ACCEPTED\nDECLINED: DECLINED\nEXPIRED: EXPIRED\nWITHDRAWN: WITHDRAWN', enum_type=OfferState, max_length=16)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ('expires_at', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ('decided_at', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'offers', 'app': 'models', 'constraints': [UniqueConstraint(fields=('ticket_id', 'agent_id'), name='one_open_offer', condition="state = 'OPEN'"), CheckConstraint(check="(state = 'OPEN') = (decided_at IS NULL)", name='decided_offers_say_when')], 'indexes': [Index(fields=['account_id', 'state', 'expires_at']), Index(fields=['agent_id', 'state']), Index(fields=['ticket_id', 'state'])], 'pk_attr': 'id', 'table_description': "A ticket that waits for an agent's word. Automatic assignment is an offer that is accepted at once."},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='Presence',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('user', fields.ForeignKeyField('models.User', source_field='user_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('process_id', fields.UUIDField()),
                ('renewed_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'presences', 'app': 'models', 'constraints': [UniqueConstraint(fields=('user_id', 'process_id'), name='one_presence_per_process')], 'indexes': [Index(fields=['process_id']), Index(fields=['renewed_at'])], 'pk_attr': 'id', 'table_description': 'The sockets of one user on one server process. A row that nobody renews is of a process that died.'},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='RoutingQueue',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('name', fields.CharField(max_length=100)),
                ('place', fields.IntField(default=0)),
                ('active', fields.BooleanField(default=True)),
                ('conditions', fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
                ('group_ids', fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'routing_queues', 'app': 'models', 'constraints': [UniqueConstraint(fields=('account_id', 'name'), name='queue_names_are_unique')], 'pk_attr': 'id', 'table_description': 'Which tickets go to which groups. The first queue whose conditions match takes a ticket.'},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='Survey',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('ticket', fields.ForeignKeyField('models.Ticket', source_field='ticket_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('session', fields.ForeignKeyField('models.MessagingSession', source_field='session_id', null=True, db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('end_user', fields.ForeignKeyField('models.User', source_field='end_user_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('number', fields.IntField(null=True)),
                ('state', fields.CharEnumField(description='OFFERED: OFFERED\nANSWERED: ANSWERED\nSKIPPED: SKIPPED', enum_type=SurveyState, max_length=16)),
                ('skip_reason', fields.CharEnumField(null=True, description='ALREADY_OFFERED: ALREADY_OFFERED\nNO_REACHABLE_CHANNEL: NO_REACHABLE_CHANNEL\nUSER_SUSPENDED: USER_SUSPENDED\nSAMPLING: SAMPLING', enum_type=SkipReason, max_length=32)),
                ('question', fields.CharField(max_length=500)),
                ('score', fields.CharEnumField(null=True, description='GOOD: GOOD\nBAD: BAD', enum_type=Score, max_length=8)),
                ('comment', fields.TextField(null=True, unique=False)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ('answered_at', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'surveys', 'app': 'models', 'constraints': [UniqueConstraint(fields=('ticket_id', 'number'), name='surveys_of_a_ticket_are_counted'), CheckConstraint(check="(state = 'SKIPPED') = (skip_reason IS NOT NULL)", name='skipped_surveys_say_why'), CheckConstraint(check="(state = 'ANSWERED') = (score IS NOT NULL AND answered_at IS NOT NULL)", name='answered_surveys_have_a_score')], 'indexes': [Index(fields=['account_id', 'created_at']), Index(fields=['end_user_id', 'state'])], 'pk_attr': 'id', 'table_description': 'A survey, or the decision not to send one. `number` counts those offered for a ticket. Skipped ones have none.'},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='SuspendedMessage',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('end_user', fields.ForeignKeyField('models.User', source_field='end_user_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('channel', fields.CharEnumField(description='MESSAGING: MESSAGING\nEMAIL: EMAIL\nHELP_CENTER: HELP_CENTER\nINTERNAL_NOTE: INTERNAL_NOTE', enum_type=Channel, max_length=16)),
                ('conversation_id', fields.UUIDField()),
                ('body', fields.TextField(unique=False)),
                ('client_message_id', fields.CharField(null=True, max_length=200)),
                ('received_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'suspended_messages', 'app': 'models', 'constraints': [UniqueConstraint(fields=('account_id', 'end_user_id', 'client_message_id'), name='a_suspended_message_is_stored_once')], 'indexes': [Index(fields=['account_id', 'received_at'])], 'pk_attr': 'id', 'table_description': 'A message of a suspended customer (R140). `conversation_id` is what his widget was told. There is no such row.'},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='Trigger',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('title', fields.CharField(max_length=200)),
                ('active', fields.BooleanField(default=True)),
                ('place', fields.IntField(default=0)),
                ('conditions', fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
                ('actions', fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'triggers', 'app': 'models', 'indexes': [Index(fields=['account_id', 'place'])], 'pk_attr': 'id', 'table_description': 'What happens by itself after an update that meets its conditions.'},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='TriggerRun',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('trigger', fields.ForeignKeyField('models.Trigger', source_field='trigger_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('audit_id', fields.UUIDField()),
                ('ticket', fields.ForeignKeyField('models.Ticket', source_field='ticket_id', null=True, db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('effect_audit_id', fields.UUIDField(null=True)),
                ('depth', fields.IntField()),
                ('state', fields.CharEnumField(description='DONE: DONE\nRETRYING: RETRYING\nFAILED: FAILED', enum_type=RunState, max_length=16)),
                ('attempts', fields.IntField(default=1)),
                ('next_attempt_at', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ('error', fields.CharField(null=True, max_length=200)),
                ('at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'trigger_runs', 'app': 'models', 'constraints': [UniqueConstraint(fields=('trigger_id', 'audit_id'), name='a_trigger_runs_once_per_update')], 'indexes': [Index(fields=['state', 'next_attempt_at']), Index(fields=['effect_audit_id'])], 'pk_attr': 'id', 'table_description': 'That a trigger ran after an update: at most once (R121), in the transaction of what it did.'},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='Webhook',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('url', fields.CharField(max_length=2000)),
                ('event_types', fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
                ('secret', fields.CharField(max_length=200)),
                ('active', fields.BooleanField(default=True)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'webhooks', 'app': 'models', 'indexes': [Index(fields=['account_id', 'created_at'])], 'pk_attr': 'id', 'table_description': 'An address that triggers notify. Deliveries are signed with `secret`, which is shown once.'},
            bases=['Row'],
        ),
        ops.CreateModel(
            name='OutboundCall',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('account', fields.ForeignKeyField('models.Account', source_field='account_id', db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('webhook', fields.ForeignKeyField('models.Webhook', source_field='webhook_id', null=True, db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('bot', fields.ForeignKeyField('models.Bot', source_field='bot_id', null=True, db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT)),
                ('key', fields.CharField(max_length=100)),
                ('body', fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
                ('state', fields.CharEnumField(default=DeliveryState.PENDING, description='PENDING: PENDING\nSENT: SENT\nFAILED: FAILED', enum_type=DeliveryState, max_length=8)),
                ('attempts', fields.IntField(default=0)),
                ('next_attempt_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ('response_code', fields.IntField(null=True)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ('finished_at', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'outbound_calls', 'app': 'models', 'constraints': [UniqueConstraint(fields=('account_id', 'key'), name='a_call_is_queued_once')], 'indexes': [Index(fields=['state', 'next_attempt_at'])], 'pk_attr': 'id', 'table_description': 'One signed HTTP call that waits, or was made: to a webhook, or to a bot. `key` names what it tells, once.'},
            bases=['Row'],
        ),
        ops.AddField(
            model_name='AccountSettings',
            name='agent_absence_seconds',
            field=fields.IntField(default=60, db_default=60),
        ),
        ops.AddField(
            model_name='AccountSettings',
            name='auto_accept',
            field=fields.BooleanField(default=True, db_default=True),
        ),
        ops.AddField(
            model_name='AccountSettings',
            name='chat_limit',
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name='AccountSettings',
            name='close_solved_after_days',
            field=fields.IntField(null=True, default=28, db_default=28),
        ),
        ops.AddField(
            model_name='AccountSettings',
            name='customer_absence_seconds',
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name='AccountSettings',
            name='customizable_surveys',
            field=fields.BooleanField(default=True, db_default=True),
        ),
        ops.AddField(
            model_name='AccountSettings',
            name='offer_seconds',
            field=fields.IntField(default=60, db_default=60),
        ),
        ops.AddField(
            model_name='AccountSettings',
            name='standard_distribution',
            field=fields.CharEnumField(default=StandardDistribution.BROADCAST, description='BROADCAST: BROADCAST\nASSIGN: ASSIGN', db_default=StandardDistribution.BROADCAST, enum_type=StandardDistribution, max_length=16),
        ),
        ops.AddField(
            model_name='AccountSettings',
            name='survey_question',
            field=fields.CharField(default='How was your conversation?', db_default='How was your conversation?', max_length=500),
        ),
        ops.AddField(
            model_name='AccountSettings',
            name='survey_sampling_percent',
            field=fields.IntField(default=100, db_default=100),
        ),
        SameColumn(
            model_name='Event',
            name='type',
            field=fields.CharEnumField(description='What happened', enum_type=EventType, max_length=40),
        ),
        ops.AddField(
            model_name='MessagingSession',
            name='customer_left_at',
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name='MessagingSession',
            name='due_at',
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name='MessagingSession',
            name='slot_kept',
            field=fields.BooleanField(default=False, db_default=False),
        ),
        ops.AddField(
            model_name='MessagingSession',
            name='with_bot',
            field=fields.BooleanField(default=False, db_default=False),
        ),
        ops.AddIndex(
            model_name='MessagingSession',
            index=Index(fields=['state', 'due_at']),
        ),
        ops.AddField(
            model_name='OutboundEmail',
            name='attempts',
            field=fields.IntField(default=0, db_default=0),
        ),
        ops.AddField(
            model_name='OutboundEmail',
            name='bounced_at',
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name='OutboundEmail',
            name='error',
            field=fields.CharField(null=True, max_length=500),
        ),
        ops.AddField(
            model_name='OutboundEmail',
            name='failed_at',
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name='OutboundEmail',
            name='next_attempt_at',
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddIndex(
            model_name='OutboundEmail',
            index=Index(fields=['sent_at', 'failed_at', 'next_attempt_at']),
        ),
        ops.AddField(
            model_name='Ticket',
            name='deleted_at',
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name='Ticket',
            name='follow_up_of',
            field=fields.ForeignKeyField('models.Ticket', source_field='follow_up_of_id', null=True, db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT),
        ),
        ops.AddField(
            model_name='Ticket',
            name='merged_into',
            field=fields.ForeignKeyField('models.Ticket', source_field='merged_into_id', null=True, db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT),
        ),
        ops.AddField(
            model_name='Ticket',
            name='slot_agent',
            field=fields.ForeignKeyField('models.User', source_field='slot_agent_id', null=True, db_constraint=True, to_field='id', related_name=False, on_delete=OnDelete.RESTRICT),
        ),
        ops.AddField(
            model_name='Ticket',
            name='slot_channel',
            field=fields.CharEnumField(null=True, description='MESSAGING: MESSAGING\nEMAIL: EMAIL\nHELP_CENTER: HELP_CENTER\nINTERNAL_NOTE: INTERNAL_NOTE', enum_type=Channel, max_length=16),
        ),
        ops.AddIndex(
            model_name='Ticket',
            index=Index(fields=['merged_into_id']),
        ),
        ops.AddIndex(
            model_name='Ticket',
            index=Index(fields=['follow_up_of_id']),
        ),
        ops.AddIndex(
            model_name='Ticket',
            index=Index(fields=['slot_agent_id']),
        ),
        ops.AddField(
            model_name='User',
            name='suspended_at',
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name='User',
            name='suspension',
            field=fields.CharEnumField(null=True, description='MESSAGING: MESSAGING\nALL: ALL', enum_type=Suspension, max_length=16),
        ),
    ]
