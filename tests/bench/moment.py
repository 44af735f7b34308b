"""Restore one table as it was at a moment between backups, out of 3 GB, from S3 alone, by TLS."""

import json
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from tests.bench.cluster import DATABASE, Cluster, cluster, fill
from tests.bench.measure import Cost
from tests.bench.pgbackrest import NAME, PgBackRest
from tests.bench.postgres import ACCOUNTS, DOCUMENTS
from tests.bench.report import OURS, Bar, Plan, Run, bytes_shown, compare, say
from tests.bench.tools import Tools

_TABLE = f"postgres/table/{DATABASE}/public/small"
_ROWS = "select count(*), sum(hashtext(t::text)) from {} t"
_CHANGED = (
    (
        "update pgbench_accounts set abalance = abalance + 1 "
        "where aid <= (select max(aid) / 20 from pgbench_accounts)"
    ),
    "update small set md5 = md5(md5) where i % 3 = 0",
    "update documents set body = body || ' ' where id <= (select max(id) / 40 from documents)",
    "checkpoint",
)
_ROUNDS = 4
_THEIRS = """\
$pgbackrest restore --db-include={database} --pg1-path={folder} --type=time \
    --target='{moment}' --target-action=promote --archive-mode=off
pg_ctl -D {folder} -w -s -t 3600 -l {folder}/log start \
    -o "-c archive_mode=off -c listen_addresses= -c unix_socket_directories={folder}"
recovering="select pg_is_in_recovery()"
until [ "$(psql -h {folder} -d {database} -Atc "$recovering")" = f ]; do sleep 0.1; done
pg_dump -h {folder} -d {database} -t small > {folder}/small.sql
psql -h {folder} -d {database} -Atc "{rows}"
pg_ctl -D {folder} -w -s -m immediate stop
"""


def run(plan: Plan) -> None:
    with cluster(plan.folder) as made:
        fill(made, plan.scaled(ACCOUNTS), plan.scaled(DOCUMENTS))
        made.find_peer(in_s3=True)
        tools = made.tools_by_tls(wal="pull")
        tools.cost("tb-wal pull")
        made.ours("--base", tools)
        tools.cost("tb-discover -s postgres | tb-upload")
        peer = made.peer
        if peer is not None:
            _archive(made, peer)
            peer.cost("backup --type=full")
        moment, rows = _past(made)
        tools.cost("tb-wal pull")
        runs: dict[str, Run] = {OURS: lambda: _ours(made, tools, moment, rows)}
        if peer is not None:
            _await_archived(made)
            restored = made.folder / "peer/restored"
            runs[NAME] = lambda: _theirs(peer, restored, moment, rows)
        title = f"One table of 5,000 rows at a moment, out of {bytes_shown(made.size())}"
        costs = compare(
            f"{title}, size: bytes read", plan.runs, runs, (Bar("wall", None, (NAME,)),)
        )
        told = json.loads(costs[OURS][-1].output)["restored"]["moment"]
        say(f"- replayed: {bytes_shown(told['wal_bytes'])} in {told['seconds']:.1f} s")


def _past(made: Cluster) -> tuple[str, str]:
    """Let things change before and after a moment; return it, and what the table held then."""
    for _ in range(_ROUNDS):
        made.execute(*_CHANGED)
    time.sleep(0.1)
    with psycopg.connect(made.server.conninfo(DATABASE), autocommit=True) as connection:
        ((now,),) = connection.execute("select clock_timestamp()")
        (rows,) = connection.execute(_ROWS.format("small").encode())
    time.sleep(0.1)
    made.execute(*_CHANGED, "select pg_switch_wal()")
    assert isinstance(now, datetime)
    return now.astimezone(UTC).isoformat(), "|".join(map(str, rows))


def _archive(made: Cluster, peer: PgBackRest) -> None:
    made.execute(
        f"alter system set archive_command = '{peer.archives}'", "select pg_reload_conf()"
    )


def _await_archived(made: Cluster) -> None:
    """Wait until the server has archived all that it has written."""
    ready = made.server.pgdata / "pg_wal" / "archive_status"
    while any(ready.glob("*.ready")):
        time.sleep(0.2)


def _ours(made: Cluster, tools: Tools, moment: str, rows: str) -> Cost:
    """Restore the table with no local files left, into the running database."""
    shutil.rmtree(tools.local)
    made.execute("drop table if exists small_back")
    cost = tools.cost(f"tb-restore --at {moment} --level3-suffix _back {_TABLE}")
    with psycopg.connect(made.server.conninfo(DATABASE)) as connection:
        (found,) = connection.execute(_ROWS.format("small_back").encode())
    assert "|".join(map(str, found)) == rows
    told = json.loads(cost.output)["restored"]
    return cost.of_size(told["bytes_read"] + told["moment"]["wal_bytes"])


def _theirs(peer: PgBackRest, folder: Path, moment: str, rows: str) -> Cost:
    """Restore the database to the moment and dump the table."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    peer.give(folder)
    target = moment.replace("T", " ").replace("+00:00", "+00")
    counted = _ROWS.format("small")
    line = _THEIRS.format(database=DATABASE, folder=folder, moment=target, rows=counted)
    cost = peer.shell(f"set -e; {line}")
    assert cost.output.strip().splitlines()[-1] == rows
    return cost
