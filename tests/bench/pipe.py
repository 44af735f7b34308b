"""Measure the pipe alone: 100,000 records through five tools, and how fast each tool starts.

`tb-list --stored` also makes a client and lists an empty bucket, beside boto3 that does the same.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.bench.clients import KEYS
from tests.bench.measure import Cost
from tests.bench.report import OURS, Bar, Plan, Run, compare
from tests.bench.sink import sink
from tests.bench.tools import BUCKET, CHECKOUT, Tools

RECORDS = 100_000
_FIVE = " | ".join(("tb-snapshot", "tb-upload", "tb-rotate", "tb-snapshot", "tb-upload"))
_JQ = "jq -c ., five times"
_PYTHON = "python3 -c pass"
_SHELL_SCRIPT = "tb-demo"
_LISTED = "tb-list --stored, of nothing"
_BOTO3 = "boto3, the same request"
_BY_BOTO3 = """
import boto3
client = boto3.client(
    "s3", endpoint_url="{endpoint}", region_name="us-east-1",
    aws_access_key_id="{keys}", aws_secret_access_key="{keys}",
)
client.list_objects_v2(Bucket="{bucket}", Prefix="manifests/")
"""


@contextmanager
def planned(folder: Path, count: int) -> Iterator[tuple[Tools, Path]]:
    """Yield the tools, and a file of so many records for `through_five`."""
    with sink(listing=lambda query: b"<ListBucketResult/>") as server:
        yield Tools(folder, server, (), {}), _records(folder / "records", count)


def through_five(tools: Tools, records: Path) -> Cost:
    return tools.cost(f"{_FIVE} > /dev/null", records)


def run(plan: Plan) -> None:
    """Compare with jq. There is no bar to reach: it is enough that nobody waits for the pipe."""
    count = plan.scaled(RECORDS)
    with planned(plan.folder, count) as (tools, records):
        five = " | ".join(["jq -c ."] * 5)
        runs: dict[str, Run] = {
            OURS: lambda: through_five(tools, records),
            _JQ: lambda: tools.cost(f"{five} > /dev/null", records),
        }
        bars = (Bar("wall", None, (_JQ,)), Bar("CPU", None, (_JQ,)))
        compare(f"{count} records through five tools", plan.runs, runs, bars)
        _starts(plan, tools)


def _starts(plan: Plan, tools: Tools) -> None:
    programs = sorted({path.name for path in (CHECKOUT / "bin").iterdir()} - {_SHELL_SCRIPT})
    lines = {_PYTHON: f"{sys.executable} -c pass"}
    lines |= {name: f"{name} --version > /dev/null" for name in programs}
    lines[_LISTED] = "tb-list --stored 2> /dev/null"
    by_boto3 = _BY_BOTO3.format(endpoint=tools.endpoint, keys=KEYS, bucket=BUCKET)
    lines[_BOTO3] = f"{sys.executable} -c {shlex.quote(by_boto3)}"
    runs: dict[str, Run] = {name: partial(tools.cost, line) for name, line in lines.items()}
    compare("The start of each tool", plan.runs, runs)


def _records(path: Path, count: int) -> Path:
    """Write records that are planned and have nothing left to do."""
    with path.open("w") as file:
        for number in range(count):
            record = {
                "v": 1,
                "id": f"clickhouse/table/default/shop/t{number:06}",
                "type": "clickhouse",
                "subtype": "table",
                "level1": "default",
                "level2": "shop",
                "level3": f"t{number:06}",
                "size": 81920,
                "stage": "rotated_s3",
                "max_stage": "rotated_s3",
                "take": None,
                "todo": [],
                "why": "nothing is due before 2026-12-01T02:00:00Z",
                "planned_at": "2026-11-23T10:17:00Z",
            }
            file.write(json.dumps(record, separators=(",", ":")) + "\n")
    return path
