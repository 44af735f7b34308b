"""Shows what snapshots tell of an object over time: its history, or where a name is found."""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from three_backup.catalog.carriers import record_of, record_within
from three_backup.catalog.catalog import Catalog
from three_backup.catalog.stored_ids import stored_ids
from three_backup.deciding.due import Clock
from three_backup.errors import BackupError, Exit, NothingFoundError
from three_backup.listing.every_host import put
from three_backup.listing.found import Found, Search
from three_backup.listing.history import Absence, Fail, History, Moment, history
from three_backup.listing.presence import in_a_word, is_live
from three_backup.model.nearest import in_words, nearest
from three_backup.model.objects import Carrier, ObjectId, has_wildcard, matches
from three_backup.model.records import Record
from three_backup.model.schedule import host_zone
from three_backup.pipe import Invocation
from three_backup.restoring.nothing_found import SHOWN, Whereabouts
from three_backup.screen import formats
from three_backup.sources import SOURCES
from three_backup.watching import last_run

_HEADING = ("SNAPSHOT", "AGE", "SIZE", "GROWN", "NOTED")
_TYPES = tuple(source.type for source in SOURCES)
_USUAL_WIDTH = 78
_WHY = {
    Absence.GONE: "it was dropped or renamed",
    Absence.DISABLED: "it was disabled",
    Absence.UNREAD: "it could not be read",
}
_NOW = {
    True: "the last run saw it at its source",
    False: "the last run that could list its source did not see it: it is gone",
    None: "no run that is known here says whether it is still at its source",
}
_SHARED_NOW = {
    True: "the newest snapshot holds it",
    False: "the newest snapshot does not hold it: it is gone",
    None: "the newest snapshot does not say whether it is still at its source",
}


def show_history(invocation: Invocation, name: str) -> None:
    """Show the history of one object. Raises NothingFoundError where no snapshot holds it."""
    fail, catalogs, found = _failing(invocation), invocation.catalogs, list[History]()
    if not has_wildcard(name) and Carrier(name).is_object:
        found = list(_histories(catalogs, ObjectId.parse(name), fail))
    if not found and invocation.status is Exit.OK:
        raise _unheld(catalogs, name)
    last = last_run.read(invocation.configuration.run.local_dir)
    for known in found:
        newest = known.moments[-1].absent
        in_newest = newest is None or (False if newest is Absence.GONE else None)
        live = is_live(known.carrier, last, in_newest=in_newest)
        steps = [_step(moment) for moment in known.moments]
        put(
            invocation,
            record_within(known.carrier, known.object, history=steps, **_live(live=live)),
        )
        if not invocation.json:
            clock = Clock(invocation.clock(), host_zone(os.environ))
            invocation.write(_history(known, clock, invocation.width, live=live))


def show_found(invocation: Invocation, name: str, catalogs: Sequence[Catalog]) -> None:
    """Show where a name is found. Raises NothingFoundError where no snapshot holds it."""
    fail = _failing(invocation)
    last = last_run.read(invocation.configuration.run.local_dir)
    search = Search(name, invocation.patterns, last)
    found = [hit for catalog in catalogs for hit in search.among(catalog, _TYPES, fail)]
    if not found and invocation.status is Exit.OK:
        raise _unheld(catalogs, name)
    for hit in found:
        put(invocation, _record(hit))
    if found and not invocation.json:
        invocation.write(_found(found, invocation.clock(), invocation.width))


def _failing(invocation: Invocation) -> Fail:
    def fail(carrier: Carrier, error: BackupError) -> None:
        put(invocation, invocation.fail(record_of(carrier), error))

    return fail


def _histories(catalogs: Sequence[Catalog], object_id: ObjectId, fail: Fail) -> Iterator[History]:
    for catalog in catalogs:
        for carrier in catalog.carriers(object_id.type):
            if not carrier.is_object or carrier == str(object_id):
                found = history(catalog, carrier, object_id, fail)
                if found is not None:
                    yield found


def _unheld(catalogs: Sequence[Catalog], name: str) -> NothingFoundError:
    ids = stored_ids(catalogs, _TYPES)
    meant = [held for held in ids if matches(name, held)] or nearest(name, ids)
    sentence = f"{name}: no snapshot holds an object of that name"
    return Whereabouts(catalogs).not_found("list.not_found", sentence, in_words(meant) or SHOWN)


def _live(*, live: bool | None) -> dict[str, bool]:
    return {} if live is None else {"live": live}


def _step(moment: Moment) -> dict[str, Any]:
    told = {"snapshot": str(moment.snapshot)}
    if moment.absent is not None:
        return {**told, "absent": moment.absent}
    return {**told, "size": moment.size, "changed": list(moment.changed)}


def _record(hit: Found) -> Record:
    found = {"first": str(hit.first), "last": str(hit.last), "snapshots": hit.count}
    of_another_host = {"s3_prefix": hit.prefix} if hit.prefix is not None else {}
    return record_within(
        hit.carrier, hit.object, found=found, **_live(live=hit.live), **of_another_host
    )


def _history(known: History, clock: Clock, width: int | None, *, live: bool | None) -> str:
    own = "" if known.carrier == str(known.object) else f"\nin {known.carrier}"
    table = formats.table([_HEADING, *_rows(known, clock.now)], frozenset({1, 2, 3}), width)
    lines = [
        formats.wrapped(line, width or _USUAL_WIDTH)
        for line in _sentences(known, clock, live=live)
    ]
    return f"{known.object}{own}\n\n{table}\n" + "\n".join(lines) + "\n"


def _rows(known: History, now: datetime) -> Iterator[list[str]]:
    before: int | None = None
    for absent, group in groupby(known.moments, key=lambda moment: moment.absent):
        for moment in group:
            old = formats.age(moment.snapshot.time, now)
            if absent is not None:  # those that follow are counted in a sentence
                yield [str(moment.snapshot), old, "-", "-", "not in it"]
                break
            noted = "changed" if moment.changed else "" if before is not None else "the first"
            size, grown = formats.size(moment.size), _grown(moment.size, before)
            yield [str(moment.snapshot), old, size, grown, noted]
            before = moment.size


def _grown(size: int, before: int | None) -> str:
    if before is None or size == before:
        return ""
    return f"{'+' if size > before else '-'}{formats.size(abs(size - before))}"


def _sentences(known: History, clock: Clock, *, live: bool | None) -> Iterator[str]:
    before = known.moments[0].snapshot
    for absent, group in groupby(known.moments, key=lambda moment: moment.absent):
        moments = list(group)
        if absent is None:
            for moment in moments:
                if moment.changed:
                    yield f"{moment.snapshot}: changed: {', '.join(moment.changed)}"
            before = moments[-1].snapshot
            continue
        later = f" and {len(moments) - 1} after it" if len(moments) > 1 else ""
        verb = "do" if later else "does"
        since, until = clock.shown(before.time), clock.shown(moments[0].snapshot.time)
        yield (
            f"{moments[0].snapshot}{later} {verb} not hold it: {_WHY[absent]} between {since} "
            f"and {until}"
        )
    yield _NOW[live] if known.carrier.is_object else _SHARED_NOW[live]


def _found(found: Sequence[Found], now: datetime, width: int | None) -> str:
    hosts = any(hit.prefix is not None for hit in found)
    heading = ["OBJECT", *(["HOST"] if hosts else ()), "SNAPSHOTS", "FIRST", "LAST", "NOW"]
    rows = [
        [
            str(hit.object),
            *([hit.prefix or "this one"] if hosts else ()),
            str(hit.count),
            formats.age(hit.first.time, now),
            formats.age(hit.last.time, now),
            in_a_word(live=hit.live),
        ]
        for hit in found
    ]
    numbers = frozenset(range(1 + hosts, 4 + hosts))
    return formats.table([heading, *rows], numbers, width)
