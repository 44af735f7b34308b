"""Tells whether a full disk of this host will empty by itself, so that a later run has room."""

import errno
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from three_backup.catalog.catalog import Catalog
from three_backup.config import Configuration
from three_backup.config.settings import Settings
from three_backup.deciding.holding import Holding
from three_backup.errors import BackupError
from three_backup.model.records import Record
from three_backup.model.retention import Place
from three_backup.model.snapshots import Stored
from three_backup.model.stages import Stage


def is_full(error: BackupError | OSError) -> bool:
    """Return whether the error, or its cause, means a full disk or an exhausted quota."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def room_comes(
    record: Record,
    settings: Settings,
    configuration: Configuration,
    catalog: Catalog,
    snapshots: Sequence[Stored],
    now: datetime,
) -> bool:
    """Return whether tb-rotate will remove something here once tb-upload has sent its part.

    snapshots: those of the record's carrier, oldest first.
    """
    stages = record.todo if record.planned else tuple(Stage)
    wanted = settings.max_stage.reaches(Stage.ROTATED_LOCALLY) and Stage.ROTATED_LOCALLY in stages
    if not wanted or catalog.s3 is None:
        return False
    carrier = record.carrier
    with suppress(BackupError):  # the error to report is the full disk
        holding = Holding.of(carrier, [record.object], configuration, catalog, snapshots, now)
        decided = holding.once_uploaded().verdicts()
        return any(verdict.place is Place.LOCAL and not verdict.keep for verdict in decided)
    return False
