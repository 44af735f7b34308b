"""The places in which a carrier is to be rotated, and the stages that this reaches. Pure."""

from collections.abc import Sequence

from three_backup.config.settings import Settings
from three_backup.model.records import Record
from three_backup.model.retention import Place
from three_backup.model.stages import Stage

_STAGES = {Place.LOCAL: Stage.ROTATED_LOCALLY, Place.S3: Stage.ROTATED_S3}


def places_of(record: Record, settings: Settings) -> tuple[Place, ...]:
    """Return the places in which the record wants its carrier rotated."""
    if settings.disable or settings.max_stage is Stage.EXISTS:
        return ()
    if not settings.max_stage.reaches(Stage.SYNCED_S3):
        # Snapshots that never go to S3 have local limits, too: nobody wants a full disk.
        return (Place.LOCAL,) if not record.planned or "snapshot" in record.fields else ()
    reached = record.todo if record.planned else tuple(Stage)
    return tuple(
        place
        for place, stage in _STAGES.items()
        if stage in reached and settings.max_stage.reaches(stage)
    )


def reached(
    record: Record, settings: Settings, places: Sequence[Place], *, dry_run: bool
) -> Record:
    """Return the record once its carrier was rotated in these places."""
    stages = [_STAGES[place] for place in places]
    if dry_run or not settings.max_stage.reaches(stages[-1]):
        return record
    return record.reached(*stages)
