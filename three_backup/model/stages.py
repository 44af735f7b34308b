"""How far an object has come, and what is left to do."""

from collections.abc import Iterable
from enum import StrEnum

from three_backup.model.kept import Kept
from three_backup.model.snapshots import Kind


class Stage(StrEnum):
    """The stages of an object in order; each implies all before it."""

    EXISTS = "exists"
    SNAPSHOT_BASE = "snapshot_base"
    SNAPSHOT_INCREMENTAL = "snapshot_incremental"
    PARTIALLY_SYNCED = "partially_synced"
    SYNCED_S3 = "synced_s3"
    ROTATED_LOCALLY = "rotated_locally"
    ROTATED_S3 = "rotated_s3"

    @property
    def rank(self) -> int:
        return _RANKS[self]

    def reaches(self, other: "Stage") -> bool:
        return self.rank >= other.rank


_RANKS = {stage: rank for rank, stage in enumerate(Stage)}
TARGETS = tuple(stage for stage in Stage if stage is not Stage.PARTIALLY_SYNCED)
"""The values of max_stage; partially_synced is a state, never a target."""


def taken(kind: Kind, kept: Kept) -> Stage:
    """Return the stage of an object right after a snapshot of the kind was taken."""
    if kept is Kept.DIRECT:
        return Stage.SYNCED_S3
    return Stage.SNAPSHOT_BASE if kind is Kind.BASE else Stage.SNAPSHOT_INCREMENTAL


def furthest(reached: Iterable[Stage]) -> Stage:
    return max(reached, key=lambda stage: stage.rank, default=Stage.EXISTS)
