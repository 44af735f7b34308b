"""The moments that can be restored: snapshots, and the archived WAL that leads on from them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from three_backup.errors import BackupError, ManifestError
from three_backup.model.snapshots import Manifest
from three_backup.sources.jobs import LogJob
from three_backup.sources.logged import Log, Window
from three_backup.sources.postgres.wal.archive import Contents, Reached, WalArchive
from three_backup.sources.postgres.wal.coverage import Stretch, stretch_at, stretches
from three_backup.sources.postgres.wal.span import Span
from three_backup.sources.postgres.wal.timelines import Leg, Way, way_to


def log(job: LogJob) -> Log | None:
    """Return which moments the archive covers, by a listing of it; None where it is empty."""
    contents = WalArchive(job.store, job.carrier).contents()
    timeline = contents.newest_timeline
    return None if timeline is None else covered(contents, timeline, job.manifests)


def covered(contents: Contents, timeline: int, manifests: Iterable[Manifest]) -> Log:
    """Return which moments can be restored along the way to a timeline.

    manifests: of the snapshots that can be restored. Moments on a timeline that the way leaves
    are not counted after that: the server went on from another state.
    """
    way, troubles = _way(timeline, contents)
    found = stretches(contents.pieces, way)
    spans = list(_passed(manifests, way))
    windows = (_window(span, spans, way, found, contents.reached) for span in spans)
    return Log(
        windows=tuple(_merged(window for window in windows if window is not None)),
        reached=_reached(found, way, contents.reached),
        stored_size=sum(piece.stored for piece in contents.pieces),
        troubles=troubles,
    )


def _way(timeline: int, contents: Contents) -> tuple[Way, tuple[str, ...]]:
    """Return the way to the timeline; without its history file it begins with the timeline."""
    try:
        return way_to(timeline, contents.histories), ()
    except BackupError as error:
        return Way((Leg(timeline, 0, None),)), (str(error),)


def _passed(manifests: Iterable[Manifest], way: Way) -> Iterator[Span]:
    """Yield the snapshots from which the way leads on; a false manifest opens no window."""
    for manifest in manifests:
        with suppress(ManifestError):
            span = Span.of(manifest)
            if way.passes(span.timeline, span.end):
                yield span


def _window(
    span: Span,
    spans: Sequence[Span],
    way: Way,
    found: Sequence[Stretch],
    reached: Reached | None,
) -> Window | None:
    stretch = stretch_at(found, span.end)
    # The first segment of a timeline is whole, though the way passes only the end of it.
    leg = next(leg for leg in way.legs if leg.timeline == span.timeline)
    if stretch is None or stretch.start > max(span.last_segment, leg.start):
        return None
    until = _until(stretch, way, reached, spans)
    if until is None or until <= span.since:
        return None
    return Window(span.since, until, span.snapshot)


def _until(
    stretch: Stretch, way: Way, reached: Reached | None, spans: Sequence[Span] = ()
) -> datetime | None:
    """Return until when the stretch is complete.

    Where nobody noted that, it is complete at most until its last piece was stored, and until the
    next snapshot began that ends behind it.
    """
    if reached is not None and _covers(stretch, way, reached):
        return reached.at
    if stretch.until is None:
        return None
    return min((stretch.until, *(span.begun for span in spans if span.end > stretch.end)))


def _covers(stretch: Stretch, way: Way, reached: Reached) -> bool:
    return way.passes(reached.timeline, reached.lsn) and stretch.covers(reached.lsn)


def _reached(found: Sequence[Stretch], way: Way, reached: Reached | None) -> datetime | None:
    if found:
        return _until(found[-1], way, reached)
    return None if reached is None else reached.at


def _merged(windows: Iterable[Window]) -> Iterator[Window]:
    """Yield windows that do not overlap, the oldest first."""
    last: Window | None = None
    for window in sorted(windows, key=lambda window: window.since):
        if last is None:
            last = window
        elif window.since <= last.until:
            last = replace(last, until=max(last.until, window.until))
        else:
            yield last
            last = window
    if last is not None:
        yield last
