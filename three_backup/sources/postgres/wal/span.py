"""The WAL that a snapshot holds itself, as its manifest has it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from three_backup.errors import ManifestError
from three_backup.model import layout
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.sources.postgres.wal.names import position


@dataclass(frozen=True, slots=True)
class Span:
    """The WAL from a snapshot's start to its end; a restore begins to replay at its start."""

    snapshot: SnapshotId
    timeline: int
    start: int  # position
    end: int  # position; from there on archived WAL leads to later moments
    segment_size: int  # bytes
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
                datetime.fromisoformat(ended_at).astimezone(UTC)
                if ended_at
                else manifest.snapshot.time,
            )
        except (TypeError, ValueError) as error:
            raise _impossible(manifest) from error
        if not found.segment_size > 0 or not 0 <= found.start <= found.end:
            raise _impossible(manifest)
        return found


def _impossible(manifest: Manifest) -> ManifestError:
    key = layout.manifest_key(manifest.carrier, manifest.snapshot)
    return ManifestError(
        "manifest.malformed",
        f"{key}: the manifest does not say which WAL the snapshot holds",
        "restore another snapshot; the next base replaces it",
    )
