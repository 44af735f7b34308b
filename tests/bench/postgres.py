"""Our full and incremental backup beside pg_basebackup and zstd, and one small table back.

Run it by hand: python -m tests.bench.postgres [SCALE]. SCALE is pgbench's, 70 for about 1 GB.
Prints seconds on the wall, CPU seconds of the programs and of the server, megabytes stored, peak
memory, and the ratio to the peer of the same run. Needs zstd on PATH and the extra `dev`.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from three_backup import human
from three_backup.demo.servers import PostgresServer, SeaweedServer

BIN = Path(__file__).parents[2] / "bin"
TICK = os.sysconf("SC_CLK_TCK")
ONE_PER_CENT = {
    "clustered": "update pgbench_accounts set abalance = abalance + 1 where aid <= {rows} / 100",
    "scattered": "update pgbench_accounts set abalance = abalance + 1 where aid % 100 = 0",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """wall, cpu: seconds; memory: bytes, the most that one of the programs had."""

    wall: float
    cpu: float
    memory: int
    output: str


class Bench:
    def __init__(self, folder: Path, server: PostgresServer, s3: SeaweedServer) -> None:
        self.folder = folder
        self.server = server
        self.config = folder / "three_backup.yaml"
        self.configure(s3, s3.endpoint)
        programs = (BIN, Path(sys.executable).parent, server.bindir)
        self.environ = {
            **server.environ,
            "PATH": os.pathsep.join((*map(str, programs), os.environ["PATH"])),
            "PYTHONPATH": str(BIN.parent),
            "THREE_BACKUP_CONFIG": str(self.config),
        }

    def configure(self, s3: SeaweedServer, endpoint: str) -> None:
        options: Mapping[str, object] = {
            "s3_endpoint": endpoint,
            "s3_bucket": "bench",
            "s3_access_key": s3.access_key,
            "s3_secret_key": s3.secret_key,
            "local_dir": self.folder / "local",
            "pg_bindir": self.server.bindir,
        }
        lines = [f"    {name}: {value}" for name, value in options.items()]
        self.config.write_text('- "*":\n' + "\n".join(lines) + "\n")
        self.config.chmod(0o600)

    def cost(self, command: str, stdin: str = "") -> Cost:
        """What a line of shell costs, itself and at the server."""
        server, started = self._server_cpu(), time.monotonic()
        with tempfile.TemporaryFile("w+") as records, tempfile.TemporaryFile("w+") as output:
            records.write(stdin)
            records.seek(0)
            process = subprocess.Popen(
                ["/bin/sh", "-c", command], stdin=records, stdout=output, env=self.environ
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"{command}: exit status {process.returncode}")
            wall = time.monotonic() - started
            output.seek(0)
            cpu = usage.ru_utime + usage.ru_stime + self._server_cpu() - server
            return Cost(wall, cpu, usage.ru_maxrss * 1024, output.read())

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.server.conninfo("bench"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _server_cpu(self) -> float:
        """CPU seconds of the server's processes, those that have ended too."""
        return sum(_cpu(pid) for pid in (self.server.pid, *_children(self.server.pid)))


@contextmanager
def bench(scale: int) -> Iterator[tuple[Bench, SeaweedServer]]:
    with tempfile.TemporaryDirectory(prefix="tb-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with PostgresServer(folder / "pg", 17) as server, SeaweedServer(folder / "s3") as s3:
            s3.create_bucket("bench")
            made = Bench(folder, server, s3)
            make = f"createdb bench && pgbench -i -q -s {scale} bench"
            subprocess.run(["/bin/sh", "-c", make], env=made.environ, check=True)
            made.execute(
                "create table small as select i, md5(i::text) from generate_series(1,5000) i"
            )
            made.execute("vacuum")
            yield made, s3


def main() -> None:
    scale = int(sys.argv[1]) if len(sys.argv) > 1 else 70
    with bench(scale) as (made, s3):
        peer = made.cost("pg_basebackup -c fast -Ft -X fetch -D - | zstd -q -3 -T2 | wc -c")
        _row("pg_basebackup | zstd -3", peer, int(peer.output), peer)
        records = made.cost("tb-discover | tb-plan")
        full = made.cost("tb-snapshot", records.output)
        _row("tb-snapshot, base", full, _stored(full), peer)
        _upload(made, full)
        for name, statement in ONE_PER_CENT.items():
            made.execute(statement.format(rows=scale * 100_000))
            made.execute("checkpoint")
            increment = made.cost("tb-discover | tb-snapshot --incremental")
            _row(f"tb-snapshot, 1 % {name}", increment, _stored(increment), peer)
            _upload(made, increment)
        for tool in ("tb-discover", "tb-discover | tb-plan", "tb-discover | tb-rotate"):
            _row(tool, made.cost(f"{tool} > /dev/null"), 0, peer)
        _restore(made)
        _requests(made, s3)


def _row(what: str, cost: Cost, size: int, peer: Cost) -> None:
    print(
        f"{what:28} wall {cost.wall:6.1f} s ({cost.wall / peer.wall:4.2f}x)"
        f"  CPU {cost.cpu:6.1f} s ({cost.cpu / peer.cpu:4.2f}x)"
        f"  memory {human.size(cost.memory):>7}  {human.size(size) if size else ''}"
    )


def _upload(made: Bench, snapshot: Cost) -> None:
    cost = made.cost("tb-upload", snapshot.output)
    size = json.loads(cost.output.splitlines()[0])["uploaded"]["bytes"]
    _row("  tb-upload", cost, size, cost)


def _stored(cost: Cost) -> int:
    stored: int = json.loads(cost.output.splitlines()[0])["snapshot"]["stored_size"]
    return stored


def _restore(made: Bench) -> None:
    """One small table, out of a chain of three, from S3 alone."""
    subprocess.run(["/bin/rm", "-r", str(made.folder / "local")], check=True)
    table = shlex.quote("postgres/table/bench/public/small")
    cost = made.cost(f"tb-restore --level3-suffix _back {table}")
    restored = json.loads(cost.output)["restored"]
    _row("tb-restore, 5,000 rows", cost, restored["bytes_read"], cost)


def _requests(made: Bench, s3: SeaweedServer) -> None:
    asked: list[str] = []

    def count(request: Request, forward: Forward) -> Answer:
        asked.append(request.method)
        return forward()

    with proxy(s3.endpoint, count) as endpoint:
        made.configure(s3, endpoint)
        made.cost("tb-run -q")  # fills the cache of manifests that _restore removed
        asked.clear()
        cost = made.cost("tb-run -q")
    _row(f"tb-run, nothing due, {len(asked)} requests", cost, 0, cost)


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0
    return sum(map(int, fields[11:15])) / TICK


if __name__ == "__main__":
    main()
