"""Finds the snapshot from which a moment is replayed, and where the replay ends.

A restore to a moment follows the way to the newest timeline of the archive: what an abandoned
timeline wrote after the switch is no moment of the cluster.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from three_backup.errors import BackupError
from three_backup.model.moment import Moment
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest
from three_backup.s3.store import Store
from three_backup.sources.jobs import Landing
from three_backup.sources.postgres.replaying.feed import Wal
from three_backup.sources.postgres.replaying.recovery import Replay, Stop
from three_backup.sources.postgres.wal.archive import Contents, WalArchive
from three_backup.sources.postgres.wal.assembly import Assembly
from three_backup.sources.postgres.wal.beside import all_contents
from three_backup.sources.postgres.wal.coverage import Stretch, stretches
from three_backup.sources.postgres.wal.names import lsn, position
from three_backup.sources.postgres.wal.span import Span, passed
from three_backup.sources.postgres.wal.timelines import Way, known_way_to

_XIDS = 1 << 32


@dataclass(frozen=True, slots=True)
class Archived:
    """The archive of a cluster, and the way that its WAL leads."""

    contents: Contents
    way: Way  # to the newest timeline
    stretches: Sequence[Stretch]  # of WAL along the way

    def complete_until(self, stretch: Stretch) -> datetime | None:
        """Return until when the stretch is known to hold all that was committed; None if unknown.

        When a piece was stored tells nothing: WAL may have waited for S3 for a day. Nor does what
        an old primary noted of the timeline that the way has left.
        """
        reached = self.contents.reached
        if reached is None or not self.way.passes(reached.timeline, reached.lsn):
            return None
        return reached.at if stretch.covers(reached.lsn) else None


@dataclass(frozen=True, slots=True)
class Start:
    """A snapshot on the way, from which WAL can be replayed."""

    manifest: Manifest
    span: Span
    stretch: Stretch | None  # the WAL after it; None: it is not archived


def read_archived(store: Store, carrier: Carrier) -> Archived | None:
    """Read what is archived of a cluster; None where nothing is."""
    contents = all_contents(WalArchive(store, carrier))
    timeline = contents.newest_timeline
    if timeline is None:
        return None
    way, _ = known_way_to(timeline, contents.histories)
    return Archived(contents, way, stretches(contents.pieces, way))


def starts(manifests: Sequence[Manifest], archived: Archived) -> list[Start]:
    """Return the snapshots that lie on the archive's way, the oldest first."""
    by_id = {manifest.snapshot: manifest for manifest in manifests}
    return [
        Start(by_id[span.snapshot], span, span.followed_by(archived.stretches, archived.way))
        for span in passed(manifests, archived.way)
    ]


def land(moment: Moment, manifests: Sequence[Manifest], archived: Archived) -> Landing | None:
    """Return the landing of a moment that is not a drop; None for a time where no WAL leads.

    manifests: oldest first. Raises BackupError if no WAL leads to a position or a transaction.
    """
    if moment.time is not None:
        return _at_time(moment.time, starts(manifests, archived), archived)
    if moment.lsn is not None:
        return _at_lsn(position(moment.lsn), starts(manifests, archived))
    return _at_xid(moment.xid or 0, starts(manifests, archived))


def landing_before(manifest: Manifest, commit: int) -> Landing:
    """Return the landing just before the record at this position."""
    return _landing(manifest, {"recovery_target_lsn": lsn(commit), **_EXCLUSIVE}, open_end=True)


_EXCLUSIVE = {"recovery_target_inclusive": "off"}


def replay_of(
    landing: Landing,
    manifest: Manifest,
    store: Store,
    advance: Callable[[int], None],
) -> Replay:
    """Return the replay that leads from the snapshot of this manifest to the landing."""
    archived = read_archived(store, manifest.carrier)
    found = [] if archived is None else starts([manifest], archived)
    if archived is None or not found or found[0].stretch is None:
        raise BackupError(
            "postgres.wal_gone",
            f"{manifest.carrier}: the WAL after {manifest.snapshot} was removed meanwhile",
            "restore once more",
        )
    size, archive = found[0].span.segment_size, WalArchive(store, manifest.carrier)
    contents, way = archived.contents, archived.way
    assembly = Assembly(archive, contents.pieces, way, size)
    wal = Wal(assembly, way, contents.histories, size, found[0].stretch.end)
    return Replay(wal, Stop(**landing.stop), advance)


def _at_time(wanted: datetime, all_starts: Sequence[Start], archived: Archived) -> Landing | None:
    before = [start for start in all_starts if start.span.since <= wanted]
    if not before or before[-1].stretch is None:
        return None
    until = archived.complete_until(before[-1].stretch)
    return _landing(
        before[-1].manifest,
        {"recovery_target_time": wanted.astimezone(UTC).isoformat(sep=" ")},
        open_end=True,
        complete=until is not None and until >= wanted,
        zone=wanted.tzinfo or UTC,
    )


def _at_lsn(wanted: int, all_starts: Sequence[Start]) -> Landing:
    for start in reversed(all_starts):
        if start.span.end <= wanted and start.stretch is not None:
            if start.stretch.end < wanted:
                break
            return landing_before(start.manifest, wanted)
    raise BackupError(
        "restore.not_covered",
        f"no archived WAL leads from a snapshot to {lsn(wanted)}",
        "tb-list --snapshots tells which moments it covers",
    )


def _at_xid(wanted: int, all_starts: Sequence[Start]) -> Landing:
    for start in reversed(all_starts):
        next_xid = start.span.next_xid
        if start.stretch is None or next_xid is None:
            continue
        ahead = (wanted - next_xid) % _XIDS if wanted < _XIDS else wanted - next_xid
        if 0 <= ahead < _XIDS // 2:
            target = {"recovery_target_xid": str(wanted % _XIDS)}
            return _landing(start.manifest, target, open_end=False)
    raise BackupError(
        "restore.not_covered",
        f"no archived WAL leads from a snapshot to transaction {wanted}",
        "it must have begun after a snapshot; tb-list --snapshots tells what is covered",
    )


def _landing(
    manifest: Manifest,
    target: Mapping[str, str],
    *,
    open_end: bool,
    complete: bool = True,
    zone: tzinfo = UTC,
) -> Landing:
    stop = {"target": dict(target), "open_end": open_end, "complete": complete, "zone": zone}
    return Landing(manifest.snapshot, stop)
