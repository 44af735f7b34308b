"""The moments that can be restored: snapshots, and the archived WAL that leads on from them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from three_backup.model.snapshots import Manifest
from three_backup.sources.jobs import LogJob
from three_backup.sources.logged import Log, Window
from three_backup.sources.postgres.wal.archive import Contents, Reached, WalArchive
from three_backup.sources.postgres.wal.coverage import Stretch, stretches
from three_backup.sources.postgres.wal.span import Span, passed
from three_backup.sources.postgres.wal.timelines import Way, known_way_to


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
    way, trouble = known_way_to(timeline, contents.histories)
    found = stretches(contents.pieces, way)
    spans = passed(manifests, way)
    windows = (_window(span, spans, way, found, contents.reached) for span in spans)
    return Log(
        windows=tuple(_merged(window for window in windows if window is not None)),
        reached=_reached(found, way, contents.reached),
        stored_size=sum(piece.stored for piece in contents.pieces),
        troubles=(trouble,) if trouble else (),
    )


def _window(
    span: Span,
    spans: Sequence[Span],
    way: Way,
    found: Sequence[Stretch],
    reached: Reached | None,
) -> Window | None:
    stretch = span.followed_by(found, way)
    if stretch is None:
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
