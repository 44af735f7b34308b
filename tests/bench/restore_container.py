"""Restore a container from S3 by TLS, out of a base and three incrementals, in the lab's machine.

The machine takes some megabytes a second where it is emulated, so the container is smaller than
what other rows restore. Both sides reach its programs by the same stand-ins.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.measure import Cost, measure
from tests.bench.report import OURS, Bar, Plan, Run, bytes_shown, compare, reached, say
from tests.bench.restore_cluster import MEMORY
from tests.bench.stored import INCREMENTALS, settle
from tests.bench.tools import BUCKET, Tools
from tests.lab import cache
from tests.lab.dialects import certificate_in
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lxd import inside
from three_backup.demo.seaweed import SeaweedServer
from three_backup.model.storage import Storage
from three_backup.s3.store import Store

_SIZE = 200_000_000
_BLOCK = 10_000
_CONTAINER = "lxd/container/default/default/noisy"
_DATASETS = "tank/lxd/containers"
_FILL = "head -c {size} /dev/urandom > rootfs/noise"
_CHANGE = "dd if=/dev/urandom of=rootfs/noise bs={block} count={count} seek={seek} conv=notrunc"
_PEER = "s5cmd cat into zfs receive"
_RECEIVED = "tank/received"


@dataclass(frozen=True, slots=True)
class _Stored:
    """A container whose chain of snapshots lies in S3."""

    lab: Lab
    tools: Tools
    streams: Sequence[str]  # their keys in the bucket, oldest first
    s5cmd: str  # the program with its options
    environ: Mapping[str, str]  # of s5cmd


def run(plan: Plan) -> None:
    size = plan.scaled(_SIZE, least=100 * _BLOCK)
    if cache.ready() is None or shutil.which("s5cmd") is None:
        say("- skipped: the LXD lab is not built (tests/run builds it), or there is no s5cmd")
        return
    with _stored(plan.folder, size) as made:
        runs: dict[str, Run] = {OURS: lambda: _ours(made), _PEER: lambda: _theirs(made)}
        title = (
            f"A container of {bytes_shown(size)}, out of a base and {INCREMENTALS} incrementals"
        )
        with made.lab.calls() as calls:
            costs = compare(title, plan.runs, runs, (Bar("wall", 1.1, (_PEER,)),))[OURS]
        theirs = len(made.streams)
        say(f"- calls of its programs: {len(calls) // plan.runs - theirs}, the peer's {theirs}")
        reached("memory", max(cost.memory for cost in costs), MEMORY, bytes_shown)
        live, came = (inside.tree(made.lab, f"{_DATASETS}/{it}") for it in ("noisy", "back"))
        assert live == came, "what came back differs"


@contextmanager
def _stored(folder: Path, size: int) -> Iterator[_Stored]:
    certificate = certificate_in(folder)
    with _lab(folder / "lab") as lab, SeaweedServer(folder / "s3", certificate) as s3:
        s3.create_bucket(BUCKET)
        path = os.pathsep.join((str(lab.bindir), os.environ["PATH"]))
        secure = {"s3_endpoint": s3.secure_endpoint, "s3_ca_file": certificate[0]}
        tools = Tools(folder, s3, (), {"PATH": path}, **secure)
        _take_chain(lab, tools, size)
        environ = {
            **tools.environ,
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_REGION": "us-east-1",
            "SSL_CERT_FILE": str(certificate[0]),
        }
        s5cmd = f"s5cmd --log error --endpoint-url {s3.secure_endpoint}"
        yield _Stored(lab, tools, _streams(folder, s3), s5cmd, environ)


@contextmanager
def _lab(folder: Path) -> Iterator[Lab]:
    image = cache.ready()
    assert image is not None
    folder.mkdir()
    with Machine(folder, image) as machine:
        machine.resume()
        yield Lab(machine, folder)


def _take_chain(lab: Lab, tools: Tools, size: int) -> None:
    """Take a base and incrementals, each after one per cent was changed."""
    lab.sh("lxc init tiny noisy")
    for number in range(INCREMENTALS + 1):
        count = size // 100 // _BLOCK
        change = _CHANGE.format(block=_BLOCK, count=count, seek=number * 10 * count)
        inside.change(lab, f"{_DATASETS}/noisy", change if number else _FILL.format(size=size))
        kind = "incremental" if number else "base"
        tools.cost(f"tb-discover -s {_CONTAINER} | tb-snapshot --{kind} | tb-upload")


def _streams(folder: Path, s3: SeaweedServer) -> Sequence[str]:
    storage = Storage(folder, s3.endpoint, BUCKET, "")
    store = Store(replace(storage, access_key=s3.access_key, secret_key=s3.secret_key))
    return sorted(found.key for found in store.all_keys("") if "/stream.0" in found.key)


def _ours(made: _Stored) -> Cost:
    shutil.rmtree(made.tools.local, ignore_errors=True)
    made.lab.sh("lxc info back > /dev/null 2>&1 || exit 0; lxc delete back")
    settle()
    return made.tools.cost(f"tb-restore --level3 back {_CONTAINER}")


def _theirs(made: _Stored) -> Cost:
    """Receive the streams of our own snapshots."""
    made.lab.sh(f"zfs list {_RECEIVED} > /dev/null 2>&1 || exit 0; zfs destroy -r {_RECEIVED}")
    settle()
    lines = (
        f"{made.s5cmd} cat s3://{BUCKET}/{key} | zfs receive -u {_RECEIVED}"
        for key in made.streams
    )
    return measure(" && ".join(lines), made.environ)
