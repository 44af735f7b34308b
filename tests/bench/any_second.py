"""An hour of pgbench with snapshots in between, then random moments of it restored and compared:

    python -m tests.bench.any_second --minutes 60 --moments 50 --clusters 5

The moments are the server's: at each, what all tables hold is hashed under a lock that lets nobody
commit. What tb-restore brings back has to have the same hash, by table and as a whole cluster.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path

import psycopg

from tests.bench.content import hash_of, hashes, revived
from tests.bench.report import say
from tests.bench.tools import BUCKET, Tools
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer

_TABLES = ("pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history")
_DATABASE = "bank"
_SCALE = 5
_TRANSACTIONS_A_SECOND = 60
_SECONDS_OF_A_PULL = 15
_SNAPSHOTS = 6
_APART = 0.01
_HEAD_START = 30
"""Seconds: by then the first snapshot has ended."""

_PULL = "tb-wal pull"
_SNAPSHOT = "tb-discover -s postgres | tb-snapshot | tb-upload"

Hashes = Mapping[str, str]


class Bank:
    """A server at work, whose WAL is pulled and of which snapshots are taken."""

    def __init__(self, folder: Path, version: int, s3: SeaweedServer) -> None:
        self.folder = folder
        self.server = PostgresServer(folder / "server", version)
        self._s3 = s3
        self.moments: dict[str, Hashes] = {}

    def start(self) -> None:
        self.server.start()
        with psycopg.connect(self.server.conninfo(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {_DATABASE}".encode())
        self.pgbench("-i", "-q", "-s", str(_SCALE))
        self.tools = Tools(
            self.folder,
            self._s3,
            (),
            self.server.environ,
            pg_bindir=self.server.bindir,
            wal="pull",
        )

    def pgbench(self, *options: str) -> None:
        argv = [str(self.server.bindir / "pgbench"), *options, self.server.conninfo(_DATABASE)]
        subprocess.run(argv, check=True, capture_output=True)

    def shell(self, line: str) -> str:
        done = subprocess.run(
            ("/bin/sh", "-c", line), env=self.tools.environ, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{line}: {done.stderr}")
        return done.stdout

    def mark(self) -> None:
        """Note what all tables hold at a moment at which nobody can commit."""
        with psycopg.connect(self.server.conninfo(_DATABASE)) as connection:
            connection.execute(f"LOCK TABLE {', '.join(_TABLES)} IN SHARE MODE".encode())
            time.sleep(_APART)
            ((now,),) = connection.execute("SELECT clock_timestamp()")
            self.moments[now.astimezone(UTC).isoformat()] = {
                table: hash_of(connection, table) for table in _TABLES
            }
            time.sleep(_APART)


def _work(bank: Bank, minutes: float, moments: int) -> None:
    """Let pgbench run, pull WAL and take snapshots meanwhile, and mark moments at random."""
    seconds, began = minutes * 60, time.monotonic()
    trades = ("-n", "-c", "4", "-R", str(_TRANSACTIONS_A_SECOND), "-T", str(round(seconds)))
    done = threading.Event()
    threads = [
        threading.Thread(target=bank.pgbench, args=trades),
        threading.Thread(target=_every, args=(_SECONDS_OF_A_PULL, done, bank, _PULL)),
        threading.Thread(target=_every, args=(seconds / _SNAPSHOTS, done, bank, _SNAPSHOT)),
    ]
    for thread in threads:
        thread.start()
    for at in sorted(random.uniform(_HEAD_START, seconds) for _ in range(moments)):
        time.sleep(max(0.0, began + at - time.monotonic()))
        bank.mark()
    threads[0].join()
    done.set()
    for thread in threads:
        thread.join()
    bank.shell(_PULL)


def _every(seconds: float, done: threading.Event, bank: Bank, line: str) -> None:
    while True:
        bank.shell(line)
        if done.wait(seconds):
            return


def _compare_table(bank: Bank, moment: str) -> str:
    """Restore one table to the moment; return how that went."""
    table = random.choice(_TABLES)
    began = time.monotonic()
    said = bank.shell(
        f"tb-restore --exact --at {moment} --level3-suffix _then "
        f"postgres/table/{_DATABASE}/public/{table}"
    )
    seconds = time.monotonic() - began
    told = json.loads(said)["restored"]["moment"]
    with psycopg.connect(bank.server.conninfo(_DATABASE), autocommit=True) as connection:
        equal = hash_of(connection, f"{table}_then") == bank.moments[moment][table]
        connection.execute(f"DROP TABLE {table}_then".encode())
    return f"{_verdict(equal)} {moment} {table} {told['wal_bytes'] >> 20} MB {seconds:.1f} s"


def _compare_cluster(bank: Bank, moment: str) -> str:
    folder = bank.folder / "whole"
    folder.mkdir(mode=0o711)
    began = time.monotonic()
    bank.shell(f"tb-restore --exact --at {moment} --pgdata {folder / 'pgdata'} 'postgres/*'")
    seconds = time.monotonic() - began
    with revived(folder, bank.server) as server:
        found = hashes(server, _DATABASE, _TABLES)
    shutil.rmtree(folder)
    return f"{_verdict(found == bank.moments[moment])} {moment} the cluster {seconds:.1f} s"


def _verdict(equal: bool) -> str:
    return "equal" if equal else "DIFFERS"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.any_second")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--moments", type=int, default=50, help="of which a table is compared")
    parser.add_argument("--clusters", type=int, default=5, help="further ones, compared whole")
    parser.add_argument("--version", type=int, default=17, choices=(17, 18))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="tb-second-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with SeaweedServer(folder / "s3") as s3:
            s3.create_bucket(BUCKET)
            bank = Bank(folder, arguments.version, s3)
            try:
                bank.start()
                _work(bank, arguments.minutes, arguments.moments + arguments.clusters)
                moments = random.sample(list(bank.moments), len(bank.moments))
                for moment in moments[: arguments.moments]:
                    say(_compare_table(bank, moment))
                for moment in moments[arguments.moments :]:
                    say(_compare_cluster(bank, moment))
            finally:
                bank.server.stop()


if __name__ == "__main__":
    main()
