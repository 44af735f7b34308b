"""PostgreSQL: a full backup of 3 GB, and increments after one per cent of the rows changed."""

from collections.abc import Callable

from tests.bench.cluster import Cluster, cluster, fill
from tests.bench.measure import Cost
from tests.bench.pgbackrest import NAME
from tests.bench.report import OURS, Bar, Plan, Run, bytes_shown, compare
from tests.bench.updates import Updates

ACCOUNTS = 100
DOCUMENTS = 6_000_000
_AT_LEVEL_3 = f"{OURS}, compression_level 3"
_PEER_AT_LEVEL_1 = f"{NAME}, zstd 1"
_STREAMED = "pg_basebackup, zstd -3"


def full(plan: Plan) -> None:
    with cluster(plan.folder) as made:
        fill(made, plan.scaled(ACCOUNTS), plan.scaled(DOCUMENTS))
        made.find_peer()
        runs = _runs(made, lambda: made.ours("--base"), lambda: made.theirs("full"), made.streamed)
        third = made.tools_with(compression_level=3)
        runs[_AT_LEVEL_3] = lambda: made.ours("--base", third)
        if made.peer is not None:
            runs[_PEER_AT_LEVEL_1] = lambda: made.theirs("full", 1)
        bars = (Bar("CPU", 1.0, (NAME,)), Bar("wall", 0.85, (NAME,)), Bar("size", 1.0, (NAME,)))
        compare(f"PostgreSQL, full, {bytes_shown(made.size())}", plan.runs, runs, bars)


def incremental(plan: Plan) -> None:
    accounts, documents = plan.scaled(ACCOUNTS), plan.scaled(DOCUMENTS)
    with cluster(plan.folder) as made:
        fill(made, accounts, documents)
        made.find_peer()
        for run in _runs(
            made, lambda: made.ours("--base"), lambda: made.theirs("full"), made.streamed
        ).values():
            run()
        runs = _runs(
            made,
            lambda: made.ours("--incremental"),
            lambda: made.theirs("incr"),
            made.streamed_increment,
        )
        bars = (Bar("CPU", 0.45, (NAME,)), Bar("size", 1.0, (NAME,)), Bar("wall", 0.45, (NAME,)))
        updates = Updates(made, accounts, documents)
        kinds = {"clustered": updates.clustered, "scattered": updates.scattered}
        for name, update in kinds.items():
            title = f"PostgreSQL, incremental, 1 % of the rows, {name}"
            compare(title, plan.runs, runs, bars, update)


def _runs(
    made: Cluster,
    ours: Callable[[], Cost],
    theirs: Callable[[], Cost],
    streamed: Callable[[], Cost],
) -> dict[str, Run]:
    runs: dict[str, Run] = {OURS: ours}
    if made.peer is not None:
        runs[NAME] = theirs
    runs[_STREAMED] = streamed
    return runs
