"""Watches the records of a restore: foretells how long it takes, or learns how long it took."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from three_backup.catalog.catalog import Catalog
from three_backup.model.objects import Carrier
from three_backup.model.records import Record
from three_backup.restoring import experience
from three_backup.restoring.foretelling import Experience, Foretold, Way, foretold

_MOST_DRILLS, _MOST_OF_ONE = 20, 3
"""How many drills are asked for, each by a request; and how many of one carrier."""

_Subject = tuple[Carrier, str, Way]
"""What is restored together: objects of one snapshot."""


class Foresight:
    """How long restores take on this host."""

    def __init__(self, folder: Path) -> None:
        """folder: the local_dir."""
        self._folder = folder
        self._known: list[Experience] | None = None
        self._asked: Counter[Carrier] = Counter()
        self._bytes: Counter[_Subject] = Counter()
        self._seconds: dict[_Subject, float] = {}

    def seen(self, record: Record, catalog: Catalog) -> Record:
        """Learn from a record of what came back; return one of a dry run with its seconds."""
        if "restored" in record.fields:
            self._restored(record)
            return record
        return self._planned(record, catalog)

    def remember(self, now: datetime) -> None:
        """Keep what was learnt on this host."""
        if self._seconds:
            experience.remember(self._folder, self._learnt(now))

    def words(self, zone: tzinfo) -> str:
        """Tell a person how long all that was planned takes, and how that is known."""
        each = [self._foretold(subject, count) for subject, count in self._bytes.items()]
        known = [found for found in each if found is not None]
        if not known:
            return "unknown: nothing like it was restored yet"
        seconds = sum(found.seconds for found in known)
        if len(known) < len(each):
            return f"more than {_roughly(seconds)}: some of it was never restored yet"
        longest = max(known, key=lambda found: found.seconds)
        return f"about {_roughly(seconds)}, {_as(longest.like, self._bytes, zone)}"

    def _planned(self, record: Record, catalog: Catalog) -> Record:
        plan = record.fields["would_restore"]
        subject = _subject(record, plan)
        self._bytes[subject] += plan["bytes_read"]
        self._ask_drills(record, catalog)
        found = self._foretold(subject, plan["bytes_read"])
        if found is None:
            return record
        return record.with_fields(would_restore={**plan, "seconds": round(found.seconds, 1)})

    def _restored(self, record: Record) -> None:
        done = record.fields["restored"]
        subject = _subject(record, done)
        self._bytes[subject] += done.get("bytes_read", 0)
        self._seconds[subject] = max(done["seconds"], self._seconds.get(subject, 0.0))

    def _foretold(self, subject: _Subject, count: int) -> Foretold | None:
        if self._known is None:
            self._known = experience.read(self._folder)
        carrier, _, way = subject
        return foretold(carrier, way, count, self._known)

    def _ask_drills(self, record: Record, catalog: Catalog) -> None:
        carrier = record.carrier
        asked = self._asked
        if "subtype" not in record.fields or asked.total() >= _MOST_DRILLS:
            return
        if asked[carrier] < _MOST_OF_ONE:
            asked[carrier] += 1
            known = self._known if self._known is not None else experience.read(self._folder)
            self._known = [*known, *experience.of_drill(catalog, carrier, record.object)]

    def _learnt(self, now: datetime) -> Iterator[Experience]:
        for subject, seconds in self._seconds.items():
            carrier, _, way = subject
            yield Experience(carrier, way, self._bytes[subject], seconds, now)


def _subject(record: Record, told: dict[str, Any]) -> _Subject:
    way = Way.OBJECTS if "subtype" in record.fields else Way.WHOLE
    return record.carrier, told["snapshot"], Way.MOMENT if "moment" in told else way


def _as(like: Experience, wanted: Counter[_Subject], zone: tzinfo) -> str:
    what = "drill" if like.is_drill else "restore"
    own = any(carrier == like.carrier for carrier, _, _ in wanted)
    which = f"the {what}" if own else f"another {what} of {like.carrier.type}"
    return f"as fast as {which} on {like.time.astimezone(zone):%Y-%m-%d}"


def _roughly(seconds: float) -> str:
    """Format seconds in one unit, or hours and minutes."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"
