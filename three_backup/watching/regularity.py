"""Judges the snapshots of another host, whose schedules nobody here knows. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from three_backup.model.dependencies import missing_links
from three_backup.model.kept import Kept
from three_backup.model.snapshots import Stored
from three_backup.screen.formats import age, duration
from three_backup.watching.health import AgeLimits, Level, Trouble

_GAPS = 7
"""So many of the last gaps between snapshots count: older ones were thinned out by retention."""

_REGULAR, _DAY = 3, timedelta(days=1)
"""Of fewer gaps each may be one between snapshots by hand: then a day is taken at least."""

_LONE = timedelta(days=31)
"""How soon a second snapshot is expected: no default schedule is sparser."""


def lateness(snapshots: Sequence[Stored], patience: AgeLimits, now: datetime) -> Iterator[Trouble]:
    """Yield what is wrong with the age of the newest snapshot that S3 alone can restore.

    snapshots: oldest first. With max_age that alone counts. Else it is late once it is older than
    twice the longest of the last gaps plus grace, and critical at twice that.
    """
    times = _good(snapshots)
    if not times:
        yield Trouble(Level.CRITICAL, "there is no good snapshot in S3")
        return
    since = now - times[-1]
    old = age(times[-1], now)
    if patience.max_age is not None:
        if since > patience.max_age:
            told = f"the newest good snapshot is {old} old, which is too old"
            yield Trouble(Level.CRITICAL, told)
        return
    gaps = [later - earlier for earlier, later in pairwise(times)][-_GAPS:]
    longest = max(gaps, default=_LONE)
    if len(gaps) < _REGULAR:
        longest = max(longest, _DAY)
    late = 2 * longest + patience.grace
    if since > late:
        level = Level.CRITICAL if since > 2 * late else Level.WARNING
        apart = duration(max(gaps, default=longest).total_seconds())
        usual = f"the last ones came at most {apart} apart" if gaps else "it is the only one"
        yield Trouble(level, f"the newest snapshot is {old} old, and {usual}")


def _good(snapshots: Sequence[Stored]) -> list[datetime]:
    in_s3 = [stored for stored in snapshots if stored.s3]
    missing = missing_links(in_s3, Kept.FOLDERS)
    return [stored.id.time for stored in in_s3 if stored.id not in missing]
