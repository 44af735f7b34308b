"""PostgreSQL with 10,000 tables: a full backup, and an increment with three tables changed."""

from tests.bench.cluster import Cluster, cluster
from tests.bench.report import OURS, Bar, Plan, Run, compare

TABLES = 10_000
_AT_ONCE = 500
_PEER = "pg_basebackup"
_MAKE = """do $$ begin for i in {first}..{last} loop
    execute format('create table t%s (id int primary key, body text)', i);
    execute format('insert into t%s select n, md5(n::text) from generate_series(1, 20) n', i);
end loop; end $$"""
_TOUCH = ("update t1 set body = '1'", "update t2 set body = '2'", "insert into t3 values (99, '')")


def run(plan: Plan) -> None:
    tables = plan.scaled(TABLES, least=3)
    with cluster(plan.folder) as made:
        make(made, tables)
        runs: dict[str, Run] = {
            OURS: lambda: made.ours("--base"),
            _PEER: lambda: made.plain(parent=False),
        }
        title = f"PostgreSQL, {tables} tables, full"
        compare(title, plan.runs, runs, (Bar("wall", 1.5, (_PEER,)),))
        touched: dict[str, Run] = {
            OURS: lambda: made.ours("--incremental"),
            _PEER: lambda: made.plain(parent=True),
        }
        title = f"PostgreSQL, {tables} tables, incremental, 3 of them touched"
        bars = (Bar("wall", 1.0, (_PEER,)),)
        compare(title, plan.runs, touched, bars, lambda: _touch(made))


def make(made: Cluster, tables: int) -> None:
    for first in range(1, tables + 1, _AT_ONCE):
        made.execute(_MAKE.format(first=first, last=min(first + _AT_ONCE - 1, tables)))
    made.execute("vacuum", "checkpoint")


def _touch(made: Cluster) -> None:
    made.execute("delete from t3 where id = 99", *_TOUCH, "checkpoint")
