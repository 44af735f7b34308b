"""tb-keep - hold snapshots, whatever retention says

Usage:
  tb-keep [options]
  tb-keep [options] PATTERN [SNAPSHOT]...

Options:
      --until TIME     until then, or for so long: 2026-12-24, 30d; without it, for ever
      --reason TEXT    why, for whoever asks later
      --release        let retention decide again
      --store NAME     hold and release the copies in this further store
      --json           records instead of a table
  -c, --config FILE    the configuration
      --env-file FILE  PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help           show this
      --version        show the version

Holds the newest snapshot that can be restored of what PATTERN selects, an id, a glob or a carrier,
or each SNAPSHOT, with all that it needs. Released are these, or all that are held. Without PATTERN
the holds are listed. TIME is RFC 3339, or 2026-12-24 or 2026-12-24 18:00 in the host's time zone.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import groupby
from operator import itemgetter
from typing import Any, Self

from three_backup import pipe
from three_backup.catalog.carriers import record_of
from three_backup.catalog.catalog import Catalog
from three_backup.catalog.holds import Hold, one_line
from three_backup.catalog.snapshot import Snapshot
from three_backup.config.options import duration
from three_backup.errors import BackupError, UsageError, readable
from three_backup.keeping.locked import lock_held
from three_backup.model.local_time import local, parsed
from three_backup.model.records import Record
from three_backup.model.schedule import host_zone
from three_backup.model.snapshots import SnapshotId
from three_backup.pipe import Invocation
from three_backup.restoring.held_snapshots import Wanted, held_by, nothing_to_hold, to_hold
from three_backup.s3.mended import FIRST, called
from three_backup.screen import formats

_RELEASED = "released"
_HEADING = ("SNAPSHOT", "UNTIL", "REASON")


@dataclass(frozen=True, slots=True)
class Args:
    wanted: Wanted | None  # None: the holds are listed
    until: datetime | None
    reason: str
    release: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any], zone: tzinfo, now: datetime) -> Self:
        pattern, until = arguments["PATTERN"], arguments["--until"]
        words = [name for name in ("--until", "--reason") if arguments[name] is not None]
        if arguments["--release"] and words:
            raise UsageError("usage", f"--release and {words[0]} exclude one another", "give one")
        if pattern is None and (words or arguments["--release"]):
            raise UsageError("usage", "nothing is named", "say which: an id, a glob or a carrier")
        snapshots = tuple(map(_snapshot, arguments["SNAPSHOT"]))
        return cls(
            wanted=None if pattern is None else Wanted(readable(pattern), snapshots),
            until=None if until is None else _until(until, zone, now),
            reason=one_line(readable(arguments["--reason"] or "")),
            release=bool(arguments["--release"]),
        )


@dataclass(frozen=True, slots=True)
class _Row:
    record: Record
    hold: Hold | None = None  # None: the record failed
    state: str = ""  # ended, gone or released


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> None:
    zone = host_zone(os.environ)
    args = Args.of(invocation.arguments, zone, invocation.clock())
    invocation.warn()
    catalogs = _catalogs(invocation)
    for catalog in catalogs:
        _ = catalog.bucket  # raises without a bucket: holds lie in S3
    if args.wanted is None:
        rows = list(_listed(invocation, list(catalogs)))
    elif args.release:
        rows = list(_released(invocation, catalogs, args.wanted))
    else:
        rows = list(_held(invocation, list(catalogs), args, args.wanted))
    if not rows:
        invocation.say("no snapshot is held")
    elif invocation.json:
        for row in rows:
            invocation.emit(row.record)
    else:
        _show(invocation, rows, zone)


def _catalogs(invocation: Invocation) -> dict[Catalog, Catalog]:
    """Return the catalogs to work on, each with that of the first store."""
    store, invocation.store = invocation.store, None  # what it names is written, not only read
    return {
        invocation.copies(store, first.storage) if store else first: first
        for first in invocation.catalogs
    }


def _held(
    invocation: Invocation, catalogs: Sequence[Catalog], args: Args, wanted: Wanted
) -> Iterator[_Row]:
    found = to_hold(catalogs, wanted)
    if not found:
        raise nothing_to_hold(catalogs, wanted.pattern)
    for snapshot in found:
        hold = Hold(snapshot.carrier, snapshot.id, args.until, args.reason)

        def act(record: Record, snapshot: Snapshot = snapshot, hold: Hold = hold) -> Record:
            with snapshot.undisturbed():
                snapshot.require()
                snapshot.catalog.claim(renew=False)
                snapshot.catalog.holds.put(hold)
                lock_held(snapshot.catalog, snapshot.carrier, snapshot.id, hold.until)
            return _placed(_kept(record, hold), snapshot.catalog)

        record = invocation.attempt(record_of(snapshot.carrier), act)
        yield _Row(record, None if record.failed else hold)


def _released(
    invocation: Invocation, catalogs: Mapping[Catalog, Catalog], wanted: Wanted
) -> Iterator[_Row]:
    for catalog, carrier, snapshot in held_by(list(catalogs), wanted):
        hold = Hold(carrier, snapshot)

        def act(record: Record, catalog: Catalog = catalog, hold: Hold = hold) -> Record:
            catalog.claim(renew=False)
            catalog.holds.remove(hold.carrier, hold.snapshot)
            return _placed(record.with_fields(released=str(hold.snapshot)), catalog)

        record = invocation.attempt(record_of(carrier), act)
        yield _Row(record, None if record.failed else hold, _RELEASED)
        for sentence in () if record.failed else _still_held(invocation, catalogs[catalog], hold):
            invocation.say(sentence)


def _still_held(invocation: Invocation, first: Catalog, hold: Hold) -> Iterator[str]:
    """Yield a sentence for each other store in which a released snapshot stays held."""
    store, snapshot = invocation.arguments["--store"], f"{hold.carrier}: {hold.snapshot}"
    for name in [None] if store else invocation.configuration.copied_to:
        try:
            other = invocation.copies(name, first.storage) if name else first
            held = hold.snapshot in other.holds.snapshots(hold.carrier)
        except BackupError as error:
            yield f"{snapshot} may stay held in {called(name or FIRST)}: {error}"
            continue
        if held and name:
            command = f"tb-keep --release --store {name} {hold.carrier} {hold.snapshot}"
            yield f"{snapshot} stays held in {called(name)}; {command} releases it there"
        elif held:
            yield f"{snapshot} is held in S3, so that the next tb-copy holds its copy again"


def _listed(invocation: Invocation, catalogs: Sequence[Catalog]) -> Iterator[_Row]:
    now = invocation.clock()
    for catalog in catalogs:
        for carrier in catalog.holds.carriers():
            try:
                holds = catalog.holds.of(carrier)
                there = {stored.id for stored in catalog.snapshots(carrier)} if holds else set()
            except BackupError as error:
                yield _Row(invocation.fail(record_of(carrier), error))
                continue
            for hold in holds:
                state = "gone" if hold.snapshot not in there else ""
                state = "ended" if hold.has_ended(now) else state
                record = _placed(_kept(record_of(carrier), hold, state), catalog)
                yield _Row(record, hold, state)


def _kept(record: Record, hold: Hold, state: str = "") -> Record:
    marked = {"snapshot": str(hold.snapshot), **hold.how}
    return record.with_fields(kept={**marked, "state": state} if state else marked)


def _placed(record: Record, catalog: Catalog) -> Record:
    store = catalog.storage.store
    return record.with_fields(store=store) if store else record


def _show(invocation: Invocation, rows: Sequence[_Row], zone: tzinfo) -> None:
    """Show the table; what failed was said."""
    cells = [(row.record.carrier, *_cells(row, row.hold, zone)) for row in rows if row.hold]
    if cells:
        invocation.write(_table(cells, invocation.width))
    for row in rows:
        invocation.count(row.record)


def _cells(row: _Row, hold: Hold, zone: tzinfo) -> tuple[str, str, str]:
    """Return the snapshot, until when it is held, and why."""
    until = local(hold.until, zone) if hold.until else "for ever"
    marked = f"{until}, {row.state}" if row.state else until
    return f"  {hold.snapshot}", _RELEASED if row.state == _RELEASED else marked, hold.reason


def _table(cells: Sequence[tuple[str, str, str, str]], width: int | None) -> str:
    """Return the holds by carrier. In a narrow terminal the reasons stand below the snapshots."""
    names, times, reasons = (max(len(cell[column]) for cell in cells) for column in (1, 2, 3))
    beside = width is None or names + times + reasons + 4 <= width
    shown: list[tuple[str, str, str]] = [_HEADING if beside else ("SNAPSHOT", "UNTIL", "")]
    for carrier, group in groupby(cells, key=itemgetter(0)):
        shown.append((carrier, "", ""))
        for _, name, until, reason in group:
            shown.append((name, until, reason if beside else ""))
            if reason and not beside:
                shown.append((f"    {reason}", "", ""))
    return formats.table(shown, width=width)


def _snapshot(text: str) -> SnapshotId:
    snapshot = SnapshotId.parse(text)
    if snapshot is None:
        hint = "give one as tb-list --snapshots prints it"
        raise UsageError("keep.snapshot", f"{text!r} is not a snapshot", hint)
    return snapshot


def _until(text: str, zone: tzinfo, now: datetime) -> datetime:
    """Convert what --until says, to UTC and whole seconds."""
    hint = "write 30d, 2026-12-24T18:00:00Z, or 2026-12-24 18:00 for the host's time zone"
    try:
        time = now + duration(text) if text[-1:] in "smhd" else parsed(text, zone)
        time = time.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError) as error:
        raise UsageError("keep.until", f"{text!r} is not a time", hint) from error
    if time <= now:
        raise UsageError("keep.until", f"{text} is over", hint)
    return time
