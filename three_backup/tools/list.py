"""tb-list - show the objects, how far they have come, and their snapshots

Usage:
  tb-list [--select PATTERN]... [options]

Options:
  -s, --select PATTERN  only objects whose id matches; may be repeated
      --stages          with stage and max_stage
      --snapshots       with every snapshot, its size and where it lies
      --stored          what the snapshots hold instead of what the sources hold
      --s3-prefix NAME  with --stored: of another host, below its s3_prefix
      --json            records instead of a table
  -c, --config FILE     the configuration
      --env-file FILE   PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help            show this
      --version         show the version

Reads records where standard input is a pipe or a file; else it discovers by itself.
"""

import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from os import fstat
from typing import Any

from three_backup import discovery, human, pipe
from three_backup.catalog import Catalog
from three_backup.errors import UsageError
from three_backup.objects import selected
from three_backup.outlook import outlook, unsupported
from three_backup.pipe import Invocation
from three_backup.records import Record
from three_backup.snapshots import SnapshotId
from three_backup.sources import SOURCES
from three_backup.terminal import Colour, painted

_RIGHT = frozenset({2})
_STAGES = ("stage", "max_stage", "disabled")


@dataclass(frozen=True, slots=True)
class _Listed:
    carrier: str
    records: Sequence[Record]
    snapshots: Sequence[Mapping[str, Any]]


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> None:
    if invocation.arguments["--s3-prefix"] is not None and not invocation.arguments["--stored"]:
        raise UsageError("usage", "--s3-prefix goes with --stored only", "add --stored")
    if not _is_piped():
        invocation.warn()
    groups = groupby(_records(invocation), key=lambda record: record.carrier)
    listed = (_look_up(invocation, carrier, list(group)) for carrier, group in groups)
    if invocation.arguments["--json"]:
        for one in listed:
            for record in one.records:
                invocation.emit(_with_snapshots(record, one.snapshots))
    else:
        _show(invocation, list(listed))


def _records(invocation: Invocation) -> Iterator[Record]:
    if invocation.arguments["--stored"]:
        types = [source.type for source in SOURCES]
        yield from discovery.stored(invocation.patterns, invocation.catalogs, types)
    elif _is_piped():
        for record in invocation.records():
            if record.failed or selected(invocation.patterns, record.id):
                yield record
    else:
        found = discovery.live(invocation.patterns, invocation.configuration, invocation.say)
        for record, error in found:
            yield record if error is None else invocation.fail(record, error)


def _is_piped() -> bool:
    """Whether somebody feeds records: a terminal, and cron's /dev/null, do not."""
    if sys.stdin is None:
        return False
    mode = fstat(sys.stdin.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _look_up(invocation: Invocation, carrier: str, records: Sequence[Record]) -> _Listed:
    """The records of a carrier with what was asked for besides."""
    live = [record for record in records if not record.failed and not record.unsupported]
    if not live:
        shown = [unsupported(one) if one.unsupported else one for one in records]
        return _Listed(carrier, shown, ())
    settings = invocation.configuration.settings(live[0].object)
    catalog = invocation.catalog(settings.storage)
    if invocation.arguments["--stages"]:
        records = _with_stages(invocation, catalog, carrier, records)
    if not invocation.arguments["--snapshots"]:
        return _Listed(carrier, records, ())
    snapshots = [
        discovery.describe(one, catalog.manifest(carrier, one))
        for one in catalog.snapshots(carrier)
    ]
    return _Listed(carrier, records, snapshots)


def _with_stages(
    invocation: Invocation, catalog: Catalog, carrier: str, records: Sequence[Record]
) -> list[Record]:
    """Records that were planned keep the stage that the plan gave them."""
    catalog.list_everything()
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


def _with_snapshots(record: Record, snapshots: Sequence[Mapping[str, Any]]) -> Record:
    return record if record.failed or not snapshots else record.with_fields(snapshots=snapshots)


def _show(invocation: Invocation, listed: Sequence[_Listed]) -> None:
    records = [record for one in listed for record in one.records]
    if not records:
        here = "; without records it lists by itself: tb-list < /dev/null"
        invocation.say(f"there is nothing to list{here if _is_piped() else ''}")
        return
    stages = bool(invocation.arguments["--stages"])
    heading = ["OBJECT", "KIND", "SIZE", *(["STAGE", "MAX STAGE"] if stages else [])]
    rows = [heading, *(_row(record, stages) for record in records)]

    def paint(row: int, line: str) -> str:
        failed = row > 0 and records[row - 1].failed
        return painted(line, Colour.RED if failed else None, invocation.coloured)

    invocation.write(human.table(rows, _RIGHT, invocation.width, paint))
    now = invocation.clock()
    snapshots = [row for one in listed for row in _snapshot_rows(one, now)]
    if snapshots:
        heading = ["SNAPSHOT", "KIND", "SIZE", "AGE", "PLACE"]
        invocation.write("\n" + human.table([heading, *snapshots], _RIGHT | {3}, invocation.width))
    for record in records:
        invocation.count(record)


def _row(record: Record, stages: bool) -> list[str]:
    fields = record.fields
    if record.failed:
        return [record.id, "failed", "", *(["", ""] if stages else [])]
    kind = str(fields.get("kind", fields.get("subtype", "")))
    if "data" in fields:  # what a source cannot bring along is not to be found out too late
        kind = f"{kind}, {fields['data']}"
    if record.unsupported:
        kind = f"{kind}, not supported yet"
    size = human.size(fields["size"]) if "size" in fields else ""
    return [record.id, kind, size, *(_stages(record) if stages else [])]


def _stages(record: Record) -> list[str]:
    bound = "disabled" if record.fields.get("disabled") else record.fields.get("max_stage", "")
    return [str(record.fields.get("stage", "")), str(bound)]


def _snapshot_rows(one: _Listed, now: datetime) -> Iterable[list[str]]:
    if one.snapshots:
        yield [one.carrier, "", "", "", ""]
    for snapshot in one.snapshots:
        size, place = human.size(snapshot["size"]), ", ".join(snapshot["place"])
        taken = SnapshotId.parse(snapshot["id"])
        old = human.age(taken.time if taken else None, now)
        yield [f"  {snapshot['id']}", str(snapshot["kind"]), size, old, place]
