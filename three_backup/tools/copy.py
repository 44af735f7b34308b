"""tb-copy - copy snapshots into a further store

Usage:
  tb-copy [options] [PATTERN]...

Options:
      --to NAME        into this store of the configuration, not into that of copy_to
      --as-of TIME     what the bucket held then, by the versions that it keeps
      --rotate         then remove the copies there that the store's retention no longer keeps
      --adopt          take over a prefix that another host wrote
      --json           records on a terminal, too, in place of a table
      --progress WHEN  draw a bar: auto, always or never [default: auto]
  -c, --config FILE    the configuration
      --env-file FILE  PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help           show this
      --version        show the version

PATTERN is an id or a glob as for tb-discover --select. Without one, records are read from
standard input. Whole chains are copied that the store lacks and would keep, each byte compared on
the way, and what PostgreSQL logged since. Adds copied.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from three_backup import pipe
from three_backup.catalog.carriers import record_of
from three_backup.catalog.catalog import Catalog
from three_backup.config.settings import Settings
from three_backup.deciding import discovery
from three_backup.deciding.copies import Chain, of_copies, to_copy
from three_backup.deciding.locked import staying
from three_backup.errors import BackupError, ManifestError, UnreachableError, readable
from three_backup.host.locks import carrier_lock
from three_backup.keeping import keeping_of, moments
from three_backup.keeping.begun_copies import clear_begun
from three_backup.keeping.copying import Copying, Pair
from three_backup.keeping.rotation import Rotation
from three_backup.keeping.sending import Sent
from three_backup.model import layout
from three_backup.model.checked_file import DamagedError
from three_backup.model.objects import Carrier
from three_backup.model.records import Record, by_carrier
from three_backup.model.retention import Limits, Place
from three_backup.model.snapshots import SnapshotId, Stored
from three_backup.pipe import Invocation, Once, translated
from three_backup.restoring.unmatched import in_catalogs, reported
from three_backup.s3.failures import MissingError
from three_backup.sources import SOURCES
from three_backup.sources.jobs import LogCopyJob
from three_backup.sources.logged import LogCopied
from three_backup.watching.forms import COPIED
from three_backup.watching.sheet import Sheet


@dataclass(frozen=True, slots=True)
class Args:
    pattern: tuple[str, ...]
    to: str | None
    rotate: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        return cls(
            pattern=tuple(map(readable, arguments["PATTERN"])),
            to=arguments["--to"],
            rotate=bool(arguments["--rotate"]),
        )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The outcome for a carrier."""

    fields: Mapping[str, Any]  # of `copied`
    error: BackupError | None  # of the first snapshot that cannot be copied; others were


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> None:
    args = Args.of(invocation.arguments)
    if args.to is not None:
        invocation.configuration.limits_of_copies(args.to)  # raises where there is no such store
    invocation.present(Sheet(COPIED))
    outcomes: Once[_Outcome] = Once()
    seen: set[Carrier] = set()

    def act(record: Record) -> Record:
        settings = invocation.configuration.settings(record.object)
        store = args.to or settings.copy_to
        if store is None:
            return record
        once = f"{store} {record.carrier}"
        seen.add(record.carrier)
        with _named(store):
            done = outcomes.of(
                once, lambda: _copied(invocation, record, settings, store, rotate=args.rotate)
            )
        copied = record.with_fields(copied=done.fields)
        return copied if done.error is None else invocation.fail(copied, done.error)

    if args.pattern:
        _each_stored(invocation, args.pattern, act)
    else:
        _each_given(invocation, act)
    if args.rotate:
        _clear_forgotten(invocation, args, seen)


def _clear_forgotten(invocation: Invocation, args: Args, seen: Set[Carrier]) -> None:
    """Clear what was begun of carriers that have no snapshot any more, and so no record."""
    for source in invocation.catalogs:
        for store in [args.to] if args.to else invocation.configuration.copied_to:
            target = invocation.copies(store, source.storage)
            for carrier in (found for each in SOURCES for found in target.local.begun(each.type)):
                if carrier not in seen and not source.snapshots(carrier):
                    _clear(invocation, target, carrier)


def _clear(invocation: Invocation, target: Catalog, carrier: Carrier) -> None:
    def act(record: Record) -> Record:
        with carrier_lock(target.storage.local_dir, carrier):
            target.claim()
            clear_begun(target, carrier, invocation.clock(), invocation.say)
        return record

    record = invocation.attempt(record_of(carrier), act)
    if record.failed:
        invocation.emit(record)


@contextmanager
def _named(store: str) -> Iterator[None]:
    """Name the store in the error: a run speaks to more than one."""
    try:
        yield
    except BackupError as error:
        message = f"copy into store {store}: {error.message}"
        raise type(error)(error.code, message, error.hint) from error


def _each_given(invocation: Invocation, act: Callable[[Record], Record]) -> None:
    """Pass the records of standard input through act, and emit them.

    Those of a carrier are awaited first: a tool before this one may be at work on it until then.
    """
    for group in by_carrier(invocation.records()):
        for record in group:
            idle = record.failed or record.unsupported
            invocation.emit(record if idle else invocation.attempt(record, act))


def _each_stored(
    invocation: Invocation, patterns: tuple[str, ...], act: Callable[[Record], Record]
) -> None:
    """Pass every stored object that the patterns select through act, and emit its record."""
    invocation.warn()
    invocation.patterns = patterns
    catalogs = invocation.catalogs
    found = discovery.stored(patterns, catalogs, [source.type for source in SOURCES])
    for record in reported(invocation, found, in_catalogs(catalogs)):
        invocation.emit(record if record.failed else invocation.attempt(record, act))


def _copied(
    invocation: Invocation, record: Record, settings: Settings, store: str, *, rotate: bool
) -> _Outcome:
    """Copy what the store lacks of the carrier, under its lock; rotate what has all arrived."""
    carrier, started, now = record.carrier, time.monotonic(), invocation.clock()
    source = invocation.catalog(settings.storage)
    target = invocation.copies(store, settings.storage)
    pair, limits = Pair(carrier, source, target), invocation.configuration.limits_of_copies(store)
    pair.check_encryption()
    with carrier_lock(settings.storage.local_dir, carrier):
        chains = to_copy(carrier, source, target, limits, now)
        target.claim()
        sent, error = _each(invocation, pair, settings, chains)
        there = [stored for stored in target.snapshots(carrier) if stored.s3]
        _copy_holds(pair, there, now)
        log = _copy_log(pair, there)
        failed = error or (log if isinstance(log, BackupError) else None)
        removed = _rotated(invocation, pair, limits, now) if rotate and not failed else {}
    fields = {
        "store": store,
        "snapshots": [str(snapshot) for snapshot in sent],
        "bytes": sum(each.size for each in sent.values()),
        "resumed": sum(each.resumed for each in sent.values()),
        "seconds": round(time.monotonic() - started, 3),
        **({"removed": removed} if removed else {}),
    }
    if isinstance(log, BackupError):
        return _Outcome(fields, failed)
    wal = {"wal": {"keys": log.keys, "bytes": log.size}} if log.keys else {}
    return _Outcome({**fields, **wal}, error)


def _each(
    invocation: Invocation, pair: Pair, settings: Settings, chains: Sequence[Chain]
) -> tuple[dict[SnapshotId, Sent], BackupError | None]:
    """Copy the last snapshot of each chain; return those that were, and the first failure."""
    keeping, failed = keeping_of(pair.carrier.type), dict[SnapshotId, BackupError]()
    sent: dict[SnapshotId, Sent] = {}
    for links in chains:
        if not failed.keys().isdisjoint(links):
            continue
        try:
            with translated():
                manifest = pair.source.manifest(pair.carrier, _in_s3(links[-1]))
                with invocation.bar(pair.carrier, manifest.stored_size) as progress:
                    copying = Copying(pair, links, settings, progress)
                    sent[links[-1]] = keeping.copy(copying)
        except BackupError as error:
            if not _is_of_one(error):
                raise
            failed[links[-1]] = error
    return sent, next(iter(failed.values()), None)


def _is_of_one(error: BackupError) -> bool:
    """Whether the failure says something of one snapshot, not of a store or of this host."""
    return isinstance(error, DamagedError | ManifestError | MissingError) or (
        not isinstance(error, UnreachableError)
        and error.code.partition(".")[0] in ("snapshot", *(source.type for source in SOURCES))
    )


def _copy_holds(pair: Pair, there: Sequence[Stored], now: datetime) -> None:
    """Hold in the target what is held in the source; what is released there stays held here."""
    wanted, known = (catalog.holds.in_force(pair.carrier, now) for catalog in pair.catalogs)
    for stored in there:
        hold = wanted.get(stored.id)
        if hold is not None and hold != known.get(stored.id):
            pair.target.holds.put(hold)


def _rotated(
    invocation: Invocation, pair: Pair, limits: Limits, now: datetime
) -> Mapping[str, Any]:
    """Remove the copies that the store's retention no longer keeps; return what was removed."""
    carrier, target = pair.carrier, pair.target
    clear_begun(target, carrier, now, invocation.say)
    verdicts = of_copies(carrier, target, limits, now)
    rotation = Rotation(keeping_of(carrier.type), target, carrier, invocation.say)
    locked = rotation.still_locked(staying(verdicts, carrier, target, now))
    if all(verdict.keep for verdict in verdicts):
        return {"snapshots": [], **locked} if locked else {}
    snapshots = rotation.carry_out(verdicts)[Place.S3]
    kept = [verdict.snapshot for verdict in verdicts if verdict.counted]
    wal = moments.expendable(target, carrier, kept, invocation.say)
    return {"snapshots": snapshots, **rotation.remove_wal(wal), **locked}


def _copy_log(pair: Pair, there: Sequence[Stored]) -> LogCopied | BackupError:
    """Copy what the carrier's server logged, if that is archived; return what failed of that."""
    try:
        return _log_copied(pair, there)
    except BackupError as error:
        return error  # the snapshots were copied: that is told, too


def _log_copied(pair: Pair, there: Sequence[Stored]) -> LogCopied:
    carrier, logged = pair.carrier, keeping_of(pair.carrier.type).logged
    folder = f"{layout.WAL}/{layout.path(carrier)}/"
    if logged is None or not any(pair.source.bucket.folders(folder)):
        return LogCopied()
    manifests = [pair.target.manifest(carrier, stored) for stored in there]
    source, target = pair.source.bucket, pair.target.bucket
    return logged.copy_log(LogCopyJob(carrier, source, target, manifests))


def _in_s3(snapshot: SnapshotId) -> Stored:
    return Stored(snapshot, local=False, s3=True)
