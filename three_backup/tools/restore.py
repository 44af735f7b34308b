"""tb-restore - bring objects back out of their snapshots

Usage:
  tb-restore [options] [--tablespace-mapping MAPPING]... [PATTERN]...

Options:
      --snapshot ID           out of this snapshot, not out of the newest
      --at TIME               out of the newest snapshot that is not after TIME
      --level1 NAME           under another level1: LXD pool, database, cluster
      --level2 NAME           under another level2: project, schema, database
      --level3 NAME           under another name
      --level1-suffix SUFFIX  append to level1
      --level2-suffix SUFFIX  append to level2
      --level3-suffix SUFFIX  append to the name
      --overwrite             replace what has the target's name
      --owner                 keep owners; their roles must exist
      --acl                   keep grants; their roles must exist
      --without-devices       leave out profiles and devices that this host lacks
      --pgdata DIR            a whole cluster of PostgreSQL, as a data directory
      --pgdata-owner USER     whose DIR shall be, if root restores it
      --tablespace-mapping MAPPING  OLD=NEW: a tablespace of it goes to NEW; repeatable
  -c, --config FILE           the configuration
      --env-file FILE         PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help                  show this
      --version               show the version

PATTERN is an id or a glob as for tb-discover --select. Without one, records are read from
standard input. TIME is RFC 3339, or 2026-11-23 or 2026-11-23 03:00 in the host's time zone.
Adds restored.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from three_backup import pipe
from three_backup.catalog import Catalog
from three_backup.errors import BackupError, UnreachableError, UsageError
from three_backup.finder import Finder, Held
from three_backup.lock import carrier_lock
from three_backup.objects import ObjectId
from three_backup.pipe import Invocation, translated
from three_backup.points import is_there
from three_backup.progress import bar
from three_backup.records import Record
from three_backup.schedule import host_zone
from three_backup.snapshots import SnapshotId
from three_backup.sources import direct_source_of, point_source_of, source_of
from three_backup.sources.base import Advance, Restored, RestoreJob, Wanted
from three_backup.whole_server import restore_whole

_LEVELS = ("level1", "level2", "level3")
_OPTIONS = ("owner", "acl", "without_devices")


@dataclass(frozen=True, slots=True)
class _Request:
    """A record to restore, and the snapshot that holds its object."""

    record: Record
    held: Held


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> None:
    allowed = _allowed(invocation.arguments)
    invocation.warn()
    catalogs = _catalogs(invocation)
    if invocation.arguments["--pgdata"] is not None:
        restore_whole(invocation, catalogs, allowed)
        return
    finder = Finder(catalogs, allowed)
    for _, requests in groupby(_requests(invocation, finder), key=lambda one: one.held.place):
        _restore(invocation, list(requests))


def _catalogs(invocation: Invocation) -> list[Catalog]:
    """Of all storages. While S3 is away, what lies on this host is not lost with it."""
    return [
        _reachable(invocation, invocation.catalog(storage))
        for storage in invocation.configuration.storages()
    ]


def _reachable(invocation: Invocation, catalog: Catalog) -> Catalog:
    try:
        catalog.list_everything()
        return catalog
    except UnreachableError as error:
        invocation.say(f"{error}; only what lies on this host can be restored meanwhile")
        return catalog.without_s3()


@dataclass(frozen=True, slots=True)
class _Allowed:
    """Which snapshots may be restored: one, or those that are not after a time, or all."""

    snapshot: str | None
    at: datetime | None

    def __call__(self, snapshot: SnapshotId) -> bool:
        if self.snapshot is not None:
            return str(snapshot) == self.snapshot
        return self.at is None or snapshot.time <= self.at


def _allowed(arguments: Mapping[str, Any]) -> _Allowed:
    """Raises UsageError for what can only be a slip."""
    snapshot, at = arguments["--snapshot"], arguments["--at"]
    if snapshot is not None and SnapshotId.parse(snapshot) is None:
        hint = "give one as tb-list --snapshots prints it"
        raise UsageError("restore.snapshot", f"{snapshot!r} is not a snapshot", hint)
    if snapshot is not None and at is not None:
        raise UsageError("restore.choice", "--snapshot and --at exclude one another", "give one")
    return _Allowed(snapshot, None if at is None else _time(at))


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        hint = "write 2026-11-23T03:00:00Z, or 2026-11-23 03:00 for the host's time zone"
        raise UsageError("restore.time", f"{text!r} is not a time", hint) from error
    return time if time.tzinfo else time.replace(tzinfo=host_zone(os.environ))


def _requests(invocation: Invocation, finder: Finder) -> Iterator[_Request]:
    """What the arguments or, without any, the records on standard input ask for."""
    if invocation.arguments["PATTERN"]:
        for held in _distinct(finder, invocation.arguments["PATTERN"]):
            size, carrier = held.object.size, held.carrier
            yield _Request(Record.of(held.object.id, size=size, carrier=carrier), held)
        return
    for record in invocation.records():
        try:
            if record.failed or record.unsupported:
                invocation.emit(record)
            else:
                yield _Request(record, finder.one(record.object))
        except BackupError as error:
            invocation.emit(invocation.fail(record, error))


def _distinct(finder: Finder, patterns: Sequence[str]) -> list[Held]:
    """Every object that a pattern selects, once."""
    found = {held.object.id: held for pattern in patterns for held in finder.all(pattern)}
    return list(found.values())


def _restore(invocation: Invocation, requests: Sequence[_Request]) -> None:
    """The objects of one snapshot together, each record as soon as its object is there."""
    left = {request.held.object.id: request.record for request in requests}
    held, started = requests[0].held, time.monotonic()
    local_dir = held.catalog.storage.local_dir
    try:
        wanted = _targets(invocation.arguments, list(left))
        with (
            carrier_lock(local_dir, held.carrier, shared=True),
            bar(held.carrier, None) as advance,
        ):
            job = _job(invocation, held, wanted, advance)
            for one, outcome in source_of(held.object.id.type).restore(job):
                record = left.pop(one.object)
                invocation.emit(_result(invocation, record, held, one, outcome, started))
    except BackupError as error:
        for record in left.values():
            invocation.emit(invocation.fail(record, error))
    except OSError as error:
        for record in left.values():
            invocation.emit(invocation.fail(record, translated(error)))


def _job(
    invocation: Invocation, held: Held, wanted: Sequence[Wanted], advance: Advance
) -> RestoreJob:
    arguments, catalog = invocation.arguments, held.catalog
    settings = invocation.configuration.source_settings(held.object.id.type)
    at_source = _is_at_source(held)
    return RestoreJob(
        wanted=wanted,
        chain=[catalog.files(held.carrier, held.stored)]
        if at_source
        else catalog.chain(held.carrier, catalog.snapshots(held.carrier), held.stored.id),
        overwrite=bool(arguments["--overwrite"]),
        source_settings=settings,
        work_dir=settings.scratch_dir or catalog.storage.local_dir / "scratch",
        advance=advance,
        say=invocation.say,
        options={name: bool(arguments[f"--{name.replace('_', '-')}"]) for name in _OPTIONS},
        store=catalog.bucket if direct_source_of(held.object.id.type) else None,
        at_source=at_source,
    )


def _is_at_source(held: Held) -> bool:
    """Whether the snapshot is a point that needs nothing out of S3."""
    source = point_source_of(held.object.id.type)
    if source is None or not held.stored.local:
        return False
    manifest = held.catalog.manifest(held.carrier, held.stored)
    return is_there(manifest, source.points(held.carrier))


def _targets(arguments: Mapping[str, Any], objects: Sequence[ObjectId]) -> list[Wanted]:
    """Where each object shall go. Raises UsageError where two would get one name."""
    wanted: dict[ObjectId, Wanted] = {}
    for object_id in objects:
        target = _target(arguments, object_id)
        if target in wanted:
            raise UsageError(
                "restore.clash",
                f"{wanted[target].object} and {object_id} would both become {target}",
                "restore them one by one, or use --level3-suffix",
            )
        wanted[target] = Wanted(object_id, target)
    return list(wanted.values())


def _target(arguments: Mapping[str, Any], object_id: ObjectId) -> ObjectId:
    names = {}
    for level in _LEVELS:
        name = arguments[f"--{level}"]
        own: str = getattr(object_id, level)
        names[level] = (own if name is None else name) + (arguments[f"--{level}-suffix"] or "")
    return replace(object_id, **names)


def _result(
    invocation: Invocation,
    record: Record,
    held: Held,
    wanted: Wanted,
    outcome: Restored | BackupError,
    started: float,
) -> Record:
    if isinstance(outcome, BackupError):
        return invocation.fail(record, outcome)
    for note in outcome.notes:
        invocation.say(f"{wanted.target}: {note}")
    restored = {
        "target": str(wanted.target),
        "snapshot": str(held.stored.id),
        "seconds": round(time.monotonic() - started, 3),
        **outcome.facts,
        **({"notes": list(outcome.notes)} if outcome.notes else {}),
    }
    return record.with_fields(restored=restored)
