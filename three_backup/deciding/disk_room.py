"""Whether a full disk of this host empties by itself, so that a later run has room there."""

import errno
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime

from three_backup.catalog.catalog import Catalog, Stored
from three_backup.config import Configuration
from three_backup.config.settings import Settings
from three_backup.deciding.holding import carried, distinct, verdicts
from three_backup.errors import BackupError
from three_backup.model.records import Record
from three_backup.model.retention import Place
from three_backup.model.snapshots import SnapshotId
from three_backup.model.stages import Stage


def is_full(error: BackupError | OSError) -> bool:
    """Whether that is what the error says, in whatever words."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def room_comes(
    record: Record,
    settings: Settings,
    configuration: Configuration,
    catalog: Catalog,
    snapshots: Sequence[Stored],
) -> bool:
    """Whether tb-rotate will remove something here, once tb-upload has sent what it sends.

    snapshots: of the record's carrier, oldest first.
    """
    stages = record.todo if record.planned else tuple(Stage)
    wanted = settings.max_stage.reaches(Stage.ROTATED_LOCALLY) and Stage.ROTATED_LOCALLY in stages
    if not wanted or catalog.s3 is None:
        return False
    carrier = record.carrier
    with suppress(BackupError):  # what is in the way is the full disk
        held = carried(carrier, [record.object], configuration, catalog, snapshots)
        enabled = distinct(held.values())
        decided = verdicts(carrier, snapshots, enabled, catalog)
        sent = _sent(snapshots, {one.snapshot for one in decided if one.surplus})
        decided = verdicts(carrier, sent, enabled, catalog)
        return any(one.place is Place.LOCAL and not one.keep for one in decided)
    return False


def _sent(snapshots: Sequence[Stored], surplus: Collection[SnapshotId]) -> list[Stored]:
    """The snapshots as they lie when tb-upload is through with them."""
    there: set[datetime] = set()
    lying = []
    for one in snapshots:
        has_parent = one.id.parent is None or one.id.parent in there
        s3 = one.s3 or (one.local and has_parent and one.id not in surplus)
        lying.append(one._replace(s3=s3))
        there.update([one.id.time] if s3 else ())
    return lying
