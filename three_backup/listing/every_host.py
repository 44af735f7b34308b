"""Shows what every host of a bucket stored: a line for each carrier."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.every_host import other_hosts
from three_backup.deciding import discovery
from three_backup.errors import BackupError, UnreachableError
from three_backup.model.objects import Carrier, selected
from three_backup.model.records import Record, of_source
from three_backup.pipe import Invocation
from three_backup.restoring.unmatched import Selection, in_catalogs, reported
from three_backup.screen import formats
from three_backup.sources import SOURCES
from three_backup.watching.overview import objects_of

_HEADING = ("HOST", "CARRIER", "SNAPSHOTS", "FIRST", "LAST")
_NUMBERS = frozenset({2, 3, 4})
_TYPES = tuple(source.type for source in SOURCES)


class Line(NamedTuple):
    """A carrier of a host, and its snapshots."""

    host: str  # its s3_prefix
    carrier: Carrier
    snapshots: int
    first: datetime
    last: datetime


def catalogs_of_every_host(invocation: Invocation) -> list[Catalog]:
    """Return our catalogs and those of the other hosts; what cannot be read fails."""
    found = list(invocation.catalogs)
    for prefix, of_it in other_hosts(invocation.catalogs):
        if isinstance(of_it, Catalog):
            found.append(of_it)
        else:
            record = of_source("s3", "s3", s3_prefix=prefix)
            failed = invocation.fail(record, _of_host(prefix, of_it))
            put(invocation, failed)
    return found


def put(invocation: Invocation, record: Record) -> None:
    """Emit the record, or only count it where a table is shown."""
    if invocation.json:
        invocation.emit(record)
    else:
        invocation.count(record)


def show_every_host(invocation: Invocation) -> None:
    """Show the carriers of every host, those first whose last snapshot is oldest."""
    catalogs = catalogs_of_every_host(invocation)
    if invocation.json:
        found = discovery.stored(invocation.patterns, catalogs, _TYPES)
        for record in reported(invocation, found, in_catalogs(catalogs)):
            invocation.emit(record)
        return
    selection = Selection(invocation.patterns)
    lines = [line for catalog in catalogs for line in _lines(invocation, selection, catalog)]
    for record, error in selection.failures(in_catalogs(catalogs)):
        invocation.count(invocation.fail(record, error))
    if lines:
        invocation.write(_table(lines, invocation.clock(), invocation.width))
    elif not invocation.patterns:
        invocation.say("no host of the bucket has stored anything that can be read")


def _of_host(prefix: str, error: BackupError) -> BackupError:
    return type(error)(error.code, f"{prefix}: it cannot be read: {error.message}", error.hint)


def _lines(invocation: Invocation, selection: Selection, catalog: Catalog) -> Iterator[Line]:
    for source_type in _TYPES:
        for carrier in catalog.carriers(source_type):
            snapshots = catalog.snapshots(carrier)
            try:
                objects, _ = objects_of(carrier, snapshots, catalog)
            except UnreachableError:
                raise
            except BackupError as error:
                record = of_source(carrier, carrier.type, carrier=carrier)
                invocation.count(invocation.fail(record, error))
                selection.see(record.with_error(invocation.name, error))
                continue
            for held in objects:
                selection.see(Record.of(held.id))
            if any(selected(invocation.patterns, str(held.id)) for held in objects):
                times = [stored.id.time for stored in snapshots]
                yield Line(catalog.storage.prefix, carrier, len(times), times[0], times[-1])


def _table(lines: Sequence[Line], now: datetime, width: int | None) -> str:
    rows = [
        (
            line.host,
            line.carrier,
            str(line.snapshots),
            formats.age(line.first, now),
            formats.age(line.last, now),
        )
        for line in sorted(lines, key=lambda line: (line.last, line.host, line.carrier))
    ]
    return formats.table([_HEADING, *rows], _NUMBERS, width)
