"""The cost of restoring ten and a hundred times as much, and the memory that it takes."""

from collections.abc import Iterator
from pathlib import Path

from tests.bench import growth, restore_cluster, restore_tables
from tests.bench.report import Plan, Run, bytes_shown, reached, say
from tests.bench.restore_cluster import MEMORY
from tests.bench.stored import stored

_SMALLEST = 1  # hundred thousand rows of pgbench


def run(plan: Plan) -> None:
    for work in _WORKS:
        costs = growth.measured(plan, work)
        memory = max(cost.unserved for cost in costs)
        reached("memory of all programs but PostgreSQL's servers", memory, MEMORY, bytes_shown)
        say(f"- memory with these: {bytes_shown(max(cost.memory for cost in costs))}")


def _cluster(folder: Path, share: float) -> Iterator[Run]:
    accounts = max(_SMALLEST, round(restore_cluster.ACCOUNTS * share))
    documents = max(1, round(restore_cluster.DOCUMENTS * share))
    with stored(folder, accounts, documents) as chain:
        chain.base()
        chain.extend()
        yield lambda: restore_cluster.restored(chain)


def _table(folder: Path, share: float) -> Iterator[Run]:
    with stored(folder, _SMALLEST, max(1, round(restore_tables.DOCUMENTS * share))) as chain:
        restore_tables.store_large(chain)
        yield lambda: restore_tables.restored_large(chain)


_WORKS = (
    growth.Work("a restore of a cluster, 3 GB at full scale, base and 3 incrementals", _cluster),
    growth.Work("a restore of a table, 1 GB at full scale, base and 3 incrementals", _table),
)
