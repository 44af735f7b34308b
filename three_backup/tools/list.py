"""tb-list - show the objects, how far they have come, and their snapshots

Usage:
  tb-list [--select PATTERN]... [options]

Options:
  -s, --select PATTERN  only objects whose id matches; may be repeated
      --stages          with stage and max_stage
      --snapshots       with every snapshot and the moments between them
      --drills          with when each was last proved by tb-verify
      --stored          what the snapshots hold instead of what the sources hold
      --s3-prefix NAME  with --stored: of another host, below its s3_prefix
      --json            records instead of a table
  -c, --config FILE     the configuration
      --env-file FILE   PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help            show this
      --version         show the version

Reads records where standard input is a pipe or a file; else it discovers by itself.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Self

from three_backup import pipe
from three_backup.catalog.carriers import record_of
from three_backup.catalog.catalog import Catalog
from three_backup.catalog.hollow import look
from three_backup.catalog.hollow_memory import filled
from three_backup.deciding import discovery
from three_backup.deciding.due import Clock
from three_backup.deciding.holding import outlook, unsupported
from three_backup.errors import BackupError
from three_backup.keeping import moments
from three_backup.model.objects import Carrier, selected
from three_backup.model.records import Record
from three_backup.model.schedule import host_zone
from three_backup.pipe import Invocation, is_stored, translated
from three_backup.restoring.nothing_found import Whereabouts
from three_backup.screen import formats
from three_backup.screen.terminal import Colour, painted
from three_backup.sources import SOURCES
from three_backup.sources.logged import Log
from three_backup.watching.proved import Proved
from three_backup.watching.snapshot_table import snapshot_table

_RIGHT = frozenset({2})
_TOO_LARGE = 1 << 64
_STAGES = ("stage", "max_stage", "disabled")


@dataclass(frozen=True, slots=True)
class Args:
    stages: bool
    snapshots: bool
    drills: bool
    stored: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        return cls(
            stages=bool(arguments["--stages"]),
            snapshots=bool(arguments["--snapshots"]),
            drills=bool(arguments["--drills"]),
            stored=is_stored(arguments),
        )


@dataclass(frozen=True, slots=True)
class _Listed:
    carrier: Carrier
    records: Sequence[Record]
    snapshots: Sequence[Mapping[str, Any]]
    log: Log | None = None  # which moments between them can be restored


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> None:
    args = Args.of(invocation.arguments)
    if not invocation.is_piped:
        invocation.warn()
    if args.stored and (empty := Whereabouts(invocation.catalogs).nothing):
        invocation.say(str(empty))
        return
    groups = groupby(_records(invocation, stored=args.stored), key=lambda record: record.carrier)
    proved = Proved(invocation.clock())
    listed = (
        _look_up(invocation, args, proved, carrier, list(group)) for carrier, group in groups
    )
    if invocation.json:
        for entry in listed:
            for record in entry.records:
                invocation.emit(_with_snapshots(record, entry))
    else:
        _show(invocation, args, list(listed), proved)


def _records(invocation: Invocation, *, stored: bool) -> Iterator[Record]:
    if stored:
        types = [source.type for source in SOURCES]
        found = discovery.stored(invocation.patterns, invocation.catalogs, types)
        yield from _failed(invocation, found)
    elif invocation.is_piped:
        for record in invocation.records():
            if record.failed or selected(invocation.patterns, record.id):
                yield record
    else:
        live = discovery.live(invocation.patterns, invocation.configuration, invocation.say)
        yield from _failed(invocation, live)


def _failed(
    invocation: Invocation, found: Iterable[tuple[Record, BackupError | None]]
) -> Iterator[Record]:
    for record, error in found:
        yield record if error is None else invocation.fail(record, error)


def _look_up(
    invocation: Invocation,
    args: Args,
    proved: Proved,
    carrier: Carrier,
    records: Sequence[Record],
) -> _Listed:
    """Add what the options ask for to the records of a carrier."""
    live = [record for record in records if not record.failed and not record.unsupported]
    if not live:
        shown = [unsupported(given) if given.unsupported else given for given in records]
        return _Listed(carrier, shown, ())
    settings = invocation.configuration.settings(live[0].object)
    catalog = invocation.catalog(settings.storage)
    errors: list[BackupError] = []
    if args.stages:
        catalog.list_everything()
        with _collected(errors):
            records = _with_stages(invocation, catalog, carrier, records)
    if args.drills:
        records = proved.shown(catalog, records)
    now = invocation.clock()
    snapshots, log = _snapshots(catalog, carrier, now, errors) if args.snapshots else ([], None)
    failed = (invocation.fail(record_of(carrier), error) for error in errors)
    # --stored told of the same manifests.
    new = [failure for failure in failed if failure not in records]
    return _Listed(carrier, [*records, *new], snapshots, log)


def _snapshots(
    catalog: Catalog, carrier: Carrier, now: datetime, errors: list[BackupError]
) -> tuple[Sequence[Mapping[str, Any]], Log | None]:
    snapshots, hollow, held, found, log = catalog.snapshots(carrier), {}, {}, [], None
    with _collected(errors):
        held = catalog.holds.in_force(carrier, now)
    with _collected(errors):
        hollow = look(catalog, carrier, [stored.id for stored in snapshots if stored.s3])
    missing = discovery.missing_of(carrier, snapshots, hollow)
    for stored in snapshots:
        with _collected(errors):
            manifest = catalog.manifest(carrier, stored)
            found.append(
                discovery.describe(stored, manifest, missing, hollow, held.get(stored.id))
            )
    with _collected(errors):
        log = moments.log_of(catalog, carrier, filled(snapshots, hollow))
    return found, log


@contextmanager
def _collected(errors: list[BackupError]) -> Iterator[None]:
    """Collect failures, so that those of one carrier do not stop the others."""
    try:
        with translated():
            yield
    except BackupError as error:
        errors.append(error)


def _with_stages(
    invocation: Invocation, catalog: Catalog, carrier: Carrier, records: Sequence[Record]
) -> list[Record]:
    """Add stages to the records; planned ones keep the stage that the plan gave them."""
    configuration = invocation.configuration
    ahead = outlook(carrier, records, configuration, catalog, invocation.clock())
    shown = []
    for record in records:
        if not record.failed and not record.planned:
            planned = ahead.planned(record, configuration.settings(record.object)).fields
            named = {name: planned[name] for name in _STAGES if name in planned}
            record = record.with_fields(**named)
        shown.append(record)
    return shown


def _with_snapshots(record: Record, entry: _Listed) -> Record:
    if record.failed or not entry.snapshots:
        return record
    known = {} if entry.log is None else {"moments": moments.described(entry.log)}
    return record.with_fields(snapshots=entry.snapshots, **known)


def _show(invocation: Invocation, args: Args, listed: Sequence[_Listed], proved: Proved) -> None:
    records = [record for entry in listed for record in entry.records]
    if not records:
        here = "; without records it lists by itself: tb-list < /dev/null"
        invocation.say(f"there is nothing to list{here if invocation.is_piped else ''}")
        return
    columns = _columns(args, proved)
    rows = [[cell(record) for cell in columns.values()] for record in records]

    def paint(row: int, line: str) -> str:
        failed = row > 0 and records[row - 1].failed
        return painted(line, Colour.RED if failed else None, coloured=invocation.coloured)

    invocation.write(formats.table([list(columns), *rows], _RIGHT, invocation.width, paint))
    clock = Clock(invocation.clock(), host_zone(os.environ))
    known = ((entry.carrier, entry.snapshots) for entry in listed)
    if snapshots := snapshot_table(known, clock, invocation.width):
        invocation.write(f"\n{snapshots}")
    for entry in listed:
        if entry.log is not None:
            told = moments.sentences(entry.log, clock.zone)
            lines = (entry.carrier, *(f"  {line}" for line in told))
            invocation.write("\n" + "\n".join(lines) + "\n")
    for record in records:
        invocation.count(record)


def _columns(args: Args, proved: Proved) -> dict[str, Callable[[Record], str]]:
    """Return the columns: by its heading, what each shows of a record."""
    columns: dict[str, Callable[[Record], str]] = {
        "OBJECT": lambda record: record.id,
        "KIND": _kind,
        "SIZE": _size,
    }
    if args.stages:
        columns["STAGE"] = lambda record: record.fields["stage"] if _has(record, "stage") else ""
        columns["MAX STAGE"] = _bound
    if args.drills:
        columns["PROVED"] = proved.age
    return columns


def _has(record: Record, field: str) -> bool:
    """Return whether to show a field: of a failed record only the failure is shown."""
    return not record.failed and field in record.fields


def _kind(record: Record) -> str:
    fields = record.fields
    if record.failed:
        return "failed"
    kind = str(fields.get("kind", fields.get("subtype", "")))
    if "data" in fields:  # definitions only, say: nobody should find that out too late
        kind = f"{kind}, {fields['data']}"
    return f"{kind}, not supported yet" if record.unsupported else kind


def _size(record: Record) -> str:
    """Format the size; empty where the record's value is no number of bytes."""
    size = record.fields["size"] if _has(record, "size") else None
    return formats.size(size) if isinstance(size, int) and 0 <= size < _TOO_LARGE else ""


def _bound(record: Record) -> str:
    if _has(record, "disabled"):
        return "disabled"
    return str(record.fields["max_stage"]) if _has(record, "max_stage") else ""
