"""Draws moments between snapshots at random, for drills to bring back."""

from dataclasses import dataclass
from datetime import datetime, tzinfo
from random import Random

from three_backup.catalog.snapshot import Snapshot
from three_backup.errors import BackupError
from three_backup.keeping import keeping_of
from three_backup.keeping.moments import log_of
from three_backup.model.local_time import spoken
from three_backup.model.moment import Moment
from three_backup.restoring.moments import LoggedCarrier, MomentFinder, Revive
from three_backup.restoring.snapshot_choice import Choice, whole_snapshots
from three_backup.restoring.snapshot_finder import Finder
from three_backup.sources.jobs import Landing
from three_backup.sources.logged import Window


@dataclass(frozen=True, slots=True)
class Place:
    """The state that a drill brings back: a snapshot, or a moment after it."""

    snapshot: Snapshot
    landing: Landing | None = None
    at: datetime | None = None  # in the time zone of the host

    def told(self, error: BackupError) -> BackupError:
        """Return the error with the moment, so that whoever reads it can bring that back."""
        if self.at is None:
            return error
        message = f"{error.message} (drill of {spoken(self.at)})"
        return type(error)(error.code, message, error.hint)


def drawn(newest: Snapshot, revive: Revive, chance: Random, zone: tzinfo) -> Place:
    """Draw a moment of the newest window after the carrier's newest snapshot but one.

    So it may lie between two snapshots, also just after one was taken. newest: any snapshot of the
    carrier. zone: in which the moment is told. Raises BackupError where no log leads on from its
    snapshots.
    """
    catalog, carrier = newest.catalog, newest.carrier
    source = keeping_of(carrier.type).logged
    log = None if source is None else log_of(catalog, carrier, catalog.filled(carrier))
    if source is None or log is None:
        raise BackupError(
            "verify.no_log",
            f"{carrier}: no log of its server is archived, so that it has no moment between "
            "snapshots",
            "only PostgreSQL's log is (tb-wal); without --between its newest snapshot is drilled",
        )
    times = [snapshot.id.time for snapshot in whole_snapshots(catalog, carrier)]
    for window in reversed(log.windows):
        at = _within(window, times, chance).astimezone(zone)
        finder = Finder([catalog], Choice())
        moments = MomentFinder([catalog], finder, Moment(at), revive, exact=False)
        found = moments.whole(LoggedCarrier(source, catalog, carrier), carrier)
        if found is not None:
            return Place(*found, at)
    raise BackupError(
        "verify.no_moment",
        f"{carrier}: no archived log leads on from any of its snapshots",
        "tb-list --snapshots tells which moments can be restored; a new snapshot opens a window",
    )


def _within(window: Window, times: list[datetime], chance: Random) -> datetime:
    """Return a moment of the window. times: of the snapshots, oldest first."""
    inside = [window.since, *(time for time in times if window.since < time <= window.until)]
    since = inside[-2] if len(inside) > 1 else inside[-1]
    return since + (window.until - since) * chance.random()
