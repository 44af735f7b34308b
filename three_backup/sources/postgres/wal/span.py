"""The WAL that a snapshot holds itself, as its manifest has it."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from three_backup.errors import ManifestError
from three_backup.model import layout
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.sources.postgres.wal.coverage import Stretch, stretch_at
from three_backup.sources.postgres.wal.names import position
from three_backup.sources.postgres.wal.timelines import Way


@dataclass(frozen=True, slots=True)
class Span:
    """The WAL from a snapshot's start to its end; a restore begins to replay at its start."""

    snapshot: SnapshotId
    timeline: int
    start: int  # position
    end: int  # position; from there on archived WAL leads to later moments
    segment_size: int  # bytes
    next_xid: int | None  # of the first transaction after it, 64 bits wide; None: not known
    since: datetime  # by the server's clock: the first moment that can be restored

    @property
    def begun(self) -> datetime:
        return self.snapshot.time

    @property
    def first_segment(self) -> int:
        """The position at which the segment of its start begins."""
        return self.start // self.segment_size * self.segment_size

    @property
    def last_segment(self) -> int:
        """The position at which the segment of its end begins."""
        return self.end // self.segment_size * self.segment_size

    def followed_by(self, found: Sequence[Stretch], way: Way) -> Stretch | None:
        """Return the archived WAL by which a restore leads on from here, along the way.

        The snapshot itself holds its WAL, of the last segment only the beginning.
        """
        stretch = stretch_at(found, self.end)
        # The first segment of a timeline is whole, though the way passes only the end of it.
        leg = next(leg for leg in way.legs if leg.timeline == self.timeline)
        is_whole = stretch is not None and stretch.start <= max(self.last_segment, leg.start)
        return stretch if is_whole else None

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Read the facts of a manifest. Raises ManifestError."""
        facts = manifest.facts
        try:
            ended_at = facts.get("ended_at")
            found = cls(
                manifest.snapshot,
                int(facts["timeline"]),
                position(facts["start_lsn"]),
                position(facts["end_lsn"]),
                int(facts["wal_segment_size"]),
                facts.get("next_xid"),
                datetime.fromisoformat(ended_at).astimezone(UTC)
                if ended_at
                else manifest.snapshot.time,
            )
        except (TypeError, ValueError) as error:
            raise _impossible(manifest) from error
        if not found.segment_size > 0 or not 0 <= found.start <= found.end:
            raise _impossible(manifest)
        return found


def passed(manifests: Iterable[Manifest], way: Way) -> list[Span]:
    """Return the snapshots from which the way leads on; false manifests are left out."""
    found = []
    for manifest in manifests:
        with suppress(ManifestError):
            span = Span.of(manifest)
            if way.passes(span.timeline, span.end):
                found.append(span)
    return found


def _impossible(manifest: Manifest) -> ManifestError:
    key = layout.manifest_key(manifest.carrier, manifest.snapshot)
    return ManifestError(
        "manifest.malformed",
        f"{key}: the manifest does not say which WAL the snapshot holds",
        "restore another snapshot; the next base replaces it",
    )
