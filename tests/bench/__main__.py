"""Measure three_backup beside its peers, and print what is reached: python -m tests.bench -h"""

import argparse
import platform
import signal
import tempfile
import time
from collections.abc import Callable
from os import cpu_count
from pathlib import Path

from tests.bench import (
    clickhouse,
    encryption,
    growth,
    look,
    many_tables,
    moment,
    nothing_due,
    pipe,
    postgres,
    restore_cluster,
    restore_container,
    restore_growth,
    restore_tables,
    small_table,
    transfer,
    wal,
    zfs_stream,
)
from tests.bench.report import Plan, say

ROWS: dict[str, Callable[[Plan], None]] = {
    "postgres-full": postgres.full,
    "postgres-incremental": postgres.incremental,
    "small-table": small_table.run,
    "moment": moment.run,
    "look": look.run,
    "many-tables": many_tables.run,
    "wal": wal.run,
    "encryption": encryption.run,
    "upload": transfer.upload,
    "download": transfer.download,
    "zfs-stream": zfs_stream.run,
    "clickhouse": clickhouse.run,
    "nothing-due": nothing_due.run,
    "pipe": pipe.run,
    "restore-cluster-17": restore_cluster.on_17,
    "restore-cluster-18": restore_cluster.on_18,
    "restore-large-table": restore_tables.large,
    "restore-small-tables": restore_tables.small,
    "restore-container": restore_container.run,
    "growth": growth.run,
    "restore-growth": restore_growth.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("rows", metavar="ROW", nargs="*", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--scale", type=float, default=1, help="of the sizes (default: 1)")
    parser.add_argument("--runs", type=int, default=5, help="of each, in turn (default: 5)")
    arguments = parser.parse_args()
    rows = arguments.rows or list(ROWS)
    if unknown := [row for row in rows if row not in ROWS]:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say(f"Scale {arguments.scale:g}, {cpu_count()} cores, Python {platform.python_version()}")
    for row in rows:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="tb-bench-") as name:
            folder = Path(name)
            folder.chmod(0o711)
            ROWS[row](Plan(arguments.scale, arguments.runs, folder))
        say(f"\n({row}: {time.monotonic() - started:.0f} s in all)")


if __name__ == "__main__":
    main()
