"""A host whose backups the page shows: one is late, one fails, one has WAL, others are well."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

from three_backup.catalog.holds import Hold
from three_backup.config.settings import Settings
from three_backup.deciding.due import Clock
from three_backup.model.kept import Kept
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import CarriedObject, SnapshotId, Stored
from three_backup.model.storage import Storage
from three_backup.model.wal import Wal
from three_backup.sources import source_of
from three_backup.sources.logged import Log, Window
from three_backup.watching import health, log_health
from three_backup.watching.health import AgeLimits, Level, Trouble
from three_backup.watching.last_run import LastRun, Made
from three_backup.watching.overview import WatchedCarrier
from three_backup.watching.page.history import History, Point, Sizes, missed
from three_backup.watching.page.standing import Standing

ZONE = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 30, 8, 20, tzinfo=ZONE)
CLOCK = Clock(NOW, ZONE)
GRACE = timedelta(hours=2)
SETTINGS = Settings(Storage(Path("/var/lib/three_backup"), bucket="backups"))
WITH_WAL = replace(SETTINGS, wal=Wal.PULL)
MB, GB = 10**6, 10**9
CLUSTER = Carrier("postgres/cluster/7570983160428719214")


def alone() -> tuple[Standing, list[History]]:
    """Return how a host stands that has one carrier, with one snapshot."""
    (history,) = (each for each in HISTORIES if str(each.carrier).endswith("/web"))
    only = replace(history, points=history.points[-1:])
    return replace(STANDING, level=Level.OK, watched=[only.watched]), [only]


def _histories() -> Iterator[History]:
    denied = "the bucket is full: its quota is used up"
    yield _cluster()
    yield _history(
        "clickhouse/table/default/shop/visits",
        _nightly(days=36, skip=3, s3=True, local=0),
        (82 * GB, 0.9 * GB),
        made=Made(1, why=denied, failing_since=NOW - timedelta(days=2, hours=5)),
    )
    yield _history(
        "lxd/container/default/default/mail",
        _nightly(days=29, skip=1, s3=True, local=4),
        (24 * GB, 310 * MB),
    )
    yield _history(
        "lxd/container/default/default/web",
        _nightly(days=44, skip=0, s3=True, local=4),
        (6.1 * GB, 95 * MB),
        proved=timedelta(days=2),
    )
    yield _history(
        "lxd/volume/default/default/архив",
        _nightly(days=44, skip=0, s3=True, local=4),
        (141 * GB, 22 * MB),
        proved=timedelta(days=9),
    )
    yield _history(
        "clickhouse/table/default/shop/orders",
        _nightly(days=9, skip=0, s3=True, local=0),
        (3.4 * GB, 130 * MB),
    )


def _cluster() -> History:
    snapshots = _nightly(days=44, skip=0, s3=True, local=4)
    objects = [
        CarriedObject(ObjectId("postgres", "table", "shop", "public", name), int(size * MB))
        for name, size in (("orders", 9100), ("events", 7400), ("customers", 410), ("carts", 88))
    ]
    proved = {str(each.id): NOW - timedelta(days=3) for each in objects[:3]}
    gap = NOW - timedelta(days=12, hours=4)
    windows = (
        Window(snapshots[0].id.time, gap, snapshots[0].id),
        Window(gap + timedelta(hours=23), NOW - timedelta(minutes=4), snapshots[32].id),
    )
    log = Log(windows, NOW - timedelta(minutes=4), 31 * GB)
    alarms = log_health.troubles(log, WITH_WAL, CLOCK)
    sizes = (17 * GB, 240 * MB)
    return _history(CLUSTER, snapshots, sizes, objects, list(alarms), log=log, proofs=proved)


def _history(
    name: str,
    snapshots: Sequence[Stored],
    sizes: tuple[float, float],
    objects: Sequence[CarriedObject] = (),
    alarms: Sequence[Trouble] = (),
    *,
    made: Made | None = None,
    log: Log | None = None,
    proved: timedelta | None = None,
    proofs: dict[str, datetime] | None = None,
) -> History:
    carrier = Carrier(name)
    kept = source_of(carrier.type).kept
    judged = health.judge(snapshots, [SETTINGS], made, AgeLimits(GRACE), CLOCK, kept, alarms)
    held = tuple(objects) or (CarriedObject(ObjectId.parse(name), 0),)
    known = proofs or ({name: NOW - proved} if proved else {})
    watched = WatchedCarrier(carrier, held, judged, proved=known, log=log, settings=[SETTINGS])
    points = list(_points(snapshots, kept, *sizes, Random(name)))
    if log is not None:
        hold = Hold(carrier, points[20].stored.id, reason="before the migration")
        points[20] = replace(points[20], hold=hold)
    return History(watched, points, missed(watched, points[-1].time, CLOCK, GRACE))


def _nightly(*, days: int, skip: int, s3: bool, local: int) -> list[Stored]:
    """Return snapshots of so many nights, a base each month; the last nights were missed."""
    nights = [
        (NOW - timedelta(days=day)).replace(hour=3, minute=0) for day in range(days, skip - 1, -1)
    ]
    found: list[Stored] = []
    for number, night in enumerate(nights):
        is_base = number == 0 or night.day == 1
        snapshot = SnapshotId(night, None if is_base else found[-1].id.time)
        found.append(Stored(snapshot, local=len(nights) - number <= local, s3=s3))
    return found


def _points(
    snapshots: Sequence[Stored], kept: Kept, source: float, increment: float, chance: Random
) -> Iterator[Point]:
    size = source * 0.7
    for stored in snapshots:
        size += source * 0.3 / len(snapshots) * chance.uniform(0.2, 1.8)
        share = 1.8 if stored.id.time.weekday() < 5 else 0.5
        grown = increment * share * chance.uniform(0.5, 1.2)
        stored_size = size * 0.38 if stored.id.parent is None else grown
        yield Point(stored, sizes=Sizes(int(size), int(stored_size)))


HISTORIES = sorted(_histories(), key=lambda each: (-each.watched.health.level, each.carrier))
_LAST = LastRun(NOW - timedelta(hours=5, minutes=20), NOW - timedelta(hours=5, minutes=11), 1)
STANDING = Standing("db1", CLOCK, Level.CRITICAL, [each.watched for each in HISTORIES], last=_LAST)
"""How everything stands on a Monday morning."""
