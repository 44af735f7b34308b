"""Look into a snapshot of 3 GB in S3, by TLS: rows of a small and a large table, and what differs.

The peer knows no way but to restore the database, to start a server on it, and to ask that.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cluster import DATABASE, Cluster
from tests.bench.measure import Cost
from tests.bench.pgbackrest import NAME, PgBackRest
from tests.bench.report import OURS, Bar, Plan, Run, bytes_shown, compare
from tests.bench.restore_cluster import ACCOUNTS
from tests.bench.restore_tables import DOCUMENTS, store_large
from tests.bench.stored import Stored, stored

_OBJECT = f"postgres/table/{DATABASE}/public/"
_RESTORED = """\
set -e
$pgbackrest restore --db-include={database} --pg1-path={folder} --type=immediate \
    --target-action=promote --archive-mode=off
pg_ctl -D {folder} -w -s -l {folder}/log start \
    -o "-c archive_mode=off -c listen_addresses= -c unix_socket_directories={folder}"
{line}
pg_ctl -D {folder} -w -s -m immediate stop
"""
_WRITTEN = "psql -h {folder} -d {database} -c '\\copy {table} to {folder}/rows csv'"
_DIFFERENCE = (
    "diff <(psql -h {folder} -d {database} -c '\\copy (table documents order by id) to stdout') "
    "<(psql -d {database} -c '\\copy (table documents order by id) to stdout') "
    "> {folder}/difference || test $? = 1"
)


def run(plan: Plan) -> None:
    accounts, documents = plan.scaled(ACCOUNTS), plan.scaled(DOCUMENTS)
    with stored(plan.folder, accounts, documents, beside_peer=True) as chain:
        store_large(chain)
        made, sides = chain.made, _Sides(chain)
        size, large = bytes_shown(made.size()), bytes_shown(made.table_size("documents"))
        for title, table in (("5,000 rows", "small"), (f"A table of {large}", "documents")):
            line = _WRITTEN.format(folder="{folder}", database=DATABASE, table=table)
            sides.compare(plan, f"{title} out of {size} as CSV", sides.cat(table), line)
        title = f"A table of {large} in a snapshot of {size}, and live"
        sides.compare(plan, f"{title}: equal", sides.diff, _DIFFERENCE)
        made.execute("update documents set body = 'wrong' where id % 10000 = 7")
        sides.compare(plan, f"{title}: one row of 10,000 differs", sides.diff, _DIFFERENCE)


@dataclass(frozen=True, slots=True)
class _Sides:
    """Both ways to look."""

    chain: Stored

    def compare(self, plan: Plan, title: str, ours: Run, theirs: str) -> None:
        """theirs: a line of shell, once the server is restored in `folder`."""
        runs = {OURS: ours}
        if self._made.peer is not None:
            peer = self._made.peer
            runs[NAME] = lambda: _restored(peer, self._made.folder / "peer/restored", theirs)
        bars = (Bar("wall", None, (NAME,)), Bar("CPU", None, (NAME,)))
        compare(f"{title}; size: bytes read", plan.runs, runs, bars)

    def cat(self, table: str) -> Run:
        rows = self._made.folder / "rows.csv"
        return lambda: self._looked(f"tb-cat {_OBJECT}{table} > {rows}", table)

    def diff(self) -> Cost:
        return self._looked(f"tb-diff {_OBJECT}documents || test $? = 1", "documents")

    def _looked(self, line: str, table: str) -> Cost:
        """The bytes read are those of a comparison, which reads the same files."""
        self.chain.forget()
        told = self.chain.tools.cost(f"tb-diff {_OBJECT}{table} || test $? = 1").output
        self.chain.forget()
        read = json.loads(told)["difference"]["bytes_read"]
        return self.chain.tools.cost(line).of_size(read)

    @property
    def _made(self) -> Cluster:
        return self.chain.made


def _restored(peer: PgBackRest, folder: Path, line: str) -> Cost:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    peer.give(folder)
    told = line.format(folder=folder, database=DATABASE)
    return peer.shell(_RESTORED.format(database=DATABASE, folder=folder, line=told))
