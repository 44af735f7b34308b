"""ClickHouse: the backup of a table of 1 GB and its restore, beside the bare statements."""

import json
import shlex
from itertools import count

from tests.bench.measure import Cost
from tests.bench.report import OURS, Bar, Plan, Run, bytes_shown, compare
from tests.bench.tools import BUCKET, Tools
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.demo.seaweed import SeaweedServer

_ROWS = 110_000_000
_PEER = "bare SQL"
_BARS = (Bar("wall", 1.05, (_PEER,)), Bar("CPU", 1.05, (_PEER,)))
_MAKE = (
    "create table visits (id UInt64, noise UInt64) engine = MergeTree order by id "
    "settings min_bytes_for_wide_part = 0"
)
_FILL = "insert into visits select number, rand64() from numbers({rows})"
_SIZE = "select total_bytes from system.tables where name = 'visits' and database = 'default'"
_TARGET = "S3('{endpoint}/{bucket}/{folder}', '{key}', '{secret}')"


class _Server:
    def __init__(self, plan: Plan, server: ClickhouseServer, s3: SeaweedServer) -> None:
        self.server = server
        self._s3 = s3
        pids = (server.pid, s3.pid)
        self._tools = Tools(plan.folder, s3, pids, server.environ)
        self._numbers = count(1)
        self._folder = ""

    def fill(self, rows: int) -> int:
        """Make the table, and return its size in bytes."""
        self.server.execute(_MAKE)
        self.server.execute(_FILL.format(rows=rows))
        self.server.execute("optimize table visits final")
        return int(self.server.rows(_SIZE)[0][0])

    def backup(self) -> Cost:
        return self._tools.cost(
            "tb-discover -s clickhouse/table/default/default/visits | tb-snapshot --base"
        )

    def bare_backup(self) -> Cost:
        self._folder = f"bare/{next(self._numbers)}"
        return self._ask(f"backup table visits to {self._target()}")

    def restore(self) -> Cost:
        self.server.execute("drop table if exists visits_back sync")
        cost = self._tools.cost(
            "tb-restore --level3-suffix _back clickhouse/table/default/default/visits"
        )
        assert "error" not in json.loads(cost.output)
        return cost

    def bare_restore(self) -> Cost:
        self.server.execute("drop table if exists visits_bare sync")
        return self._ask(f"restore table visits as visits_bare from {self._target()}")

    def _target(self) -> str:
        return _TARGET.format(
            endpoint=self._s3.endpoint,
            bucket=BUCKET,
            folder=self._folder,
            key=self._s3.access_key,
            secret=self._s3.secret_key,
        )

    def _ask(self, statement: str) -> Cost:
        return self._tools.cost(f"clickhouse-client --query {shlex.quote(statement)}")


def run(plan: Plan) -> None:
    with (
        ClickhouseServer(plan.folder / "clickhouse") as server,
        SeaweedServer(plan.folder / "s3") as s3,
    ):
        s3.create_bucket(BUCKET)
        made = _Server(plan, server, s3)
        size = bytes_shown(made.fill(plan.scaled(_ROWS)))
        runs: dict[str, Run] = {OURS: made.backup, _PEER: made.bare_backup}
        compare(f"ClickHouse, backup of {size}", plan.runs, runs, _BARS)
        back: dict[str, Run] = {OURS: made.restore, _PEER: made.bare_restore}
        compare(f"ClickHouse, restore of {size}", plan.runs, back, _BARS)
