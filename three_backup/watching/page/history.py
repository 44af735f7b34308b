"""The snapshots of one carrier as the page shows them, read with few requests."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.holds import Hold
from three_backup.deciding.due import Clock, schedules
from three_backup.errors import BackupError, s3_is_away
from three_backup.model.dependencies import missing_links
from three_backup.model.kept import Kept
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Kind, SnapshotId, Stored
from three_backup.sources import source_of
from three_backup.watching.overview import WatchedCarrier

_MOST_POINTS, _MOST_MISSED = 300, 60


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of a snapshot: at the source, and of what is stored of it."""

    source: int
    stored: int


@dataclass(frozen=True, slots=True)
class Point:
    """A snapshot."""

    stored: Stored
    is_whole: bool = True  # it can be restored
    sizes: Sizes | None = None  # None: not read
    hold: Hold | None = None  # keeps it, whatever retention says

    @property
    def time(self) -> datetime:
        return self.stored.id.time

    @property
    def is_base(self) -> bool:
        return self.stored.id.kind is Kind.BASE


@dataclass(frozen=True, slots=True)
class History:
    """A carrier with its snapshots, oldest first, and what was due since the newest."""

    watched: WatchedCarrier
    points: Sequence[Point] = ()
    missed: Sequence[datetime] = ()  # when snapshots were due, oldest first
    older: int = 0  # how many snapshots are there beside the points

    @property
    def carrier(self) -> Carrier:
        return self.watched.carrier

    @property
    def kept(self) -> Kept:
        return source_of(self.carrier.type).kept

    @property
    def chains(self) -> list[tuple[Point, Point]]:
        """The first and the last snapshot of each chain, oldest first."""
        first: dict[datetime, Point] = {}
        last: dict[datetime, Point] = {}
        for point in self.points:
            parent = point.stored.id.parent
            beginning = first.get(parent, point) if parent else point
            first[point.time] = beginning
            last[beginning.time] = point
        return [(first[time], end) for time, end in last.items()]


class Reader:
    """Reads histories; no more manifests come from S3 than allowed, since each is a request."""

    def __init__(self, clock: Clock, grace: timedelta, requests: int) -> None:
        self._clock = clock
        self._grace = grace
        self._left = requests

    def history(self, watched: WatchedCarrier) -> History:
        catalog = watched.catalog
        if catalog is None:
            return History(watched)
        every = catalog.snapshots(watched.carrier)
        snapshots = every[-_MOST_POINTS:]
        filled = catalog.filled(watched.carrier)
        missing = missing_links(filled, source_of(watched.carrier.type).kept)
        whole = {stored.id for stored in filled} - missing.keys()
        sizes = dict(self._sizes(catalog, watched.carrier, snapshots))
        holds = self._holds(catalog, watched.carrier)
        points = [
            Point(stored, stored.id in whole, sizes.get(stored.id), holds.get(stored.id))
            for stored in snapshots
        ]
        newest = max((point.time for point in points if point.is_whole), default=None)
        due = missed(watched, newest, self._clock, self._grace)
        return History(watched, points, due, len(every) - len(points))

    def _holds(self, catalog: Catalog, carrier: Carrier) -> Mapping[SnapshotId, Hold]:
        try:
            return catalog.holds.in_force(carrier, self._clock.now)
        except BackupError:  # tb-keep and each rotation say so
            return {}

    def _sizes(
        self, catalog: Catalog, carrier: Carrier, snapshots: Sequence[Stored]
    ) -> Iterator[tuple[SnapshotId, Sizes]]:
        for stored in reversed(snapshots):
            if not catalog.has_at_hand(carrier, stored):
                if not self._left:
                    continue
                self._left -= 1
            try:
                manifest = catalog.manifest(carrier, stored)
            except BackupError as error:  # how everything stands says so
                self._left = 0 if s3_is_away(error) else self._left
                continue
            yield stored.id, Sizes(manifest.source_size, manifest.stored_size)


def missed(
    watched: WatchedCarrier, newest: datetime | None, clock: Clock, grace: timedelta
) -> list[datetime]:
    """Return when snapshots were due that nobody took since the newest, oldest first."""
    if newest is None or watched.gone:
        return []
    kept = source_of(watched.carrier.type).kept
    due = {cron for kind in Kind for cron in schedules(watched.settings, kind, kept)}
    times: list[datetime] = []
    time = newest
    while due and len(times) < _MOST_MISSED:
        time = min(cron.next_firing(time, clock.zone) for cron in due)
        if time > clock.now - grace:
            break
        times.append(time)
    return times
