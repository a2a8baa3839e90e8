"""Every place where an id can be sent, and what it must come to for who may not see what it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from models import new_id
from tests.api.stage import gid

NOTHING = "nothing"
ERRORS = "userErrors { code message field }"

Verdict = str | None
"""A code, NOTHING, or None where somebody is not asked: it is his right to name such a thing."""


@dataclass(frozen=True)
class Probe:
    """How to send an id of `kind` as one argument, and what that must come to.

    `stranger` is an agent with full access to another account, `outsider` an agent of the account who reaches no
    ticket of it but his own, `customer` another customer of the account. `bad` is what staff get for what is no id of
    that kind, `customers_bad` what a customer gets for it. `mine` stands for the global id of the caller's own ticket.
    """

    kind: str
    text: str
    stranger: Verdict
    outsider: Verdict
    customer: Verdict
    bad: str = "INVALID_ID"
    customers_bad: str = "INVALID_ID"
    more: dict[str, Any] = field(default_factory=dict)


def read(kind: str, text: str, *, outsider: Verdict = NOTHING, bad: str = "INVALID_ID") -> Probe:
    """A query of staff."""
    return Probe(kind, text, NOTHING, outsider, "FORBIDDEN", bad=bad, customers_bad="FORBIDDEN")


def filtered(kind: str, argument: str) -> Probe:
    answer = "{ totalCount edges { node { id } } }"
    return read(kind, f"query ($id: ID!) {{ tickets(first: 9, filter: {{{argument}: $id}}) {answer} }}")


def change(
    kind: str,
    name: str,
    argument: str,
    answer: str,
    *,
    agents: Verdict = "NOT_FOUND",
    customer: Verdict = "FORBIDDEN",
    more: str = "",
    **options: Any,
) -> Probe:
    """A mutation whose input takes the id (or, written [id], a list of it)."""
    value = "[$id]" if argument.startswith("[") else "$id"
    argument = argument.strip("[]")
    mine = "$mine: ID!, " if "$mine" in more else ""
    text = f"mutation ({mine}$id: ID!) {{ {name}(input: {{{argument}: {value} {more}}}) {{ {answer} {ERRORS} }} }}"
    return Probe(kind, text, agents, options.pop("outsider", agents), customer, **options)


def managing(kind: str, name: str, argument: str, answer: str, more: str = "") -> Probe:
    """A mutation of those who manage people."""
    return change(kind, name, argument, answer, agents="FORBIDDEN", more=more)


def live(kind: str, text: str, agents: Verdict, customer: Verdict, **options: Any) -> Probe:
    return Probe(kind, text, agents, agents, customer, **options)


INBOX = (
    "subscription ($id: ID!, $after: String) "
    "{{ inbox(filter: {{{0}: $id}}, after: $after) {{ change ticketId ticket {{ id subject }} }} }}"
)

NODE_TEXT = (
    "query ($id: ID!) { node(id: $id) "
    "{ __typename id ... on User { name } ... on Comment { body } ... on Attachment { fileName url } } }"
)
NODES_TEXT = "query ($id: ID!) { nodes(ids: [$id]) { __typename id } }"

QUEUE = f'name: "x" groupIds: ["{gid("Group", new_id())}"]'

# What every agent may know of: the directory of the account.
DIRECTORY: Verdict = None

PROBES: dict[str, list[Probe]] = {
    "Query.node.id": [
        read("Ticket", NODE_TEXT),
        read("TicketEvent", NODE_TEXT),
        read("Comment", NODE_TEXT),
        read("MessagingSession", NODE_TEXT),
        read("User", NODE_TEXT),
        read("Group", NODE_TEXT, outsider=DIRECTORY),
        read("Request", NODE_TEXT),
        read("Message", NODE_TEXT),
        read("Conversation", NODE_TEXT),
        read("Macro", NODE_TEXT),
        read("Survey", NODE_TEXT),
        read("Trigger", NODE_TEXT),
        read("Token", NODE_TEXT),
        read("Attachment", NODE_TEXT),
    ],
    "Query.nodes.ids": [
        read("Ticket", NODES_TEXT),
        read("TicketEvent", NODES_TEXT),
        read("Comment", NODES_TEXT),
        read("MessagingSession", NODES_TEXT),
        read("User", NODES_TEXT),
        read("Attachment", NODES_TEXT),
    ],
    "Query.ticket.id": [
        read("Ticket", "query ($id: ID!) { ticket(id: $id) { id subject events(first: 9) { edges { node { id } } } } }")
    ],
    "Query.sessionEndPreview.ticketId": [
        read("Ticket", "query ($id: ID!) { sessionEndPreview(ticketId: $id) { allowed reason } }")
    ],
    "TicketFilter.assigneeId": [
        filtered("User", "assigneeId"),
        live("User", INBOX.format("assigneeId"), NOTHING, "FORBIDDEN", customers_bad="FORBIDDEN"),
    ],
    "TicketFilter.requesterId": [
        filtered("User", "requesterId"),
        live("User", INBOX.format("requesterId"), NOTHING, "FORBIDDEN", customers_bad="FORBIDDEN"),
    ],
    "TicketFilter.groupId": [
        filtered("Group", "groupId"),
        live("Group", INBOX.format("groupId"), NOTHING, "FORBIDDEN", customers_bad="FORBIDDEN"),
    ],
    "EndSessionInput.ticketId": [
        change("Ticket", "endSession", "ticketId", "outcome ticket { id subject } session { id } event { id }")
    ],
    "EndSessionInput.conversationId": [
        change(
            "Conversation",
            "endSession",
            "conversationId",
            "outcome ticket { id subject } session { id } event { id }",
        )
    ],
    "EndSessionsInput.ticketIds": [
        change("Ticket", "endSessions", "[ticketIds]", f"results {{ ticketId outcome {ERRORS} }}")
    ],
    "PostCommentInput.ticketId": [
        change(
            "Ticket",
            "postComment",
            "ticketId",
            "comment { id body } ticket { id subject }",
            more='body: "x" channel: INTERNAL_NOTE',
        )
    ],
    "PostCommentInput.attachmentIds": [
        change(
            "Attachment",
            "postComment",
            "[attachmentIds]",
            "comment { id attachments { fileName } }",
            more='ticketId: $mine body: "x" channel: INTERNAL_NOTE',
        )
    ],
    "RedactCommentInput.commentId": [change("Comment", "redactComment", "commentId", "comment { id body }")],
    "UpdateTicketInput.ticketId": [
        change("Ticket", "updateTicket", "ticketId", "ticket { id subject }", customer="NOT_FOUND", more="tags: []")
    ],
    "UpdateTicketInput.assigneeId": [
        change(
            "User",
            "updateTicket",
            "assigneeId",
            "ticket { id assignee { id name } }",
            more="ticketId: $mine",
            customer="FORBIDDEN",
        )
    ],
    # The caller's own ticket is live, which he learns only when he may name the new requester.
    "UpdateTicketInput.requesterId": [
        change(
            "User",
            "updateTicket",
            "requesterId",
            "ticket { id requester { id name } }",
            more="ticketId: $mine",
            customer="FORBIDDEN",
        )
    ],
    "MergeTicketsInput.sourceId": [
        change("Ticket", "mergeTickets", "sourceId", "source { id subject }", more="targetId: $mine")
    ],
    "MergeTicketsInput.targetId": [
        change("Ticket", "mergeTickets", "targetId", "target { id subject }", more="sourceId: $mine")
    ],
    "DeleteTicketInput.ticketId": [
        change("Ticket", "deleteTicket", "ticketId", "deletedTicketId", customer="NOT_FOUND")
    ],
    "RestoreTicketInput.ticketId": [
        change("Ticket", "restoreTicket", "ticketId", "ticket { id subject }", customer="NOT_FOUND")
    ],
    "SuspendUserInput.userId": [change("User", "suspendUser", "userId", "user { id name } changed", more="scope: ALL")],
    "LiftSuspensionInput.userId": [change("User", "liftSuspension", "userId", "user { id name } changed")],
    "UpdateTicketInput.groupId": [
        change(
            "Group",
            "updateTicket",
            "groupId",
            "ticket { id group { id name } }",
            more="ticketId: $mine",
            outsider=DIRECTORY,
        )
    ],
    "ApplyMacroInput.ticketId": [
        change(
            "Ticket",
            "applyMacro",
            "ticketId",
            "ticket { id subject } comment { id }",
            more=f'macroId: "{gid("Macro", new_id())}"',
        )
    ],
    "ApplyMacroInput.macroId": [
        change("Macro", "applyMacro", "macroId", "ticket { id } comment { id body }", more="ticketId: $mine")
    ],
    "SaveMacroInput.macroId": [
        change(
            "Macro",
            "saveMacro",
            "macroId",
            "macro { id title }",
            more='title: "x" actions: [{kind: END_SESSION}]',
        )
    ],
    "Query.capacityLedger.agentId": [
        Probe(
            "Agent",
            "query ($id: ID!) { capacityLedger(agentId: $id, first: 9) { edges { node { id } } } }",
            "FORBIDDEN",
            "FORBIDDEN",
            "FORBIDDEN",
            customers_bad="FORBIDDEN",
        )
    ],
    "SetAvailabilityInput.agentId": [
        change(
            "Agent",
            "setAvailability",
            "agentId",
            "availability { status }",
            agents="FORBIDDEN",
            more="status: ONLINE",
            customers_bad="FORBIDDEN",
        )
    ],
    "AcceptOfferInput.offerId": [change("Offer", "acceptOffer", "offerId", "ticket { id subject }")],
    "DeclineOfferInput.offerId": [change("Offer", "declineOffer", "offerId", "declined")],
    "SaveCapacityRuleInput.id": [
        change(
            "CapacityRule", "saveCapacityRule", "id", "capacityRule { id name }", agents="FORBIDDEN", more='name: "x"'
        )
    ],
    "DeleteCapacityRuleInput.id": [change("CapacityRule", "deleteCapacityRule", "id", "deleted", agents="FORBIDDEN")],
    "ChooseCapacityRuleInput.agentId": [
        change("Agent", "chooseCapacityRule", "agentId", "capacityRule { id name }", agents="FORBIDDEN")
    ],
    "ChooseCapacityRuleInput.capacityRuleId": [
        change(
            "CapacityRule",
            "chooseCapacityRule",
            "capacityRuleId",
            "capacityRule { id name }",
            agents="FORBIDDEN",
            more=f'agentId: "{gid("Agent", new_id())}"',
        )
    ],
    "SaveQueueInput.id": [
        change("RoutingQueue", "saveQueue", "id", "queue { id name }", agents="FORBIDDEN", more=QUEUE)
    ],
    "SaveQueueInput.groupIds": [
        change("Group", "saveQueue", "[groupIds]", "queue { id name }", agents="FORBIDDEN", more='name: "x"')
    ],
    "DeleteQueueInput.id": [change("RoutingQueue", "deleteQueue", "id", "deleted", agents="FORBIDDEN")],
    "SendTypingInput.ticketId": [
        change("Ticket", "sendTyping", "ticketId", "delivered", customer="INVALID_INPUT", customers_bad="INVALID_INPUT")
    ],
    "SendTypingInput.conversationId": [
        change(
            "Conversation",
            "sendTyping",
            "conversationId",
            "delivered",
            agents="INVALID_INPUT",
            bad="INVALID_INPUT",
            customer="NOT_FOUND",
        )
    ],
    "MarkReadInput.messageId": [
        change("Comment", "markRead", "messageId", "marked", customer="INVALID_ID"),
        change("Message", "markRead", "messageId", "marked", agents="INVALID_ID", customer="NOT_FOUND"),
    ],
    "DeleteMacroInput.macroId": [change("Macro", "deleteMacro", "macroId", "deleted")],
    # The directory of the account; that of another one is nobody's.
    "Query.agent.id": [read("Agent", "query ($id: ID!) { agent(id: $id) { id name email } }", outsider=DIRECTORY)],
    # Who manages nobody is told so, whatever he names; an admin with foreign ids is in test_administration.py.
    "SaveAgentInput.agentId": [managing("Agent", "saveAgent", "agentId", "agent { id name }", 'name: "x"')],
    "SaveAgentInput.roleId": [managing("Role", "saveAgent", "roleId", "agent { id name }", 'name: "x"')],
    "SaveAgentInput.groupIds": [managing("Group", "saveAgent", "[groupIds]", "agent { id name }", 'name: "x"')],
    "SaveAgentInput.organizationIds": [
        managing("Organization", "saveAgent", "[organizationIds]", "agent { id name }", 'name: "x"')
    ],
    "DeactivateAgentInput.agentId": [managing("Agent", "deactivateAgent", "agentId", "agent { id name }")],
    "ReactivateAgentInput.agentId": [managing("Agent", "reactivateAgent", "agentId", "agent { id name }")],
    "SaveEndUserInput.userId": [managing("User", "saveEndUser", "userId", "endUser { id name }", 'name: "x"')],
    "SaveEndUserInput.organizationId": [
        managing("Organization", "saveEndUser", "organizationId", "endUser { id name }", 'name: "x"')
    ],
    "SaveRoleInput.roleId": [managing("Role", "saveRole", "roleId", "role { id name }", 'name: "x"')],
    "DeleteRoleInput.roleId": [managing("Role", "deleteRole", "roleId", "deleted")],
    "SaveGroupInput.groupId": [managing("Group", "saveGroup", "groupId", "group { id name }", 'name: "x"')],
    "DeleteGroupInput.groupId": [managing("Group", "deleteGroup", "groupId", "deleted")],
    "SaveOrganizationInput.organizationId": [
        managing("Organization", "saveOrganization", "organizationId", "organization { id name }", 'name: "x"')
    ],
    "DeleteOrganizationInput.organizationId": [
        managing("Organization", "deleteOrganization", "organizationId", "deleted")
    ],
    "CreateApiTokenInput.userId": [
        managing("User", "createApiToken", "userId", "apiToken { id } secret", 'name: "x"'),
    ],
    "RevokeApiTokenInput.tokenId": [
        change("Token", "revokeApiToken", "tokenId", "apiToken { id name }", customer="NOT_FOUND")
    ],
    "RevokeTokenInput.tokenId": [change("Token", "revokeToken", "tokenId", "revoked", customer="NOT_FOUND")],
    "SendMessageInput.conversationId": [
        change(
            "Conversation",
            "sendMessage",
            "conversationId",
            "message { id } conversation { id }",
            agents="FORBIDDEN",
            customer="NOT_FOUND",
            more='body: "x"',
        )
    ],
    "SendMessageInput.attachmentIds": [
        change(
            "Attachment",
            "sendMessage",
            "[attachmentIds]",
            "message { id attachments { fileName } } conversation { id }",
            agents="FORBIDDEN",
            customer="NOT_FOUND",
            more='body: "x"',
        )
    ],
    "EditMessageInput.messageId": [
        change(
            "Message",
            "editMessage",
            "messageId",
            "message { id body }",
            agents="FORBIDDEN",
            customer="NOT_FOUND",
            more='body: "x"',
        )
    ],
    "DeleteMessageInput.messageId": [
        change("Message", "deleteMessage", "messageId", "message { id body }", agents="FORBIDDEN", customer="NOT_FOUND")
    ],
    "ReactToMessageInput.messageId": [
        change(
            "Message",
            "reactToMessage",
            "messageId",
            "message { id body }",
            agents="FORBIDDEN",
            customer="NOT_FOUND",
            more='reaction: "👍"',
        )
    ],
    "ReplyAsBotInput.conversationId": [
        change(
            "Conversation", "replyAsBot", "conversationId", "message { id body }", agents="FORBIDDEN", more='body: "x"'
        )
    ],
    "ReplyAsBotInput.inReplyTo": [
        change(
            "Message",
            "replyAsBot",
            "inReplyTo",
            "message { id body }",
            agents="FORBIDDEN",
            more=f'body: "x" conversationId: "{gid("Conversation", new_id())}"',
        )
    ],
    "HandOffConversationInput.conversationId": [
        change("Conversation", "handOffConversation", "conversationId", "ticket { id subject }", agents="FORBIDDEN")
    ],
    "EndConversationAsBotInput.conversationId": [
        change("Conversation", "endConversationAsBot", "conversationId", "outcome", agents="FORBIDDEN")
    ],
    "CommentOnRequestInput.requestId": [
        change(
            "Request",
            "commentOnRequest",
            "requestId",
            "request { id subject }",
            agents="FORBIDDEN",
            customer="NOT_FOUND",
            more='body: "x"',
        )
    ],
    "CommentOnRequestInput.attachmentIds": [
        change(
            "Attachment",
            "commentOnRequest",
            "[attachmentIds]",
            "request { id subject }",
            agents="FORBIDDEN",
            customer="NOT_FOUND",
            more=f'requestId: "{gid("Request", new_id())}" body: "x"',
        )
    ],
    "RateConversationInput.surveyId": [
        change(
            "Survey",
            "rateConversation",
            "surveyId",
            "rating { score }",
            agents="FORBIDDEN",
            bad="FORBIDDEN",
            customer="NOT_FOUND",
            more="score: GOOD",
        )
    ],
    "SaveTriggerInput.id": [
        change(
            "Trigger",
            "saveTrigger",
            "id",
            "trigger { id title }",
            agents="FORBIDDEN",
            more='title: "x" actions: [{kind: END_SESSION}] conditions: [{rules: [{subject: TAGS operator: CHANGED}]}]',
        )
    ],
    "DeleteTriggerInput.id": [change("Trigger", "deleteTrigger", "id", "deleted", agents="FORBIDDEN")],
    "Subscription.ticketActivity.ticketId": [
        live(
            "Ticket",
            "subscription ($id: ID!) { ticketActivity(ticketId: $id) { ticket { id subject } event { id } } }",
            "NOT_FOUND",
            "FORBIDDEN",
        )
    ],
    "Subscription.conversationSignals.ticketId": [
        live(
            "Ticket",
            "subscription ($id: ID!) { conversationSignals(ticketId: $id) { kind side } }",
            "NOT_FOUND",
            "NOT_FOUND",
        )
    ],
    "Subscription.conversationSignals.conversationId": [
        live(
            "Conversation",
            "subscription ($id: ID!) { conversationSignals(conversationId: $id) { kind side } }",
            "NOT_FOUND",
            "NOT_FOUND",
        )
    ],
}
