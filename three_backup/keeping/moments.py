"""The moments between snapshots: which can be restored, and what they no longer need in S3."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Any

from three_backup.catalog.catalog import Catalog
from three_backup.errors import ManifestError
from three_backup.keeping import keeping_of
from three_backup.model import layout
from three_backup.model.dependencies import missing_links
from three_backup.model.local_time import local
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId, Stored, rfc3339
from three_backup.screen.formats import counted, size
from three_backup.sources.base import FolderSource
from three_backup.sources.jobs import LogJob, Say
from three_backup.sources.logged import Log, LogVerdict, Window


def log_of(catalog: Catalog, carrier: Carrier, snapshots: Sequence[Stored]) -> Log | None:
    """Return which moments can be restored; None where nothing that was logged lies in S3.

    snapshots: without the hollow ones, oldest first. One that builds on a missing one or has no
    readable manifest counts for nothing. Costs one request where there is nothing.
    """
    source = _logged(catalog, carrier)
    if source is None:
        return None
    missing = missing_links(snapshots, source.kept)
    whole = (stored for stored in snapshots if stored.id not in missing)
    manifests = list(_readable(catalog, carrier, whole))
    return source.log(LogJob(carrier, catalog.bucket, manifests))


def sign_log(catalog: Catalog, carrier: Carrier) -> int:
    """Adopt what was logged; return how many keys were signed. Raises BackupError."""
    source, keyring = _logged(catalog, carrier), catalog.storage.manifest_key
    if source is None or keyring is None:
        return 0
    return source.sign_log(LogJob(carrier, catalog.bucket, ()), keyring)


def expendable(
    catalog: Catalog, carrier: Carrier, kept: Sequence[SnapshotId], say: Say
) -> Sequence[LogVerdict]:
    """Return what may go of what was logged. kept: the snapshots that keep what followed them."""
    source = _logged(catalog, carrier) if kept else None
    if source is None:
        return ()
    try:
        manifests = [
            catalog.manifest(carrier, Stored(snapshot, local=False, s3=True)) for snapshot in kept
        ]
        return source.expendable_log(LogJob(carrier, catalog.bucket, manifests))
    except ManifestError as error:
        say(f"{carrier}: no WAL is removed, since {error}")
        return ()


def extent(verdicts: Iterable[LogVerdict]) -> dict[str, int]:
    """Return how much the verdicts are on, for a record."""
    every = list(verdicts)
    return {
        "keys": sum(len(verdict.keys) for verdict in every),
        "bytes": sum(verdict.stored_size for verdict in every),
    }


def why_expendable(verdict: LogVerdict) -> str:
    """Say in words for a person what may go."""
    count = counted(len(verdict.keys), "key")
    return f"WAL in S3, {count} of {size(verdict.stored_size)}: remove, {verdict.reason}"


def described(log: Log) -> dict[str, Any]:
    """Return the field of a record."""
    return {
        "windows": [
            {"since": rfc3339(window.since), "until": rfc3339(window.until)}
            for window in _whole(log.windows)
        ],
        "reached": log.reached and rfc3339(log.reached),
        "size": log.stored_size,
    }


def sentences(log: Log, zone: tzinfo) -> Iterator[str]:
    """Say in words for a person which moments can be restored."""
    before: datetime | None = None
    for window in _whole(log.windows):
        since, until = local(window.since, zone), local(window.until, zone)
        if before is not None:
            yield f"not between {local(before, zone)} and {since}"
        yield f"any moment from {since} to {until}"
        before = window.until
    if log.ended is not None:
        yield f"not after {local(log.ended, zone)}, until there is a new snapshot"
    elif not log.windows:
        yield "no moment between snapshots, until there is a new one"
    yield f"{size(log.stored_size)} of WAL in S3"


def _logged(catalog: Catalog, carrier: Carrier) -> FolderSource | None:
    """Return the carrier's source if what its server logged lies in S3: at most one request."""
    source = keeping_of(carrier.type).logged
    if source is None or catalog.s3 is None:
        return None
    folder = f"{layout.WAL}/{layout.path(carrier)}/"
    return source if any(True for _ in catalog.s3.all_keys(folder, at_once=1)) else None


def _readable(
    catalog: Catalog, carrier: Carrier, snapshots: Iterable[Stored]
) -> Iterator[Manifest]:
    for stored in snapshots:
        try:
            yield catalog.manifest(carrier, stored)
        except ManifestError:
            continue  # whoever lists the snapshots says so


def _whole(windows: Iterable[Window]) -> Iterator[Window]:
    """Yield the windows in whole seconds that lie within them, and none without any."""
    for window in windows:
        fraction = timedelta(microseconds=window.since.microsecond)
        since = window.since - fraction + timedelta(seconds=1) if fraction else window.since
        if since <= window.until:
            yield replace(window, since=since)
