"""Restore tables into the live database from S3: one of 1 GB, and 200 small ones at once.

The peer dumps the live tables and restores them into a database beside: it needs neither snapshot
nor S3, so that only what a restore does to the live server is alike.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from tests.bench.cluster import DATABASE, Cluster
from tests.bench.content import hashes
from tests.bench.measure import Cost
from tests.bench.report import OURS, Bar, Plan, Run, bytes_shown, compare, reached
from tests.bench.restore_cluster import MEMORY
from tests.bench.stored import Stored, settle, stored

DOCUMENTS = 6_800_000  # with their primary key 1 GB
_ACCOUNTS = 10
_FILED = "pg_dump -Fc, pg_restore -j2"
_PIPED = "pg_dump -Fc -Z0 into pg_restore"
_PEERS: Mapping[str, str] = {
    _FILED: "pg_dump -Fc {tables} -f {file} && pg_restore -j2 -d {beside} {file}",
    _PIPED: "pg_dump -Fc -Z0 {tables} | pg_restore -d {beside}",
}
_BESIDE = "beside"
_SCHEMA, _BACK = "shop", "back"
_SMALL = 200
_MAKE_SMALL = """do $$ begin for i in 1..{tables} loop
    execute format('create table {schema}.t%s (id int primary key, body text)', i);
    execute format('insert into {schema}.t%s '
        'select n, repeat(md5(n::text), 3) from generate_series(1, 1000) n', i);
end loop; end $$"""


def large(plan: Plan) -> None:
    with stored(plan.folder, plan.scaled(_ACCOUNTS), plan.scaled(DOCUMENTS)) as chain:
        made = chain.made
        store_large(chain)
        size = bytes_shown(made.table_size("documents"))
        title = f"A table of {size} into the live database"
        runs = _runs(made, lambda: restored_large(chain), "-t documents")
        _compare(plan, title, runs, 1.1)
        _assert_equal(made, ["documents"], ["documents_back"])


def small(plan: Plan) -> None:
    tables = plan.scaled(_SMALL, least=3)
    with stored(plan.folder, plan.scaled(_ACCOUNTS), plan.scaled(DOCUMENTS // 10)) as chain:
        made = chain.made
        made.execute(f"create schema {_SCHEMA}", _MAKE_SMALL.format(tables=tables, schema=_SCHEMA))
        chain.base()
        chain.extend()
        runs = _runs(made, lambda: _restored_small(chain), f"-t '{_SCHEMA}.*'")
        title = f"{tables} tables of 1,000 rows at once into the live database"
        costs = _compare(plan, title, runs, 1.0)
        servers = max(cost.daemons for cost in costs)
        reached("scratch servers", servers, 1, lambda value: f"{value:.0f}")
        names = [f"t{number}" for number in range(1, tables + 1)]
        came = [f"{_BACK}.{name}" for name in names]
        _assert_equal(made, [f"{_SCHEMA}.{name}" for name in names], came)


def store_large(chain: Stored) -> None:
    """Store a chain with the table of documents, which gets a primary key."""
    chain.made.execute("alter table documents add primary key (id)")
    chain.base()
    chain.extend()


def restored_large(chain: Stored) -> Cost:
    chain.made.execute("drop table if exists documents_back", "checkpoint")
    return chain.restore(f"--level3-suffix _back postgres/table/{DATABASE}/public/documents")


def _restored_small(chain: Stored) -> Cost:
    chain.made.execute(f"drop schema if exists {_BACK} cascade", "checkpoint")
    return chain.restore(f"--level2 {_BACK} 'postgres/table/{DATABASE}/{_SCHEMA}/*'")


def _runs(made: Cluster, ours: Run, tables: str) -> dict[str, Run]:
    """tables: options of pg_dump that name the tables."""
    runs: dict[str, Run] = {OURS: ours}
    for name, line in _PEERS.items():
        runs[name] = partial(_theirs, made, line, tables)
    return runs


def _theirs(made: Cluster, line: str, tables: str) -> Cost:
    made.execute(f"drop database if exists {_BESIDE}", f"create database {_BESIDE}")
    made.shell(f"psql -q -d {_BESIDE} -c 'create schema {_SCHEMA}'")
    file = made.folder / "dumped"
    file.unlink(missing_ok=True)
    made.execute("checkpoint")
    settle()
    named = f"{tables} {DATABASE}"
    return made.tools.cost(line.format(tables=named, file=file, beside=_BESIDE))


def _compare(plan: Plan, title: str, runs: Mapping[str, Run], most: float) -> Sequence[Cost]:
    """Return the costs of ours."""
    bars = (
        Bar("wall", most, (_FILED,)),
        Bar("wall", None, (_PIPED,)),
        Bar("CPU", None, (_FILED,)),
    )
    costs = compare(title, plan.runs, runs, bars)[OURS]
    reached("memory without servers", max(cost.unserved for cost in costs), MEMORY, bytes_shown)
    return costs


def _assert_equal(made: Cluster, live: Sequence[str], came: Sequence[str]) -> None:
    there, here = (hashes(made.server, DATABASE, tables) for tables in (live, came))
    assert list(there.values()) == list(here.values()), "what came back differs"
