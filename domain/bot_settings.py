"""Saving the account's bot, and reading it (R70)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from domain.actors import Actor
from domain.comments import check_body
from domain.errors import InvalidInput
from domain.locks import confirm_actor, lock_settings
from domain.readers import start_at_head
from domain.responders import words
from domain.settings import check_can_manage_channels, check_can_read_settings, plain
from domain.transactions import Call, Transaction, unit_of_work
from models import Bot, BotKind, new_id

LONGEST_NAME = 100
LONGEST_URL = 2000
MOST_ANSWERS = 100
MOST_KEYWORDS = 50
LONGEST_KEYWORD = 100
SHOWN = ("name", "kind", "url")
TEXTS = ("greeting", "answers", "handoff_keywords", "handoff_message")


@dataclass(frozen=True, slots=True)
class KeywordAnswer:
    """What the bot says to a message with one of these words."""

    keywords: tuple[str, ...]
    reply: str


@dataclass(frozen=True, slots=True)
class BotForm:
    """A bot as an admin describes it. `url` is for the kind HTTP, the texts are for RULES."""

    name: str
    kind: BotKind
    greeting: str | None = None
    answers: tuple[KeywordAnswer, ...] = ()
    handoff_keywords: tuple[str, ...] = ()
    handoff_message: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class SavedBot:
    """The verdict of `save_bot`. `secret` is told once: when it is new."""

    bot_id: UUID
    secret: str | None


async def bot_of(actor: Actor) -> Bot | None:
    """The account's bot. Raises Forbidden."""
    check_can_read_settings(actor)
    return await Bot.get_or_none(account_id=actor.account_id)


async def save_bot(call: Call, form: BotForm, *, new_secret: bool = False) -> SavedBot:
    """Describe the account's one bot, or describe it anew. It answers once `first_responder` is BOT.

    Raises Forbidden, InvalidInput.
    """
    _check(form)

    async def work(tx: Transaction) -> SavedBot:
        # The settings are the lock: `first_responder` asks whether there is a bot.
        await lock_settings(tx)
        check_can_manage_channels(await confirm_actor(tx))
        bot = await Bot.get_or_none(account_id=tx.account_id)
        if bot is None:
            bot = Bot(id=new_id(), account_id=tx.account_id, created_at=tx.now)
            await start_at_head("bots", tx.account_id)
        before = {name: getattr(bot, name, None) for name in (*SHOWN, *TEXTS)}
        _fill(bot, form)
        secret = _secret(bot, new_secret)
        await bot.save()
        await tx.log("BOT_SAVED", f"Bot {bot.id}", _changes(before, bot, secret))
        return SavedBot(bot.id, secret)

    return await unit_of_work(call, work)


def _fill(bot: Bot, form: BotForm) -> None:
    values = {
        "name": form.name.strip(),
        "kind": form.kind,
        "greeting": form.greeting,
        "handoff_keywords": list(form.handoff_keywords),
        "handoff_message": form.handoff_message,
        "answers": [{"keywords": list(each.keywords), "reply": each.reply} for each in form.answers],
        "url": form.url if form.kind is BotKind.HTTP else None,
    }
    bot.update_from_dict(values)


def _secret(bot: Bot, wanted: bool) -> str | None:
    """A new secret, if the bot needs one; other kinds have none."""
    if bot.kind is not BotKind.HTTP:
        bot.update_from_dict({"secret": None})
        return None
    if bot.secret and not wanted:
        return None
    bot.secret = secrets.token_hex(32)
    return bot.secret


def _changes(before: dict[str, Any], bot: Bot, secret: str | None) -> list[dict[str, Any]]:
    """What the account's log keeps: of texts only that they changed, of the secret only that it is new."""
    shown: list[dict[str, Any]] = [
        {"field": name, "from": plain(before[name]), "to": plain(getattr(bot, name))}
        for name in SHOWN
        if before[name] != getattr(bot, name)
    ]
    texts = [name for name in TEXTS if before[name] != getattr(bot, name)]
    told = [*texts, "secret"] if secret is not None else texts
    return shown + [{"field": name, "from": None, "to": "changed"} for name in told]


def _check(form: BotForm) -> None:
    if not 0 < len(form.name.strip()) <= LONGEST_NAME:
        raise InvalidInput(f"A bot has a name of 1 to {LONGEST_NAME} characters.", field=("name",))
    for field, text in (("greeting", form.greeting), ("handoffMessage", form.handoff_message)):
        if text is not None:
            check_body(text, field=field)
    if len(form.answers) > MOST_ANSWERS:
        raise InvalidInput(f"A bot has at most {MOST_ANSWERS} answers.", field=("answers",))
    for answer in form.answers:
        check_body(answer.reply, field="answers")
        if not answer.keywords:
            raise InvalidInput("An answer has at least one keyword.", field=("answers",))
        _check_keywords(answer.keywords, "answers")
    _check_keywords(form.handoff_keywords, "handoffKeywords")
    if form.kind is BotKind.HTTP:
        _check_url(form.url)


def _check_keywords(keywords: tuple[str, ...], field: str) -> None:
    fit = all(len(keyword) <= LONGEST_KEYWORD and words(keyword) for keyword in keywords)
    if len(keywords) > MOST_KEYWORDS or not fit:
        said = f"At most {MOST_KEYWORDS} keywords, each with a word in it and of at most {LONGEST_KEYWORD} characters."
        raise InvalidInput(said, field=(field,))


def _check_url(url: str | None) -> None:
    try:
        parts = urlsplit(url or "")
        fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        fit = fit and (parts.port or 1) > 0
    except ValueError:
        fit = False
    if not fit or len(url or "") > LONGEST_URL:
        raise InvalidInput("An HTTP bot has an address: https://host/path, without a password.", field=("url",))
