"""Restore one table of 5,000 rows out of 3 GB, from S3 alone, by TLS."""

import json
import shutil
from pathlib import Path

from tests.bench.cluster import DATABASE, Cluster, cluster, fill
from tests.bench.measure import Cost
from tests.bench.pgbackrest import NAME, PgBackRest
from tests.bench.postgres import ACCOUNTS, DOCUMENTS
from tests.bench.report import OURS, Bar, Plan, Run, bytes_shown, compare, reached
from tests.bench.tools import Tools

_PERCENT = 0.01
_TABLE = f"postgres/table/{DATABASE}/public/small"
_THEIRS = """\
$pgbackrest restore --db-include={database} --pg1-path={folder} --type=immediate \
    --target-action=promote --archive-mode=off
pg_ctl -D {folder} -w -s -l {folder}/log start \
    -o "-c archive_mode=off -c listen_addresses= -c unix_socket_directories={folder}"
pg_dump -h {folder} -d {database} -t small > {folder}/small.sql
pg_ctl -D {folder} -w -s -m immediate stop
"""


def run(plan: Plan) -> None:
    with cluster(plan.folder) as made:
        fill(made, plan.scaled(ACCOUNTS), plan.scaled(DOCUMENTS))
        made.find_peer(in_s3=True)
        tools = made.tools_by_tls()
        made.ours("--base", tools)
        tools.cost("tb-discover -s postgres | tb-upload")
        runs: dict[str, Run] = {OURS: lambda: _ours(made, tools)}
        if made.peer is not None:
            made.theirs("full")
            peer = made.peer
            runs[NAME] = lambda: _theirs(peer, made.folder / "peer/restored")
        title = f"One table of 5,000 rows out of {bytes_shown(made.size())}, size: bytes read"
        costs = compare(title, plan.runs, runs, (Bar("wall", 1 / 8, (NAME,)),))
        read = max(cost.size for cost in costs[OURS])
        reached("bytes read", read, _PERCENT * made.size(), bytes_shown)


def _ours(made: Cluster, tools: Tools) -> Cost:
    """Restore the table with no local files left."""
    shutil.rmtree(tools.local)
    made.execute("drop table if exists small_back")
    cost = tools.cost(f"tb-restore --level3-suffix _back {_TABLE}")
    return cost.of_size(json.loads(cost.output)["restored"]["bytes_read"])


def _theirs(peer: PgBackRest, folder: Path) -> Cost:
    """Restore the database and dump the table: pgBackRest restores no less than a database."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    peer.give(folder)
    return peer.shell(f"set -e; {_THEIRS.format(database=DATABASE, folder=folder)}")
