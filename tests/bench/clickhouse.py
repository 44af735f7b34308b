"""ClickHouse: backup and restore of 1 GB, in one table and in four, beside the bare statements."""

import json
import shlex
from collections.abc import Sequence
from itertools import count

from tests.bench.measure import Cost
from tests.bench.report import OURS, Bar, Plan, Run, bytes_shown, compare
from tests.bench.tools import BUCKET, Tools
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.demo.seaweed import SeaweedServer

_ROWS = 110_000_000
_SHARES = 4  # tables in which the same rows lie, too
_PEER = "bare SQL"
_BARS = (Bar("wall", 1.05, (_PEER,)), Bar("CPU", 1.05, (_PEER,)))
_CHECKED = (Bar("wall", 1.0, (_PEER,)), Bar("CPU", None, (_PEER,)))
_MAKE = (
    "create table {table} (id UInt64, noise UInt64) engine = MergeTree order by id "
    "settings min_bytes_for_wide_part = 0"
)
_FILL = "insert into {table} select number, rand64() from numbers({rows})"
_SIZE = "select sum(total_bytes) from system.tables where startsWith(name, '{start}')"
_TARGET = "S3('{endpoint}/{bucket}/{folder}', '{key}', '{secret}')"
_BACK, _BARE = "_back", "_bare"
_IDS = "clickhouse/table/default/default"


class _Server:
    def __init__(self, plan: Plan, server: ClickhouseServer, s3: SeaweedServer) -> None:
        self.server = server
        self._s3 = s3
        pids = (server.pid, s3.pid)
        self._tools = Tools(plan.folder, s3, pids, server.environ)
        self._numbers = count(1)
        self._folder = ""

    def fill(self, tables: Sequence[str], rows: int) -> str:
        """Make the tables, with so many rows together, and return their size."""
        for table in tables:
            self.server.execute(_MAKE.format(table=table))
            self.server.execute(_FILL.format(table=table, rows=rows // len(tables)))
            self.server.execute(f"optimize table {table} final")
        start = tables[0].rstrip("1")
        return bytes_shown(int(self.server.rows(_SIZE.format(start=start))[0][0]))

    def backup(self, tables: Sequence[str]) -> Cost:
        chosen = " ".join(f"-s {_IDS}/{table}" for table in tables)
        return self._tools.cost(f"tb-discover {chosen} | tb-snapshot --base")

    def bare_backup(self, tables: Sequence[str]) -> Cost:
        self._folder = f"bare/{next(self._numbers)}"
        return self._ask(*(f"backup table {table} to {self._target(table)}" for table in tables))

    def restore(self, tables: Sequence[str], option: str = "") -> Cost:
        self._drop(tables, _BACK)
        names = " ".join(f"{_IDS}/{table}" for table in tables)
        cost = self._tools.cost(f"tb-restore {option} --level3-suffix {_BACK} {names}")
        records = [json.loads(line) for line in cost.output.splitlines()]
        assert len(records) == len(tables)
        assert not any("error" in record for record in records)
        return cost

    def bare_restore(self, tables: Sequence[str], *, check: bool) -> Cost:
        self._drop(tables, _BARE)
        statements = []
        for table in tables:
            copy = f"{table}{_BARE}"
            statements.append(f"restore table {table} as {copy} from {self._target(table)}")
            statements += [f"check table {copy}"] if check else []
        return self._ask(*statements)

    def _drop(self, tables: Sequence[str], suffix: str) -> None:
        for table in tables:
            self.server.execute(f"drop table if exists {table}{suffix} sync")

    def _target(self, table: str) -> str:
        return _TARGET.format(
            endpoint=self._s3.endpoint,
            bucket=BUCKET,
            folder=f"{self._folder}/{table}",
            key=self._s3.access_key,
            secret=self._s3.secret_key,
        )

    def _ask(self, *statements: str) -> Cost:
        asked = (f"clickhouse-client --query {shlex.quote(statement)}" for statement in statements)
        return self._tools.cost(" && ".join(asked))


def run(plan: Plan) -> None:
    with (
        ClickhouseServer(plan.folder / "clickhouse") as server,
        SeaweedServer(plan.folder / "s3") as s3,
    ):
        s3.create_bucket(BUCKET)
        made = _Server(plan, server, s3)
        _compare(plan, made, ("visits",))
        _compare(plan, made, tuple(f"share{number}" for number in range(1, _SHARES + 1)))


def _compare(plan: Plan, made: _Server, tables: Sequence[str]) -> None:
    size = made.fill(tables, plan.scaled(_ROWS))
    what = f"{size} in {len(tables)} tables" if len(tables) > 1 else f"{size} in one table"
    runs: dict[str, Run] = {
        OURS: lambda: made.backup(tables),
        _PEER: lambda: made.bare_backup(tables),
    }
    compare(f"ClickHouse, backup of {what}", plan.runs, runs, _BARS)
    runs = {
        OURS: lambda: made.restore(tables, "--unchecked"),
        _PEER: lambda: made.bare_restore(tables, check=False),
    }
    compare(f"ClickHouse, restore of {what}, unchecked", plan.runs, runs, _BARS)
    runs = {
        OURS: lambda: made.restore(tables),
        _PEER: lambda: made.bare_restore(tables, check=True),
    }
    compare(f"ClickHouse, restore of {what}, checked", plan.runs, runs, _CHECKED)
