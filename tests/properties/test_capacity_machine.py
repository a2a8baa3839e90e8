"""Capacity and routing under whatever may happen, in any order (R36, R39, R43, R44, R85–R102, R133).

A state machine of hypothesis plays a support desk: customers write, agents come, go and answer offers, admins assign,
end and reconfigure, and the router passes. After every step the whole account is read and judged by
`tests/properties/capacity_oracle.py`, and every pass of the router by `tests/properties/routing_oracle.py`.

The run of `make test` is short and always the same. For a long one with new examples each time, and for the
shortest example that fails (which takes minutes to find):

    MACHINE_EXAMPLES=2000 MACHINE_STEPS=60 MACHINE_SHRINK=1 python -m pytest tests/properties/test_capacity_machine.py
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from domain.capacity import check_counts
from domain.errors import BusyRetry, Refusal
from models import (
    Account,
    AgentAvailability,
    AgentStatus,
    Channel,
    RoutingMethod,
    RoutingMode,
    SessionState,
    StandardDistribution,
    TicketStatus,
    new_id,
)
from models.database import opened
from tests.databases import Postgres, Sqlite
from tests.invariants import assert_consistent
from tests.properties.capacity_oracle import findings
from tests.properties.desk import Change, Desk
from tests.properties.routing_oracle import findings_of_pass
from tests.properties.rows import Rows

T = TypeVar("T")

LONG = "MACHINE_EXAMPLES" in os.environ
# For each way of routing.
ON_SQLITE, ON_POSTGRES = 7, 4
SHRINK = "MACHINE_SHRINK" in os.environ
STEPS = int(os.environ.get("MACHINE_STEPS", "30"))

some = st.integers(0, 11)
few = st.integers(0, 3)
maybe = st.none() | few
flags = st.booleans()
statuses = st.sampled_from([AgentStatus.ONLINE] * 3 + list(AgentStatus))
channel_statuses = st.dictionaries(
    st.sampled_from([Channel.MESSAGING, Channel.EMAIL]), st.sampled_from([AgentStatus.ONLINE, AgentStatus.OFFLINE])
)
groups = st.lists(st.integers(0, 1), max_size=2, unique=True)
limits = st.sampled_from([1, 2, None, 3, 0])
worked_on = st.sampled_from([TicketStatus.OPEN, TicketStatus.PENDING, TicketStatus.ON_HOLD, TicketStatus.SOLVED])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "routing_mode": st.sampled_from([RoutingMode.OMNICHANNEL, RoutingMode.OMNICHANNEL, RoutingMode.STANDARD]),
    "routing_method": st.sampled_from(RoutingMethod),
    "count_inactive_toward_capacity": flags,
    "route_agent_ended_sessions_as_email": flags,
    "standard_distribution": st.sampled_from(StandardDistribution),
    "chat_limit": st.none() | st.integers(1, 3),
    "auto_accept": flags,
    "offer_seconds": st.sampled_from([5, 60, 3600]),
}
configurations = st.fixed_dictionaries(VALUES)
changed_settings = st.one_of([st.fixed_dictionaries({name: values}) for name, values in VALUES.items()])


def change(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Change]:
    """A method of the desk and what it is called with."""
    return st.tuples(st.just(name), *arguments)


changes_of_a_ticket = st.one_of(
    change("move", some, st.none() | st.integers(0, 1)),
    change("tag", some, flags),
    change("route_as_email", some),
    change("close", some),
)
changes_of_capacity = st.one_of(
    change("save_rule", maybe, limits, limits, flags),
    change("choose_rule", few, maybe),
    change("delete_rule", few),
)
changes_of_people = st.one_of(
    change("set_groups", few, groups),
    change("set_role", few, few),
    change("save_queue", groups),
    change("deactivate", few, st.integers(0, 4)),
)

changes_of_who_was_asked = st.one_of(
    change("set_status", st.sampled_from(AgentStatus), channel_statuses),
    change("set_groups", groups),
    change("set_role", few),
    change("deactivate"),
)


def has_tickets(machine: CapacityMachine) -> bool:
    return bool(machine.rows.tickets)


def has_live_sessions(machine: CapacityMachine) -> bool:
    return any(map(machine.rows.is_live, machine.rows.tickets))


class CapacityMachine(RuleBasedStateMachine):
    """The desk in the hands of chance. Subclasses say where its database is, and how routing begins."""

    loop: asyncio.Runner
    beginning: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(self.account_to_play_in())
        self.desk: Desk = self.run(Desk.create(f"desk-{new_id().hex}"))
        self.awake = False
        self.ended: dict[Any, tuple[Any, ...]] = {}
        self.rows: Rows = self.run(Rows.read(self.desk.world.id))

    @contextmanager
    def account_to_play_in(self) -> Iterator[None]:
        yield

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(coroutine)

    def live(self, number: int) -> int:
        """The place, among all tickets, of one whose session has not ended."""
        places = [place for place, ticket in enumerate(self.rows.tickets) if self.rows.is_live(ticket)]
        return places[number % len(places)]

    def attempt(self, coroutine: Coroutine[Any, Any, T]) -> T | None:
        """Do it. A refusal is an answer, too, if nothing happened; but who is alone is in nobody's way."""
        before = self.run(self.position())
        try:
            return self.run(coroutine)
        except BusyRetry:
            raise
        except Refusal:
            pass
        assert self.run(self.position()) == before, "a refusal that did something"
        return None

    async def position(self) -> int:
        return int((await Account.get(id=self.desk.world.id)).last_position)

    # What holds

    @invariant()
    def everything_adds_up(self) -> None:
        """R39, R43, R44, R91, R93, R96–R99."""
        self.judge()
        if self.awake:
            self.route()

    def judge(self) -> None:
        self.rows = self.run(Rows.read(self.desk.world.id))
        assert self.run(check_counts(self.desk.world.id)) == []
        assert self.run(findings(self.rows)) == []
        for session in self.rows.sessions.values():
            if session.state is SessionState.ENDED:
                end = (session.ended_at, session.end_reason, session.ended_by_kind, session.ended_by_id)
                assert self.ended.setdefault(session.id, end) == end
        states = {session.id: session.state for session in self.rows.sessions.values()}
        assert {states[each] for each in self.ended} <= {SessionState.ENDED}

    def route(self) -> None:
        """R43, R88, R92–R95."""
        before = self.rows
        if self.run(self.desk.route()) > 0:
            self.judge()
            assert self.run(self.desk.route()) == 0, "a second pass found something to do"
        assert findings_of_pass(before, self.rows, self.desk.now) == []

    def teardown(self) -> None:
        try:
            self.run(assert_consistent(self.desk.world))
        finally:
            self.stack.close()

    # The beginning

    @initialize(
        values=configurations, numbers=st.tuples(limits, limits), there=st.lists(statuses, min_size=2, max_size=4)
    )
    def opens(self, values: dict[str, Any], numbers: tuple[int | None, int | None], there: list[AgentStatus]) -> None:
        self.run(self.desk.save_rule(None, *numbers, True))
        self.run(self.desk.change_settings(values | self.beginning))
        for agent, status in enumerate(there):
            self.run(self.desk.set_status(agent, status, {}))

    @initialize(awake=flags, customers=st.lists(some, min_size=2, max_size=5), mails=few)
    def has_work(self, awake: bool, customers: list[int], mails: int) -> None:
        for customer in customers:
            self.attempt(self.desk.message(customer))
        for customer in range(mails):
            self.attempt(self.desk.mail(customer, tagged=True))
        self.awake = awake

    # Customers

    @rule(customer=some)
    def a_customer_writes(self, customer: int) -> None:
        self.attempt(self.desk.message(customer))

    @rule(customers=st.lists(some, min_size=2, max_size=4))
    def customers_write(self, customers: list[int]) -> None:
        for customer in customers:
            self.attempt(self.desk.message(customer))

    @rule(customer=some, tagged=flags)
    def a_mail_comes_in(self, customer: int, tagged: bool) -> None:
        self.attempt(self.desk.mail(customer, tagged=tagged))

    @precondition(has_tickets)
    @rule(ticket=some)
    def a_mail_answers(self, ticket: int) -> None:
        self.attempt(self.desk.answer_by_mail(ticket))

    @precondition(has_live_sessions)
    @rule(ticket=some)
    def a_customer_falls_silent(self, ticket: int) -> None:
        self.attempt(self.desk.falls_silent(self.live(ticket)))

    # Agents

    @rule(agent=few, status=statuses, channels=channel_statuses)
    def an_agent_says_whether_he_takes_work(
        self, agent: int, status: AgentStatus, channels: dict[Channel, AgentStatus]
    ) -> None:
        self.attempt(self.desk.set_status(agent, status, channels))

    @precondition(lambda self: self.rows.offers)
    @rule(offer=some, accept=flags, other=st.just(None) | st.just(None) | few)
    def an_offer_is_answered(self, offer: int, accept: bool, other: int | None) -> None:
        self.attempt(self.desk.answer_offer(offer, accept=accept, agent=other))

    @precondition(lambda self: self.rows.open_offers())
    @rule(offer=some, how=changes_of_who_was_asked)
    def whoever_was_asked_is_another_one_now(self, offer: int, how: Change) -> None:
        """R25, R44, R93."""
        asked = self.rows.open_offers()
        agent = [each.id for each in self.desk.agents].index(asked[offer % len(asked)].agent_id)
        self.attempt(self.desk.do((how[0], agent, *how[1:])))

    @precondition(has_live_sessions)
    @rule(ticket=some)
    def an_admin_ends_a_session(self, ticket: int) -> None:
        self.a_session_is_ended(ticket, 0, False)

    @precondition(has_live_sessions)
    @rule(ticket=some, by=some, again=flags)
    def a_session_is_ended(self, ticket: int, by: int, again: bool) -> None:
        """Once, or twice (R35, R97)."""
        before, place = self.rows, self.live(ticket)
        outcomes = self.attempt(self.desk.previewed_end(place, by))
        if outcomes is not None:
            foretold, outcome = outcomes
            after = self.run(Rows.read(self.desk.world.id))
            assert foretold == outcome
            assert outcome in expected_outcomes(before, *(rows.slot(rows.tickets[place]) for rows in (before, after)))
        if again:
            self.attempt(self.desk.end(place, by))

    # Admins

    @precondition(has_tickets)
    @rule(ticket=some, agent=maybe, status=st.none() | st.none() | worked_on)
    def a_ticket_is_assigned_by_hand(self, ticket: int, agent: int | None, status: TicketStatus | None) -> None:
        """R95: also above the limit."""
        self.attempt(self.desk.assign(ticket, agent, status))

    @precondition(has_tickets)
    @rule(ticket=some, status=worked_on, by=some)
    def a_status_is_changed(self, ticket: int, status: TicketStatus, by: int) -> None:
        self.attempt(self.desk.update(ticket, {"status": status}, by))

    @precondition(has_tickets)
    @rule(change=changes_of_a_ticket)
    def a_ticket_is_changed(self, change: Change) -> None:
        self.attempt(self.desk.do(change))

    @rule(values=changed_settings)
    def the_settings_are_changed(self, values: dict[str, Any]) -> None:
        self.attempt(self.desk.change_settings(values))

    @rule(change=changes_of_capacity)
    def capacity_rules_change(self, change: Change) -> None:
        self.attempt(self.desk.do(change))

    @rule(change=changes_of_people)
    def people_change(self, change: Change) -> None:
        self.attempt(self.desk.do(change))

    # The system

    @rule(seconds=st.sampled_from([1, 10, 61, 301]))
    def time_passes(self, seconds: int) -> None:
        self.desk.passes(seconds)

    @rule()
    def offers_expire(self) -> None:
        self.run(self.desk.expire())
        after = self.run(Rows.read(self.desk.world.id))
        assert not [each for each in after.open_offers() if each.expires_at and each.expires_at <= self.desk.now]

    @rule()
    def the_router_passes(self) -> None:
        self.route()

    @rule(awake=flags)
    def the_router_wakes_or_sleeps(self, awake: bool) -> None:
        """Awake, it passes after every step, as a server does."""
        self.awake = awake


def expected_outcomes(rows: Rows, before: tuple[Any, str] | None, after: tuple[Any, str] | None) -> set[str]:
    """What an end may say of the slot that its ticket had before and has after it (rules 2.5)."""
    if not rows.omnichannel:
        return {"NOT_TRACKED"}
    if before == after:
        return {"KEPT"} if before and before[1] == "MESSAGING" else {"UNCHANGED", "NOT_CONFIGURED"}
    return {"RELEASED"} if after is None else {"MOVED_TO_EMAIL"}


OMNICHANNEL: dict[str, Any] = {"routing_mode": RoutingMode.OMNICHANNEL, "auto_accept": True}
RELEASES = OMNICHANNEL | {"count_inactive_toward_capacity": False, "route_agent_ended_sessions_as_email": False}
# Every row of the table of rules 2.5, and agents who are asked first. All else is left to chance.
BEGINNINGS: dict[str, dict[str, Any]] = {
    "released": RELEASES,
    "kept": RELEASES | {"count_inactive_toward_capacity": True},
    "as e-mail": RELEASES | {"route_agent_ended_sessions_as_email": True},
    "asked first": RELEASES | {"auto_accept": False},
    "standard": {"routing_mode": RoutingMode.STANDARD},
}


def play(machine: type[CapacityMachine], beginning: str, examples: int, **more: Any) -> None:
    """Run examples of a machine; the short run has the same ones each time."""
    begun = type(beginning, (machine,), {"beginning": BEGINNINGS[beginning], **more})
    if not LONG:
        seed(sorted(BEGINNINGS).index(beginning))(begun)
    profile = settings(
        max_examples=int(os.environ["MACHINE_EXAMPLES"]) if LONG else examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        # Shrinking takes minutes; a failure of the short run comes again in a long one.
        phases=[Phase.generate, Phase.shrink] if SHRINK else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(begun, settings=profile)


class Meddled(CapacityMachine):
    """A desk whose tables somebody edits."""

    @rule()
    def somebody_edits_a_count(self) -> None:
        self.run(self.edit())

    async def edit(self) -> None:
        await AgentAvailability.filter(account_id=self.desk.world.id).update(messaging_work=7)


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_capacity_on_sqlite(sqlite: Sqlite, beginning: str) -> None:
    """R96, and all that the machine's rules name: each example in a database of its own."""
    play_on_sqlite(sqlite, CapacityMachine, beginning)


def test_the_machine_can_fail(sqlite: Sqlite) -> None:
    """R96: a count that is edited behind the domain's back is found by the step after."""
    with pytest.raises(AssertionError, match="stored"):
        play_on_sqlite(sqlite, Meddled, "released")


def play_on_sqlite(sqlite: Sqlite, machine: type[CapacityMachine], beginning: str) -> None:
    with asyncio.Runner() as runner:

        @contextmanager
        def fresh(self: CapacityMachine) -> Iterator[None]:
            with sqlite.fresh() as url, open_in(runner, url):
                yield

        play(machine, beginning, ON_SQLITE, loop=runner, account_to_play_in=fresh)


@pytest.mark.parametrize("beginning", ["kept", "asked first"])
def test_capacity_on_postgres(postgres: Postgres, beginning: str) -> None:
    """The same: each example in an account of its own, which is faster there than a database."""
    with asyncio.Runner() as runner, postgres.fresh() as url, open_in(runner, url):
        play(CapacityMachine, beginning, ON_POSTGRES, loop=runner)


@contextmanager
def open_in(runner: asyncio.Runner, url: str) -> Iterator[None]:
    """The database, opened in the loop of a runner."""
    database = opened(url)
    runner.run(database.__aenter__())
    try:
        yield
    finally:
        runner.run(database.__aexit__(None, None, None))
