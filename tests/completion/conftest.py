"""A host that remembers what it stored, whose S3 never answers, and shells that complete there."""

import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from three_backup.catalog.cache import ManifestCache
from three_backup.catalog.folders import LocalStore
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import CarriedObject, Manifest, SnapshotId
from three_backup.model.storage import Storage
from three_backup.watching import last_run
from three_backup.watching.last_run import LastRun, Made

BIN = Path(__file__).parents[2] / "bin"
CLUSTER = Carrier("postgres/cluster/7")
FIRST = datetime(2026, 11, 1, 3, 16, tzinfo=UTC)
BASE = SnapshotId(FIRST)
NEXT = SnapshotId(FIRST + timedelta(days=1), FIRST)
WEB = "lxd/container/default/default/web"
HITS = "clickhouse/table/default/visits/hits"
TABLES = (
    "postgres/table/shop/public/order lines",
    "postgres/table/shop/public/orders",
    "postgres/table/shop/public/заказы",
    "postgres/view/shop/public/early",
)
_SILENT = "http://10.255.255.1:9"
"""Nobody answers there, and nobody refuses: whoever asks waits."""


def manifest(carrier: Carrier, snapshot: SnapshotId, *ids: str) -> Manifest:
    objects = tuple(CarriedObject(ObjectId.parse(one), 1) for one in ids)
    return Manifest(carrier, snapshot, objects, (), 1, 1, {}, "three_backup", "server", "host")


@pytest.fixture(scope="session")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of the host."""
    folder = tmp_path_factory.mktemp("completed")
    storage = Storage(folder / "local", _SILENT, "backups", "db1")
    local, cache = LocalStore(storage.local_dir), ManifestCache(storage)
    for made in (
        manifest(CLUSTER, BASE, "postgres/table/shop/public/dropped"),
        manifest(Carrier(WEB), BASE, WEB),
    ):
        with local.begin(made.carrier, made.snapshot) as unfinished:
            local.commit(unfinished, made)
    newest = manifest(CLUSTER, NEXT, *TABLES, "postgres/table/shop/public/hostile")
    cache.keep(CLUSTER, NEXT, newest.to_json().replace(b"hostile", b"\\u001b[2J"))
    seen = {Carrier(HITS): Made(1), Carrier("postgres"): Made()}
    last_run.write(storage.local_dir, LastRun(FIRST, FIRST, 0, carriers=seen))
    configuration = folder / "three_backup.yaml"
    configuration.write_text(
        f'- "*":\n    s3_endpoint: {_SILENT}\n    s3_bucket: backups\n    s3_prefix: db1\n'
        f"    s3_access_key: k\n    s3_secret_key: s\n    local_dir: {storage.local_dir}\n"
    )
    configuration.chmod(0o600)
    return configuration


@pytest.fixture
def environ(remembering: Path) -> dict[str, str]:
    programs = (BIN, Path(sys.executable).parent)
    return {
        "PATH": os.pathsep.join((*map(str, programs), os.environ["PATH"])),
        "PYTHONPATH": str(BIN.parent),
        "HOME": str(remembering.parent),
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "THREE_BACKUP_CONFIG": str(remembering),
    }


Needed = Callable[[str], str]


@pytest.fixture
def needed() -> Needed:
    def find(program: str) -> str:
        found = shutil.which(program)
        if found is None:
            pytest.skip(f"{program} is missing (apt-get install {program})")
        return found

    return find
