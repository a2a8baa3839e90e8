"""The demonstration content keeps the rules of the domain, so that the seed can play it through the real commands."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise

import pytest

from deskwire.demo.content import (
    DemoActionKind,
    DemoChannel,
    DemoConversation,
    DemoEndUser,
    DemoMacro,
    DemoStatus,
    StepKind,
    load_content,
)

CONTENT = load_content()
CONVERSATIONS = {conversation.key: conversation for conversation in CONTENT.conversations}
USERS = {user.key: user for user in CONTENT.end_users}
MEMBERS = {group.key: group.members for group in CONTENT.groups}
STAFF = {"admin", "agent", "agent2", "group_agent", "light_agent"}
THREE_DAYS = 3 * 24 * 60

each_conversation = pytest.mark.parametrize("conversation", CONTENT.conversations, ids=lambda item: item.key)


def kinds(conversation: DemoConversation) -> list[StepKind]:
    return [step.by for step in conversation.script]


def requester(conversation: DemoConversation) -> DemoEndUser:
    return USERS[conversation.requester]


def end_minute(conversation: DemoConversation) -> int:
    """How many minutes ago the session ended."""
    return next(minutes for minutes, step in conversation.timeline() if step.by is StepKind.END_SESSION)


def is_told(conversation: DemoConversation) -> bool:
    """Whether an agent says before the end that new messages make a new ticket."""
    before = conversation.script[: kinds(conversation).index(StepKind.END_SESSION)]
    return any(re.search("ticket|チケット", step.words, re.I) for step in before if step.by is StepKind.AGENT)


def messaging_of_each_user() -> dict[str, list[DemoConversation]]:
    found: dict[str, list[DemoConversation]] = defaultdict(list)
    for conversation in CONTENT.conversations:
        if conversation.channel is DemoChannel.MESSAGING:
            found[conversation.requester].append(conversation)
    return found


def test_the_amounts_are_as_promised() -> None:
    assert (len(CONTENT.groups), len(CONTENT.organizations), len(CONTENT.macros)) == (3, 3, 4)
    assert (len(CONTENT.end_users), len(CONTENT.conversations)) == (24, 40)


@pytest.mark.parametrize("kind", ["groups", "organizations", "end_users", "macros", "conversations"])
def test_keys_are_unique(kind: str) -> None:
    keys = [row.key for row in getattr(CONTENT, kind)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("kind", ["groups", "organizations", "end_users"])
def test_names_are_unique(kind: str) -> None:
    names = [row.name for row in getattr(CONTENT, kind)]
    assert len(names) == len(set(names))


def test_user_references_resolve() -> None:
    organizations = {organization.key for organization in CONTENT.organizations}
    assert {user.organization for user in CONTENT.end_users} == organizations | {None}
    assert {"customer", "customer2"} <= USERS.keys()
    assert all(set(members) <= STAFF for members in MEMBERS.values())
    assert [key for key, members in MEMBERS.items() if "group_agent" in members] == ["repairs"]


def test_addresses_are_reserved_ones_unique_and_mostly_verified() -> None:
    addresses = [user.email for user in CONTENT.end_users if user.email]
    assert len(addresses) == len(set(addresses)) == len(CONTENT.end_users) - 2
    assert all(re.fullmatch(r"[a-z.]+@example\.(com|net|org)", address) for address in addresses)
    assert not any(user.email_verified for user in CONTENT.end_users if user.email is None)
    assert sum(user.email_verified for user in CONTENT.end_users) >= 18
    assert USERS["customer"].email_verified
    assert USERS["customer2"].email_verified


def test_macros_say_what_they_do() -> None:
    macros = {macro.key: [action.kind for action in macro.actions] for macro in CONTENT.macros}
    assert macros["tell_before_ending"] == [DemoActionKind.PUBLIC_REPLY]
    assert macros["refund_and_end"][-1] is DemoActionKind.END_SESSION
    assert macros["refund_and_end"][0] is DemoActionKind.PUBLIC_REPLY


@pytest.mark.parametrize("macro", CONTENT.macros, ids=lambda macro: macro.key)
def test_macro_actions_have_fitting_values(macro: DemoMacro) -> None:
    for action in macro.actions:
        assert (action.value is None) == (action.kind is DemoActionKind.END_SESSION)
        if action.kind is DemoActionKind.SET_STATUS:
            assert action.value in set(DemoStatus)


@each_conversation
def test_references_resolve(conversation: DemoConversation) -> None:
    assert conversation.requester in USERS
    assert conversation.group is None or conversation.group in MEMBERS
    assert conversation.assignee in {"agent", "agent2", "group_agent", None}
    assert len(conversation.tags) == len(set(conversation.tags))


@each_conversation
def test_staff_of_the_group_do_the_work(conversation: DemoConversation) -> None:
    team = MEMBERS[conversation.group] if conversation.group else ()
    if conversation.assignee:
        assert conversation.assignee in team
    for step in conversation.script:
        author = conversation.author_of(step)
        assert step.author is None or step.by is StepKind.NOTE
        assert step.by is StepKind.CUSTOMER or author in {*team, "admin"}
        assert author != "light_agent" or step.by is StepKind.NOTE


@each_conversation
def test_a_script_begins_with_a_customer_and_a_sentence_that_makes_a_subject(conversation: DemoConversation) -> None:
    assert 2 <= len(conversation.script) <= 12
    first = conversation.script[0]
    assert (first.by, first.after_minutes) == (StepKind.CUSTOMER, 0)
    sentence = re.split(r"\n|(?<=[.!?。؟])(?:\s|$)", first.words)[0]
    assert 10 <= len(sentence) <= 80


@each_conversation
def test_every_step_says_something_except_the_end(conversation: DemoConversation) -> None:
    for step in conversation.script:
        if step.by is StepKind.END_SESSION:
            assert step.text is None
        else:
            assert step.words == step.words.strip() != ""


@each_conversation
def test_nothing_happens_in_the_session_after_its_end(conversation: DemoConversation) -> None:
    if not conversation.ended:
        return
    assert conversation.channel is DemoChannel.MESSAGING
    after = kinds(conversation)[kinds(conversation).index(StepKind.END_SESSION) + 1 :]
    assert set(after) <= {StepKind.NOTE, StepKind.EMAIL_REPLY, StepKind.STATUS}


@each_conversation
def test_e_mail_goes_to_verified_addresses_only(conversation: DemoConversation) -> None:
    if conversation.channel is DemoChannel.EMAIL or StepKind.EMAIL_REPLY in kinds(conversation):
        assert requester(conversation).email_verified
    if conversation.channel is DemoChannel.EMAIL:
        assert not {StepKind.AGENT, StepKind.END_SESSION} & set(kinds(conversation))


@each_conversation
def test_statuses_change_on_assigned_tickets_only(conversation: DemoConversation) -> None:
    statuses = [step.status for step in conversation.script if step.by is StepKind.STATUS]
    assert conversation.assignee is not None or not statuses
    assert all(before is not after for before, after in pairwise(statuses))


@each_conversation
def test_everything_lies_in_the_last_three_days(conversation: DemoConversation) -> None:
    minutes = [ago for ago, _ in conversation.timeline()]
    assert max(minutes) <= THREE_DAYS
    assert min(minutes) > 0
    assert minutes == sorted(minutes, reverse=True)


def test_conversations_are_in_the_order_of_their_beginnings() -> None:
    minutes = [conversation.minutes_ago for conversation in CONTENT.conversations]
    assert minutes == sorted(minutes, reverse=True)


@pytest.mark.parametrize("key", messaging_of_each_user())
def test_a_user_has_one_session_at_a_time_and_a_later_one_continues_the_earlier(key: str) -> None:
    """R72 and R74."""
    conversations = messaging_of_each_user()[key]
    assert conversations[0].continues is None
    for earlier, later in pairwise(conversations):
        assert earlier.ended
        assert later.minutes_ago < end_minute(earlier)
        assert later.continues == earlier.key


def test_three_conversations_continue_an_earlier_one_of_the_same_requester() -> None:
    later = [conversation for conversation in CONTENT.conversations if conversation.continues]
    assert len(later) == 3
    for conversation in later:
        earlier = CONVERSATIONS[conversation.continues or ""]
        assert earlier.requester == conversation.requester
        assert (earlier.channel, conversation.channel) == (DemoChannel.MESSAGING, DemoChannel.MESSAGING)


def test_one_session_ends_without_a_word() -> None:
    ended = [conversation for conversation in CONTENT.conversations if conversation.ended]
    assert len(ended) >= 6
    assert [conversation.key for conversation in ended if not is_told(conversation)] == ["wrong_gloves"]


def test_the_ended_session_is_the_one_that_the_live_session_continues() -> None:
    ended, live = CONVERSATIONS["ended_session"], CONVERSATIONS["live_session"]
    assert {(item.requester, item.assignee, item.channel) for item in (ended, live)} == {
        ("customer", "agent", DemoChannel.MESSAGING)
    }
    assert ended.ended
    assert is_told(ended)
    assert live.continues == "ended_session"


def test_the_live_session_waits_for_an_answer() -> None:
    live = CONVERSATIONS["live_session"]
    assert not live.ended
    assert StepKind.STATUS not in kinds(live)
    assert kinds(live)[-1] is StepKind.CUSTOMER
    assert kinds(live).count(StepKind.CUSTOMER) >= 3
    assert min(minutes for minutes, _ in live.timeline()) < 10


def test_the_e_mail_ticket_is_one() -> None:
    assert CONVERSATIONS["email"].channel is DemoChannel.EMAIL


def test_there_is_something_of_everything() -> None:
    """Work that waits in the queue and with agents, every status (Open is what the rest have), both channels."""
    waiting = [item for item in CONTENT.conversations if kinds(item)[-1] is StepKind.CUSTOMER]
    assert len([item for item in waiting if item.assignee is None]) >= 4
    assert len([item for item in waiting if item.assignee]) >= 6
    last = [item.script[-1].text for item in CONTENT.conversations if item.script[-1].by is StepKind.STATUS]
    assert {DemoStatus.PENDING, DemoStatus.ON_HOLD, DemoStatus.SOLVED} <= set(last)
    assert {item.channel for item in CONTENT.conversations} == set(DemoChannel)
