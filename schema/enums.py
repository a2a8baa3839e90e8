"""The enums of the lower layers, as the API shows them. Imported before all types, which refer to them by class."""

from __future__ import annotations

import strawberry

import models
from domain import conditions
from domain.composer import ComposerAction
from domain.errors import ErrorCode
from domain.macros import MacroActionKind
from domain.routing import RoutingOutcome
from domain.sessions import EndOutcome
from domain.triggers import TriggerActionKind

strawberry.enum(models.Channel, description="How people talk.")
strawberry.enum(models.Visibility, description="INTERNAL never reaches the customer.")
strawberry.enum(ErrorCode, description="Why something was refused. New codes may be added.")
strawberry.enum(models.EventType, description="What happened. Ignore types that you do not know.")
strawberry.enum(MacroActionKind, description="What an action of a macro does.")
strawberry.enum(models.ActorKind, description="Who did it.")
strawberry.enum(models.Permission, description="What a role may do.")
strawberry.enum(models.TicketAccess, description="Which tickets a role reaches.")
strawberry.enum(models.UserKind, name="UserRole", description="What somebody is in the account.")
strawberry.enum(models.SessionState, description="ENDED is for ever.")
strawberry.enum(models.EndReason, description="Why a session ended.")
strawberry.enum(models.InactiveReason, description="Why a session is inactive.")
strawberry.enum(models.Control, description="Who answers. Nobody does after the end.")
strawberry.enum(models.BotKind, description="RULES answers by keywords; HTTP is a program elsewhere.")
strawberry.enum(EndOutcome, description="Whether this call ended the session.")
strawberry.enum(RoutingOutcome, description="What became of the agent's slot.")
strawberry.enum(models.TicketCreation, description="When a conversation gets its ticket.")
strawberry.enum(models.FirstResponder, description="Who answers first.")
strawberry.enum(models.RoutingMode, description="Which routing the account uses.")
strawberry.enum(models.RoutingMethod, description="Whom omnichannel routing prefers.")
strawberry.enum(models.StandardDistribution, description="How standard routing gives chats out.")
strawberry.enum(models.AgentStatus, name="AvailabilityStatus", description="Whether an agent takes work.")
strawberry.enum(models.OfferState, description="What became of an offer.")
strawberry.enum(models.LedgerReason, description="Why a count of work changed.")
strawberry.enum(models.TicketStatus, description="How far a ticket is.")
strawberry.enum(models.TicketType, description="What kind of request it is.")
strawberry.enum(models.TicketPriority, description="How urgent it is.")
strawberry.enum(models.Suspension, description="What a suspended customer cannot do.")
strawberry.enum(ComposerAction, description="What the composer offers beside writing.")
strawberry.enum(models.Score, name="SurveyScore", description="What the customer thought.")
strawberry.enum(models.SkipReason, name="SurveySkipReason", description="Why a survey was not sent.")
strawberry.enum(conditions.Match, name="ConditionMatch", description="Whether all rules must hold, or one is enough.")
strawberry.enum(conditions.Subject, name="ConditionSubject", description="What a rule looks at.")
strawberry.enum(conditions.Operator, name="ConditionOperator", description="How a rule compares.")
strawberry.enum(TriggerActionKind, description="What an action of a trigger does.")
strawberry.enum(models.DeliveryState, name="DeliveryStatus", description="How far a delivery is.")
