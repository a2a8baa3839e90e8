"""ANSWERS. One function per query or mutation: decode, call the domain, wrap. This page is the table of contents."""

import strawberry

from resolvers import (
    administration,
    bots,
    comments,
    customers,
    lifecycle,
    macros,
    nodes,
    people,
    routing,
    sessions,
    settings,
    surveys,
    suspension,
    tickets,
    tokens,
    triggers,
    webhooks,
)

field = strawberry.field
mutation = strawberry.mutation


@strawberry.type(description="What can be asked.")
class Query:
    viewer = field(people.viewer, description="Who is asking.")
    sync_cursor = field(
        people.sync_cursor,
        description="Where the event log stands. Ask it first, then for data, then subscribe with it.",
    )
    node = field(nodes.node, description="Anything by its global id; null for what the caller may not see.")
    nodes = field(nodes.nodes, description="At most 100 at once.")
    # the agent workspace
    ticket = field(tickets.ticket, description="One ticket; null for what the caller may not see.")
    tickets = field(tickets.tickets, description="The tickets that the caller may see.")
    session_end_preview = field(sessions.session_end_preview, description="What ending a session would do now.")
    my_offers = field(routing.my_offers, description="What is offered to the caller now, the oldest first.")
    macros = field(macros.macros, description="The shared macros and one's own, by title.")
    deleted_tickets = field(lifecycle.deleted_tickets, description="What can be restored, the last deleted first.")
    suspended_messages = field(
        suspension.suspended_messages, description="What suspended customers wrote, the newest first."
    )
    # the admin console
    messaging_settings = field(settings.messaging_settings, description="Settings of messaging.")
    routing_settings = field(settings.routing_settings, description="Settings of routing.")
    audit_log = field(settings.audit_log, description="What was changed in the account, the newest first.")
    agents = field(people.agents, description="Those who answer, by name.")
    groups = field(people.groups, description="The teams, by name.")
    roles = field(people.roles, description="The roles.")
    bot = field(bots.bot, description="The account's bot; null while there is none.")
    capacity_rules = field(routing.capacity_rules, description="The capacity rules, by name.")
    queues = field(routing.queues, description="The queues, in the order in which they are asked.")
    capacity_ledger = field(
        routing.capacity_ledger, description="Every change of an agent's work counts, the newest first."
    )
    triggers = field(triggers.triggers, description="What happens by itself, in the order in which it runs.")
    satisfaction = field(surveys.satisfaction, description="What the surveys say.")
    webhooks = field(webhooks.webhooks, description="The addresses that triggers can notify, the oldest first.")
    agent = field(administration.agent, description="Somebody who answers; null where there is nobody.")
    organizations = field(
        administration.organizations, description="The organisations that the caller looks after, or all, by name."
    )
    end_users = field(
        administration.end_users, description="The customers whom the caller may look up, by name; or those searched."
    )
    tokens = field(
        tokens.tokens, description="API tokens without their secrets, the newest first: one's own, or everybody's."
    )
    # the customer's widget
    my_conversations = field(customers.my_conversations, description="The customer's conversations, the newest first.")
    my_requests = field(customers.my_requests, description="The customer's requests, the newest first.")


@strawberry.type(description="What can be done. Expected refusals are userErrors of the payload.")
class Mutation:
    # the agent workspace
    end_session = mutation(sessions.resolve_end_session, description="End a messaging session, at once for everyone.")
    end_sessions = mutation(sessions.resolve_end_sessions, description="End many sessions, each on its own.")
    post_comment = mutation(comments.resolve_post_comment, description="Write on a ticket.")
    redact_comment = mutation(comments.resolve_redact_comment, description="Replace the text of a comment for ever.")
    update_ticket = mutation(tickets.resolve_update_ticket, description="Change fields of a ticket.")
    apply_macro = mutation(macros.resolve_apply_macro, description="Apply a macro, as a whole or not at all.")
    save_macro = mutation(macros.resolve_save_macro, description="Create a macro, or replace one.")
    set_availability = mutation(routing.resolve_set_availability, description="Say whether one takes work.")
    accept_offer = mutation(routing.resolve_accept_offer, description="Take what is offered.")
    decline_offer = mutation(routing.resolve_decline_offer, description="Pass: somebody else is asked.")
    merge_tickets = mutation(lifecycle.resolve_merge_tickets, description="Merge a ticket into another one.")
    delete_ticket = mutation(lifecycle.resolve_delete_ticket, description="Delete a ticket, until it is restored.")
    restore_ticket = mutation(lifecycle.resolve_restore_ticket, description="Restore a deleted ticket.")
    suspend_user = mutation(suspension.resolve_suspend_user, description="Suspend a customer. He is not told.")
    lift_suspension = mutation(suspension.resolve_lift_suspension, description="Let a customer write again.")
    # both sides of a conversation
    send_typing = mutation(comments.resolve_send_typing, description="Tell the other side that one is writing.")
    mark_read = mutation(comments.resolve_mark_read, description="Note how far one has read.")
    # the admin console
    update_messaging_settings = mutation(
        settings.resolve_update_messaging_settings, description="Change settings of messaging."
    )
    update_routing_settings = mutation(
        settings.resolve_update_routing_settings, description="Change settings of routing."
    )
    save_capacity_rule = mutation(
        routing.resolve_save_capacity_rule, description="Create a capacity rule, or replace one."
    )
    delete_capacity_rule = mutation(routing.resolve_delete_capacity_rule, description="Delete a capacity rule.")
    choose_capacity_rule = mutation(
        routing.resolve_choose_capacity_rule, description="Give an agent a capacity rule of his own."
    )
    save_queue = mutation(routing.resolve_save_queue, description="Create a queue, or replace one.")
    delete_queue = mutation(routing.resolve_delete_queue, description="Delete a queue.")
    save_agent = mutation(
        administration.resolve_save_agent, description="Make or change an agent, an admin or an integration partner."
    )
    deactivate_agent = mutation(administration.resolve_deactivate_agent, description="Take somebody's account away.")
    reactivate_agent = mutation(administration.resolve_reactivate_agent, description="Give it back.")
    save_end_user = mutation(administration.resolve_save_end_user, description="Make or change a customer.")
    save_role = mutation(administration.resolve_save_role, description="Make a role, or change it for all who have it.")
    delete_role = mutation(administration.resolve_delete_role, description="Delete a role that nobody has.")
    save_group = mutation(administration.resolve_save_group, description="Make or rename a group.")
    delete_group = mutation(administration.resolve_delete_group, description="Delete a group that nothing names.")
    save_organization = mutation(
        administration.resolve_save_organization, description="Make or rename an organisation."
    )
    delete_organization = mutation(
        administration.resolve_delete_organization, description="Delete an organisation that nothing names."
    )
    delete_macro = mutation(macros.resolve_delete_macro, description="Delete a macro.")
    create_api_token = mutation(
        tokens.resolve_create_api_token, description="Make a token for oneself or for an integration partner."
    )
    revoke_api_token = mutation(
        tokens.resolve_revoke_api_token, description="Make a token worthless and close its sockets."
    )
    revoke_token = mutation(people.resolve_revoke_token, description="Make a token worthless and close its sockets.")
    save_bot = mutation(bots.resolve_save_bot, description="Describe the account's bot.")
    # a program that is the bot
    reply_as_bot = mutation(bots.resolve_reply_as_bot, description="Answer a customer in the bot's name.")
    hand_off_conversation = mutation(
        bots.resolve_hand_off_conversation, description="Give a conversation to people, with a ticket."
    )
    end_conversation_as_bot = mutation(
        bots.resolve_end_conversation_as_bot, description="End a conversation that the bot has."
    )
    save_trigger = mutation(triggers.resolve_save_trigger, description="Create a trigger, or replace one.")
    delete_trigger = mutation(triggers.resolve_delete_trigger, description="Delete a trigger.")
    create_webhook = mutation(webhooks.resolve_create_webhook, description="Register an address to be notified.")
    # the customer's widget
    send_message = mutation(customers.resolve_send_message, description="Write into the messaging channel.")
    edit_message = mutation(customers.resolve_edit_message, description="Correct a message of a live conversation.")
    delete_message = mutation(customers.resolve_delete_message, description="Take back a message.")
    react_to_message = mutation(customers.resolve_react_to_message, description="React to a message.")
    comment_on_request = mutation(
        customers.resolve_comment_on_request, description="Comment on one's own request in the help centre."
    )
    rate_conversation = mutation(surveys.resolve_rate_conversation, description="Answer a survey.")
