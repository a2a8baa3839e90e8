"""The account's bot: how admins describe it, and how a program acts in its name."""

from __future__ import annotations

import strawberry
from strawberry import ID

import models
from domain.bot_settings import BotForm, KeywordAnswer
from domain.sessions import EndOutcome
from models import BotKind
from schema.customers import Message
from schema.ids import encode_id
from schema.payloads import Payload, client_id, idempotency_key
from schema.people import Node
from schema.tickets import Ticket


@strawberry.type(description="What the bot says to a message with one of these words.")
class BotAnswer:
    keywords: list[str]
    reply: str


@strawberry.type(description="Who answers first, once firstResponder is BOT.")
class Bot(Node):
    name: str
    kind: BotKind
    greeting: str | None
    answers: list[BotAnswer]
    handoff_keywords: list[str]
    handoff_message: str | None
    url: str | None

    @classmethod
    def of(cls, row: models.Bot) -> Bot:
        return cls(
            id=encode_id("Bot", row.id),
            name=row.name,
            kind=row.kind,
            greeting=row.greeting,
            answers=[BotAnswer(keywords=list(each["keywords"]), reply=each["reply"]) for each in row.answers],
            handoff_keywords=list(row.handoff_keywords),
            handoff_message=row.handoff_message,
            url=row.url,
        )


@strawberry.input(description="An answer to messages with one of these words.")
class BotAnswerInput:
    keywords: list[str] = strawberry.field(description="Words, or several in a row. Case does not matter.")
    reply: str


@strawberry.input(description="Describe the account's one bot, or describe it anew: what is left out is empty then.")
class SaveBotInput:
    name: str = strawberry.field(description="As customers see it.")
    kind: BotKind
    greeting: str | None = strawberry.field(default=None, description="Said to the first message.")
    answers: list[BotAnswerInput] = strawberry.field(
        default_factory=list, description="For RULES. The first that fits is said."
    )
    handoff_keywords: list[str] = strawberry.field(
        default_factory=list, description="For RULES: who says one of these wants a person."
    )
    handoff_message: str | None = strawberry.field(default=None, description="For RULES: said at the hand-off.")
    url: str | None = strawberry.field(default=None, description="For HTTP: where messages are posted to.")
    new_secret: bool = strawberry.field(default=False, description="For HTTP: sign with another secret from now on.")
    client_mutation_id: str | None = None

    def form(self) -> BotForm:
        return BotForm(
            name=self.name,
            kind=self.kind,
            greeting=self.greeting,
            answers=tuple(KeywordAnswer(tuple(each.keywords), each.reply) for each in self.answers),
            handoff_keywords=tuple(self.handoff_keywords),
            handoff_message=self.handoff_message,
            url=self.url,
        )


@strawberry.type(description="The bot as it is now.")
class SaveBotPayload(Payload):
    bot: Bot | None = None
    signing_secret: str | None = strawberry.field(
        default=None, description="With which calls to the bot are signed. Told this once, when it is new."
    )


@strawberry.input(description="Answer a customer in the bot's name. Takes the permission ACT_AS_BOT.")
class ReplyAsBotInput:
    conversation_id: ID
    body: str = strawberry.field(description="1 to 10,000 characters.")
    in_reply_to: ID | None = strawberry.field(
        default=None, description="The customer's message. To each there is one reply: sent again, nothing is stored."
    )
    idempotency_key: str | None = idempotency_key()
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="The bot's message. After the end of the conversation, or once people have it: refused.")
class ReplyAsBotPayload(Payload):
    message: Message | None = None


@strawberry.input(description="Give a conversation to people, in the bot's name.")
class HandOffConversationInput:
    conversation_id: ID
    note: str | None = strawberry.field(default=None, description="An internal note for them.")
    idempotency_key: str | None = idempotency_key()
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="The ticket that people have now; null when the caller may not see it.")
class HandOffConversationPayload(Payload):
    handed_off: bool = False
    ticket: Ticket | None = None


@strawberry.input(description="End a conversation that the bot has, in its name.")
class EndConversationAsBotInput:
    conversation_id: ID
    idempotency_key: str | None = idempotency_key()
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="How the end went.")
class EndConversationAsBotPayload(Payload):
    outcome: EndOutcome | None = None
