"""Carries out what retention decided for one carrier, and reports what belongs to nothing."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError
from three_backup.keeping import moments
from three_backup.keeping.base import Keeping
from three_backup.keeping.removal import unclaimed
from three_backup.model.objects import Carrier
from three_backup.model.retention import Place, Verdict
from three_backup.model.snapshots import SnapshotId, Stored, rfc3339
from three_backup.sources.base import PointHeldError
from three_backup.sources.jobs import Say
from three_backup.sources.logged import LogVerdict


@dataclass(frozen=True, slots=True)
class Rotation:
    """The removal of what a carrier no longer needs; the caller holds the carrier's lock."""

    keeping: Keeping
    catalog: Catalog
    carrier: Carrier
    say: Say

    def carry_out(self, decided: Sequence[Verdict]) -> dict[str, list[str]]:
        """Remove what the verdicts do not keep; return the removed snapshots by their place."""
        remove = {Place.LOCAL: self.keeping.remove, Place.S3: self.keeping.remove_from_s3}
        removed: dict[str, list[str]] = {place: [] for place in Place}
        for verdict in decided:
            if verdict.keep:
                continue
            try:
                remove[verdict.place](self.catalog, self.carrier, verdict.snapshot)
            except PointHeldError as error:
                self.say(str(error))
            else:
                removed[verdict.place].append(str(verdict.snapshot))
        return removed

    def remove_wal(self, wal: Sequence[LogVerdict]) -> dict[str, dict[str, int]]:
        for verdict in wal:
            self.catalog.bucket.delete(verdict.keys)
        return {"wal": moments.extent(wal)} if wal else {}

    @staticmethod
    def still_locked(staying: Mapping[SnapshotId, datetime]) -> dict[str, list[dict[str, str]]]:
        """staying: the snapshots that only their locks keep, and until when."""
        told = [
            {"snapshot": str(snapshot), "until": rfc3339(until)}
            for snapshot, until in staying.items()
        ]
        return {"locked": told} if told else {}

    def clear_holds(
        self, snapshots: Sequence[Stored], now: datetime, zone: tzinfo
    ) -> dict[str, list[str]]:
        """Release holds that have ended; say of which snapshots are held though they are gone.

        snapshots: of the carrier, before anything was removed. zone: in which times are told.
        """
        ended = []
        there = {stored.id for stored in snapshots}
        for hold in self.catalog.holds.of(self.carrier):
            if hold.has_ended(now):
                self.catalog.holds.remove(self.carrier, hold.snapshot)
                ended.append(str(hold.snapshot))
            elif hold.snapshot not in there:
                self.say(
                    f"{self.carrier}: {hold.snapshot} is gone, though it is {hold.told(zone)}; "
                    "find out who removed it, and release it: "
                    f"tb-keep --release {self.carrier} {hold.snapshot}"
                )
        return {"holds": ended} if ended else {}

    def report_unclaimed(self) -> None:
        if keys := unclaimed(self.catalog, self.carrier):
            self.say(
                f"{self.carrier}: {len(keys)} keys in S3 belong to no snapshot and to no upload "
                f"of this host, {keys[0]} first; tb-rotate --orphans shows them, and removes "
                "those older than a week with --remove"
            )

    def report_nameless(self, discovered: Mapping[str, Any]) -> None:
        """discovered: the fields of a record of the carrier."""
        if nameless := self.keeping.nameless(self.catalog, self.carrier, discovered):
            self.say(
                f"{self.carrier}: {len(nameless)} points belong to no snapshot, {nameless[0]} "
                "first; a copy or a rename brought them along, or a run was killed: remove them "
                "by hand"
            )


def claim_to_rotate(catalog: Catalog) -> None:
    """Claim the prefix; one of another host, which was asked for, stays that one's."""
    if catalog.storage.foreign:
        catalog.bucket.rotates_foreign = True
    else:
        catalog.claim()


def described(verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    """Return the verdicts for a record."""
    return [
        {
            "snapshot": str(verdict.snapshot),
            "place": verdict.place,
            "keep": verdict.keep,
            "reason": verdict.reason,
        }
        for verdict in verdicts
    ]


def sizes_of(
    catalog: Catalog, carrier: Carrier, verdicts: Iterable[Verdict]
) -> dict[SnapshotId, int]:
    """Return how many bytes the snapshots have, without those whose manifests cannot be read."""
    found = {}
    for verdict in verdicts:
        is_here = verdict.place is Place.LOCAL
        with suppress(BackupError):
            stored = Stored(verdict.snapshot, local=is_here, s3=not is_here)
            found[verdict.snapshot] = catalog.manifest(carrier, stored).stored_size
    return found
