"""Same question, same viewers: told once.

Member   one subscription of one connection; the transports make them
Cohort   the members that are told the same, at the same place of the log
Index    which cohorts an event may concern, without looking at any other
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from domain.actors import Actor
from models import Event, EventType, Ticket
from subscriptions.callers import Caller
from subscriptions.questions import Key, Question, keys_of
from subscriptions.telling import Telling
from subscriptions.viewers import Reach, Viewers, reaches_of

QUEUE = 256
"""How many tellings wait for a member whose connection takes no more. They wait in the log, not in memory."""


class Member(ABC):
    """One subscription. Between `join` and its end it is in one cohort, or parked."""

    __slots__ = ("caller", "cohort", "parked_at", "question", "since")

    def __init__(self, caller: Caller, question: Question) -> None:
        self.caller = caller
        self.question = question
        self.cohort: Cohort | None = None
        self.since = 0
        """The position of the last event that it was told, or of where it began."""
        self.parked_at: int | None = None
        """Where to go on when its connection takes more."""

    @abstractmethod
    def tell(self, telling: Telling) -> bool:
        """Send it. Returns whether the connection takes more."""

    @abstractmethod
    def end(self, errors: list[dict[str, Any]]) -> None:
        """The stream is over; say why. The member is in no cohort any more."""


class Cohort:
    """See the module. A late one catches up with the log: `position` is how far its members have been told."""

    __slots__ = ("is_late", "members", "parked", "position", "question", "state", "told", "viewers")

    def __init__(self, question: Question, viewers: Viewers, position: int = 0, *, is_late: bool = False) -> None:
        self.question = question
        self.viewers = viewers
        self.position = position
        self.is_late = is_late
        self.state: Any = question.topic.state()
        self.members: set[Member] = set()
        self.parked: dict[Member, int] = {}
        self.told = 0

    @property
    def is_empty(self) -> bool:
        return not (self.members or self.parked)

    def add(self, member: Member, since: int) -> None:
        member.cohort, member.since, member.parked_at = self, since, None
        self.members.add(member)

    def discard(self, member: Member) -> None:
        self.members.discard(member)
        self.parked.pop(member, None)
        member.cohort = None

    def park(self, member: Member, position: int) -> None:
        """Its connection is full. What it misses is found in the log, from this position on."""
        self.members.discard(member)
        self.parked[member] = self.told
        member.parked_at = position

    def overflown(self) -> list[Member]:
        """Those that miss too much by now."""
        return [member for member, told in self.parked.items() if self.told - told > QUEUE] if self.parked else []

    def tell(self, members: Iterable[Member], tellings: Sequence[Telling], position: int) -> None:
        """Tell these of the members what an event at this position brings them."""
        *first, last = tellings
        for member in members:
            if member.cohort is not self or member.parked_at is not None:
                continue  # it left meanwhile
            if first and not all(map(member.tell, first)):
                # The cursors of all items but the last resume before the event.
                self.park(member, position - 1)
                continue
            member.since = position
            if not member.tell(last):
                self.park(member, position)


class Index:
    """The cohorts that are told what happens as it happens, by what an event can match."""

    def __init__(self) -> None:
        self._cohorts: dict[tuple[Question, Viewers], Cohort] = {}
        self._by_match: defaultdict[tuple[Key, Reach | None], dict[Cohort, None]] = defaultdict(dict)
        self._keys: Counter[Key] = Counter()
        self._personal: set[tuple[Question, Viewers]] = set()

    def viewers(self, question: Question, actor: Actor) -> Viewers:
        """With whom this actor is told the same: alone, if an answer to his like has asked who somebody is."""
        viewers = Viewers.of(actor)
        return Viewers.of(actor, personal=True) if (question, viewers) in self._personal else viewers

    def part(self, cohort: Cohort) -> None:
        """An answer to this cohort has asked who somebody is. Found out when it happens, and not forgotten."""
        self._personal.add((cohort.question, cohort.viewers))

    def __iter__(self) -> Iterator[Cohort]:
        return iter(self._cohorts.values())

    def __len__(self) -> int:
        return len(self._cohorts)

    def cohort(self, question: Question, viewers: Viewers) -> Cohort:
        """The cohort of these, made if there is none."""
        cohort = self._cohorts.get((question, viewers))
        if cohort is None:
            cohort = self._cohorts[question, viewers] = Cohort(question, viewers)
            self._keys.update(question.topic.keys)
            for match in _matches(cohort):
                self._by_match[match][cohort] = None
        return cohort

    def drop(self, cohort: Cohort) -> None:
        """Forget a cohort that has nobody left."""
        if self._cohorts.get((cohort.question, cohort.viewers)) is not cohort:
            return
        del self._cohorts[cohort.question, cohort.viewers]
        for key in cohort.question.topic.keys:
            self._keys[key] -= 1
            if not self._keys[key]:
                del self._keys[key]
        for match in _matches(cohort):
            self._by_match[match].pop(cohort, None)
            if not self._by_match[match]:
                del self._by_match[match]

    def may_concern(self, event: Event) -> bool:
        """Whether any cohort asks for events like this one, wherever in the account they happen."""
        return any(self._keys[key] for key in keys_of(event))

    def concerned(self, event: Event, now: Ticket | None) -> list[Cohort]:
        """Those that may have to be told of an event, equal questions together."""
        found: dict[Cohort, None] = {}
        reaches: list[Reach | None] = [None, *sorted(reaches_of(event, now), key=str)]
        for key in keys_of(event):
            for reach in reaches:
                found |= self._by_match.get((key, reach), {})
        return sorted(found, key=lambda cohort: id(cohort.question))


def _matches(cohort: Cohort) -> list[tuple[Key, Reach | None]]:
    topic = cohort.question.topic
    reaches: list[Reach | None] = list(cohort.viewers.reaches()) if topic.by_reach else [None]
    return [(key, reach) for key in topic.keys for reach in reaches]


def matches(cohort: Cohort, event: Event) -> bool:
    """Whether a cohort may have to be told of an event. Whom it reaches, its answer decides."""
    topic = cohort.question.topic
    if event.type is EventType.AGENT_ACCESS_CHANGED:
        return topic.heeds_access and event.payload["user"] == str(cohort.viewers.person)
    return any(key in topic.keys for key in keys_of(event))
