"""What can be wrong with a stream, as pure functions of what was written and what was delivered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def lost(written: Sequence[K], delivered: Sequence[K]) -> list[K]:
    """What was written and never delivered."""
    arrived = set(delivered)
    return [each for each in written if each not in arrived]


def repeated(delivered: Sequence[K]) -> list[K]:
    """What was delivered more than once."""
    return [each for each, count in Counter(delivered).items() if count > 1]


def out_of_order(written: Sequence[K], delivered: Sequence[K]) -> list[K]:
    """What was delivered after something that was written later."""
    places = {each: place for place, each in enumerate(written)}
    wrong, highest = [], -1
    for each in delivered:
        place = places.get(each, highest)
        if place < highest:
            wrong.append(each)
        highest = max(highest, place)
    return wrong


def phantom(written: Sequence[K], delivered: Sequence[K]) -> list[K]:
    """What was delivered and never written, or not for this reader."""
    known = set(written)
    return [each for each in delivered if each not in known]


def faults(written: Sequence[K], delivered: Sequence[K]) -> dict[str, list[K]]:
    """All that is wrong, by name; empty for a faultless stream."""
    found = {
        "lost": lost(written, delivered),
        "repeated": repeated(delivered),
        "out_of_order": out_of_order(written, delivered),
        "phantom": phantom(written, delivered),
    }
    return {name: what for name, what in found.items() if what}
