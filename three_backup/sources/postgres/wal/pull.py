"""Pull: bring the WAL of a server into its archive, up to now, from a slot of its own."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError
from three_backup.host.locks import carrier_lock
from three_backup.model.objects import Carrier
from three_backup.sources.jobs import Advance, Say
from three_backup.sources.postgres.connection import connect, connect_replication
from three_backup.sources.postgres.preflight import Cluster, check_backup, read_cluster
from three_backup.sources.postgres.wal.archive import Reached, WalArchive, archived_clusters
from three_backup.sources.postgres.wal.names import lsn
from three_backup.sources.postgres.wal.receive import Kept, Received, receive
from three_backup.sources.postgres.wal.resume import Part, archived_until, parts
from three_backup.sources.postgres.wal.server import Now, ask_now
from three_backup.sources.postgres.wal.slot import (
    Slot,
    create_slot,
    drop_slot,
    free_slot,
    slot_name,
)

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_REMOVED = "postgres.wal_removed"


@dataclass(frozen=True, slots=True)
class Pulled:
    """The outcome of a pull. Positions in bytes."""

    carrier: Carrier
    timeline: int
    start: int
    end: int
    received: Received
    gap: tuple[int, int] | None  # from and to: what the server had no more


@dataclass(slots=True)
class _Pull:
    """A pull at work."""

    archive: WalArchive
    slot: Kept
    segment_size: int
    advance: Advance
    gap: tuple[int, int] | None = None

    def receive(self, part: Part) -> Received:
        """Store the part, or what the server still has of it; note the gap."""
        try:
            return self._receive(part)
        except BackupError as error:
            if error.code != _REMOVED:
                raise
        if part.last is not None:  # it may lack only what would have been compared
            return self.receive(replace(part, last=None))
        start = self.slot.restart // self.segment_size * self.segment_size
        if start <= part.start:
            raise _vanished(self.archive, self.slot, part)
        self.gap = (self.gap[0] if self.gap else part.start), start
        return self._receive(replace(part, start=start))

    def _receive(self, part: Part) -> Received:
        return receive(self.archive, self.slot, part, self.segment_size, self.advance)


def pull(catalog: Catalog, level: int, advance: Advance, say: Say) -> Pulled:
    """Store what the archive lacks of the WAL of the server that `PG*` lead to.

    level: of zstd. advance: called while anything goes on. Raises BusyError if another pull is at
    work, BackupError.
    """
    with connect() as connection:
        cluster = read_cluster(connection)
    check_backup(cluster)
    local_dir, lock = catalog.storage.local_dir, Carrier(f"postgres/wal/{cluster.identifier}")
    archive = WalArchive(catalog.bucket, cluster.carrier, level)
    with carrier_lock(local_dir, lock):
        catalog.claim(renew=False)
        return _pull(archive, cluster, slot_name(catalog.storage), advance, say)


def _pull(archive: WalArchive, cluster: Cluster, name: str, advance: Advance, say: Say) -> Pulled:
    reached = archive.reached()
    with connect() as connection, connect_replication() as replication:
        slot = free_slot(connection, name)
        kept = _kept(replication, slot, name, None if reached is None else archive.carrier, say)
        now = ask_now(connection, replication, cluster)
    _introduce(archive, reached, now, say)
    segment_size = cluster.wal_segment_size
    since = archived_until(archive, reached, now.way)
    if since is None:
        since = kept.restart // segment_size * segment_size
    lacking = parts(archive, now.way, since, now.end, segment_size)
    if lacking[-1].start > now.end:
        if not cluster.in_recovery:
            raise _set_back(archive, lacking[-1], now)
        return Pulled(cluster.carrier, now.timeline, now.end, now.end, Received(), None)
    at_work = _Pull(archive, kept, segment_size, advance)
    received = sum(map(at_work.receive, lacking), Received())
    archive.note_further(reached, Reached(now.timeline, now.end, now.at, segment_size))
    start = lacking[0].start
    return Pulled(cluster.carrier, now.timeline, start, now.end, received, at_work.gap)


def _kept(
    replication: "Connection", slot: Slot | None, name: str, known: Carrier | None, say: Say
) -> Kept:
    """Return the slot to receive from, made anew if need be.

    known: the carrier if it has been archived before, so that it had a slot.
    """
    if slot is not None and slot.lost:
        say(f"{name}: the replication slot is lost ({slot.reason}) and is made anew")
        drop_slot(replication, name)
    elif slot is not None and slot.restart is not None:
        return Kept(name, slot.restart)
    elif slot is not None:
        drop_slot(replication, name)  # somebody made it without reserving WAL
    elif known is not None:
        say(f"{known}: replication slot {name} was gone and is made anew")
    return Kept(name, create_slot(replication, name))


def _introduce(archive: WalArchive, reached: Reached | None, now: Now, say: Say) -> None:
    """Store the history files that are new; tell a person of what is unusual."""
    others = archived_clusters(archive.store) if reached is None else []
    if others and archive.carrier not in others:
        say(
            f"{archive.carrier}: it is another cluster than {others[-1]}, whose WAL is archived, "
            "too; each has an archive of its own"
        )
    if reached is not None and reached.timeline > now.timeline:
        say(
            f"{archive.carrier}: the server is on timeline {now.timeline}, the archive on "
            f"{reached.timeline}: it is an old primary, or was set back"
        )
    if reached is None or reached.timeline != now.timeline:
        for timeline, content in now.histories.items():
            archive.add_history(timeline, content)


def _set_back(archive: WalArchive, part: Part, now: Now) -> BackupError:
    return BackupError(
        "postgres.set_back",
        f"{archive.carrier}: the server is at {lsn(now.end)} on timeline {now.timeline}, before "
        f"the archive's end at {lsn(part.start)}: it was set back",
        "restore it with a recovery.signal, so that it begins a timeline of its own, or archive "
        "it below another s3_prefix; then take a base",
    )


def _vanished(archive: WalArchive, slot: Kept, part: Part) -> BackupError:
    return BackupError(
        _REMOVED,
        f"{archive.carrier}: WAL at {lsn(part.start)} on timeline {part.timeline} is gone, which "
        f"replication slot {slot.name} should have kept",
        "see the log of the server, and run tb-wal pull again",
    )


def gap_error(pulled: Pulled) -> BackupError | None:
    """Return what has to be said of a gap; None if there is none."""
    if pulled.gap is None:
        return None
    start, end = map(lsn, pulled.gap)
    return BackupError(
        "postgres.wal_gap",
        f"{pulled.carrier}: WAL from {start} to {end} was removed by the server before it was "
        "archived",
        "moments after this gap can be restored from the next snapshot on; raise "
        "max_slot_wal_keep_size, or pull more often",
    )
