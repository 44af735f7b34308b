"""tb-run where nothing is due, with 10,000 objects and 43 snapshots of each in S3."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from tests.bench.report import OURS, Plan, bytes_shown, compare, reached
from tests.bench.sink import ETAG, sink
from tests.bench.tools import Tools
from three_backup import layout
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.snapshots import SnapshotId

_OBJECTS = 10_000
_BASES = 3
_INCREMENTALS = 40
_PAGE = 1000
_CPU_SECONDS = 3.0
_MEMORY = 150_000_000
_CLUSTER = "clickhouse/table/default/shop"
_ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    f"<ETag>{ETAG}</ETag><Size>900</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


class Manifests:
    """Lists the manifests of so many tables, a thousand keys an answer."""

    def __init__(self, prefix: str, objects: int, now: datetime) -> None:
        snapshots = list(_snapshots(now))
        keys = (
            f"{prefix}/{layout.manifest_key(f'{_CLUSTER}/{name}', one)}"
            for name in names(objects)
            for one in snapshots
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


def run(plan: Plan) -> None:
    objects = plan.scaled(_OBJECTS)
    listing = Manifests("host", objects, datetime.now(UTC))
    with (
        ClickhouseServer(plan.folder / "clickhouse") as server,
        sink(listing=listing) as s3,
    ):
        server.execute("create database shop")
        for name in names(objects):
            server.execute(f"create table shop.{name} (id UInt64) engine = MergeTree order by id")
        tools = Tools(plan.folder, s3, (), server.environ, s3_prefix="host")
        runs = {OURS: lambda: tools.cost("tb-run -q -s clickhouse")}
        s3.requests = 0
        title = f"tb-run, nothing due, {objects} objects, {len(listing.keys)} manifests"
        costs = compare(title, plan.runs, runs)[OURS]
        most = len(listing.keys) / _PAGE + 20
        reached("requests", s3.requests / plan.runs, most, lambda count: f"{count:.0f}")
        cpu = min(cost.cpu for cost in costs)
        reached("CPU of the tools", cpu, _CPU_SECONDS, lambda seconds: f"{seconds:.2f} s")
        reached("memory of a tool", max(one.largest for one in costs), _MEMORY, bytes_shown)


def names(objects: int) -> Iterator[str]:
    return (f"t{number:06}" for number in range(objects))


def _snapshots(now: datetime) -> Iterator[SnapshotId]:
    """As the defaults of retention leave them, none of them due: the newest is a base of today."""
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
