"""Foretells how long a restore takes, out of how long others took. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import log

from three_backup.model.objects import Carrier

_SMALL = 16 << 20
"""Bytes up to which the size makes no difference: starting and ending take the time."""

_FARTHEST = 10
"""How many times larger than what is known a restore may be to be foretold."""


class Way(StrEnum):
    """The kind of a restore; one kind tells nothing of another."""

    OBJECTS = "objects"
    MOMENT = "moment"  # of a moment between snapshots
    WHOLE = "whole"  # of a server, into a folder


@dataclass(frozen=True, slots=True)
class Experience:
    """A restore or a drill that succeeded."""

    carrier: Carrier
    way: Way
    moved: int  # bytes
    seconds: float
    time: datetime  # when it ended
    is_drill: bool = False


@dataclass(frozen=True, slots=True)
class Foretold:
    """The time that a restore will take, and the one that told it."""

    seconds: float
    like: Experience


def foretold(
    carrier: Carrier, way: Way, count: int, known: Sequence[Experience]
) -> Foretold | None:
    """Return how long it takes to restore so many bytes of a carrier; None if nobody knows.

    What is known of the carrier itself goes before what is known of its source.
    """
    alike = [each for each in known if each.way is way and each.carrier.type == carrier.type]
    own = [each for each in alike if each.carrier == carrier]
    return _foretold(count, own) or _foretold(count, alike)


def _foretold(count: int, known: Sequence[Experience]) -> Foretold | None:
    if not known:
        return None
    size = max(count, _SMALL)
    like = min(known, key=lambda each: (abs(log(size / _size(each))), -each.time.timestamp()))
    times = size / _size(like)
    if times > _FARTHEST:
        return None
    return Foretold(like.seconds * times, like)


def _size(experience: Experience) -> int:
    return max(experience.moved, _SMALL)
