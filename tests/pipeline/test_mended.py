"""What one copy lacks or has damaged comes from another, and the operator reads that it did."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest

from tests.lab.forked import Forked
from tests.lab.terminal import on_terminal
from tests.pipeline.conftest import Host, host_beside, store
from tests.pipeline.test_copy import COPY, KEY, TAKE, copies, emptied, keys, vault, with_vault
from three_backup.catalog.files import Files
from three_backup.catalog.spare import Spare
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.model.hashed_stream import HashedRange
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId, StoredFile
from three_backup.s3.mended import Mended
from three_backup.s3.store import Store

__all__ = ["vault"]
_OURS, _THEIRS = "33" * 32, "44" * 32
_AWAY = {"vault_endpoint": "http://127.0.0.1:1"}


@pytest.fixture(scope="module")
def copied(
    server_folder: Path, postgres17: PostgresServer, seaweed: SeaweedServer, tools: Forked
) -> Iterator[Host]:
    """A host whose table lies in S3, as a base and an incremental, and in a further store."""
    for bucket in ("mended", "mended-vault"):
        seaweed.create_bucket(bucket)
    with host_beside(server_folder, postgres17, seaweed, "mended", tools) as host:
        with_vault(host, "mended-vault", copy_to="vault")
        host.execute(
            "create table orders as select n as id, md5(n::text) from generate_series(1, 20000) n"
        )
        host.good(TAKE.format("--base"))
        host.execute(
            "insert into orders select n, md5(n::text) from generate_series(20001, 20100) n"
        )
        host.good(TAKE.format("--incremental"))
        host.good(COPY)
        host.wipe()
        yield host
    for bucket in ("mended", "mended-vault"):
        seaweed.delete_bucket(bucket)


@pytest.fixture
def spoilt(copied: Host) -> Iterator[Host]:
    """The host, whose first store and configuration are as they were after the test."""
    first, others = _bodies(store(copied)), _bodies(copies(copied, "mended-vault"))
    yield copied
    for of, bodies in ((store(copied), first), (copies(copied, "mended-vault"), others)):
        of.delete(set(keys(of)) - bodies.keys())
        _put_back(of, bodies)
    with_vault(copied, "mended-vault", copy_to="vault")
    copied.wipe()


def _bodies(of: Store) -> dict[str, bytes]:
    return {key: of.read(key) for key in keys(of)}


def _put_back(of: Store, bodies: dict[str, bytes]) -> None:
    for key, body in bodies.items():
        of.write(key, body)


def _flipped(of: Store, key: str) -> None:
    """Flip a bit in each thousand bytes: a restore does not read all of a pack."""
    body = bytearray(of.read(key))
    for offset in range(len(body) // 2 % 1000, len(body), 1000):
        body[offset] ^= 1
    of.write(key, bytes(body))


def _key(of: Store, name: str, number: int = 0) -> str:
    """Return the key of a file of the base, or of the incremental that is number 1."""
    return [key for key in keys(of, "data/") if f"/{name}." in key][number]


def _restored(host: Host) -> tuple[dict[str, Any], str]:
    outcome = host.good(f"tb-restore --overwrite --json {host.table('orders')}")
    assert host.rows(
        "select count(*), max(md5(id::text)), bool_and(md5 = md5(id::text)) from orders"
    )[0][::2] == (20100, True)
    return outcome.records[0]["restored"], outcome.stderr


def test_every_file_of_the_first_store_may_be_damaged_short_or_gone(spoilt: Host) -> None:
    first = store(spoilt)
    for number, key in enumerate(keys(first, "data/")):
        body = first.read(key)
        if number % 3 == 0:
            _flipped(first, key)
        elif number % 3 == 1:
            first.write(key, body[:-1])
        else:
            first.delete([key])
    restored, said = _restored(spoilt)
    assert restored["mended"]["vault"] > 1000
    told = [line for line in said.splitlines() if "comes from store vault" in line]
    assert len(told) == len(set(told)) >= 4
    (found,) = spoilt.good("tb-verify --json '*'").records
    assert (found["drilled"]["rows"], found["drilled"]["mended"].keys()) == (20100, {"vault"})
    alone = spoilt.sh("tb-verify --json --read-only '*'")
    assert (alone.status, "comes from" in alone.stderr) == (1, False)
    assert re.search(r"mended +\d.* from store vault", said)
    argv = ("tb-verify", "--progress", "never", spoilt.table("orders"))
    status, shown = on_terminal(argv, spoilt.real.environ, stdout=True)
    assert (status, bool(re.search(r"mended +\d", shown))) == (0, True)
    rows = spoilt.good(f"tb-cat {spoilt.table('orders')}")
    assert (len(rows.stdout.splitlines()), "comes from store vault" in rows.stderr) == (
        20101,
        True,
    )
    (same,) = spoilt.good(f"tb-diff --json {spoilt.table('orders')}").records
    assert (same["difference"]["equal"], "mended" in same["difference"]) == (True, True)


def test_pieces_that_are_damaged_at_different_places_make_a_whole(spoilt: Host) -> None:
    first, other = store(spoilt), copies(spoilt, "mended-vault")
    _flipped(first, _key(first, "core.pack"))
    _flipped(other, _key(other, "s3.pack"))
    restored, said = _restored(spoilt)
    assert restored["mended"].keys() == {"vault"}
    assert re.search(r"core\.pack is damaged in S3 between byte \d+ and \d+; what is wanted", said)
    _flipped(first, _key(first, "s3.pack"))
    failed = spoilt.sh(f"tb-restore --overwrite --json {spoilt.table('orders')}")
    assert failed.status == 1
    assert re.search(
        r"s3\.pack is damaged in S3 between byte \d+ and \d+, and store vault does not help "
        r"\(.* damaged in store vault",
        failed.stderr,
    )


def test_copies_that_are_cut_at_different_places_make_a_whole(tmp_path: Path) -> None:
    """No copy can be read as a whole, as none can that is encrypted and damaged."""
    body = bytes(range(256)) * 40
    cuts = [(offset, body[offset : offset + 512]) for offset in range(0, len(body), 512)]
    pieces = [HashedRange(at, len(cut), sha256(cut).hexdigest()) for at, cut in cuts]
    (tmp_path / "s3.pack").write_bytes(body[:5120])
    manifest = Manifest(
        Carrier("lxd/container/default/default/web"),
        SnapshotId(datetime(2026, 11, 1, tzinfo=UTC)),
        (),
        (StoredFile("s3.pack", len(body)),),
        *(1, 1, {}, "", "", ""),
    )
    mended = Mended()
    spare = cast(Spare, _Rear(body))
    files = Files(manifest, tmp_path, None, None, [spare], mended)
    assert files.read_range("s3.pack", 0, len(body), pieces) == body
    assert mended.bytes == {"vault": 5120}
    with pytest.raises(BackupError, match=r"too short on this host, and store vault does not"):
        files.read_range("s3.pack", 0, len(body))


class _Rear:
    """A copy of which only the rear half can be read."""

    store = "vault"

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self, original: Manifest, name: str, offset: int, length: int) -> bytes:
        if offset < len(self._body) // 2:
            raise BackupError("s3.missing", "nothing is stored there")
        return self._body[offset : offset + length]


def test_the_second_store_is_away_too(spoilt: Host) -> None:
    first = store(spoilt)
    first.delete([_key(first, "index.zst", 1)])
    with_vault(spoilt, "mended-vault", "s3_timeout: 0s", copy_to="vault", **_AWAY)
    failed = spoilt.sh(f"tb-restore --overwrite --json {spoilt.table('orders')}")
    assert failed.status == 1
    assert failed.records[0]["error"]["code"] == "s3.missing"
    assert "nothing is stored under this key, and store vault does not help (" in failed.stderr


def test_while_the_first_store_is_away_the_copies_are_named(spoilt: Host) -> None:
    away = {"s3_endpoint": "http://127.0.0.1:1", "s3_timeout": "0s"}
    with_vault(spoilt, "mended-vault", copy_to="vault", **away)
    failed = spoilt.sh(f"tb-restore --overwrite {spoilt.table('orders')}")
    assert (failed.status, "--store vault reads the copies" in failed.stderr) == (1, True)
    spoilt.good(f"tb-restore --overwrite --store vault {spoilt.table('orders')}")


def test_a_copy_of_this_host_is_mended_out_of_s3(spoilt: Host) -> None:
    spoilt.good(TAKE.format("--base"))
    (folder,) = (path.parent for path in spoilt.local_dir.rglob("s3.pack"))
    for name in ("s3.pack", "index.zst"):
        body = bytearray((folder / name).read_bytes())
        body[len(body) // 2] ^= 1
        (folder / name).write_bytes(body)
    (folder / "core.pack").write_bytes(b"")
    restored, said = _restored(spoilt)
    assert restored["mended"].keys() == {"s3"}
    assert "s3.pack is damaged on this host between byte" in said
    assert "core.pack is too short on this host; what is wanted of it comes from S3" in said


def test_the_remedy_is_named_where_a_manifest_is_gone_damaged_or_unsigned(spoilt: Host) -> None:
    first, orders = store(spoilt), spoilt.table("orders")
    base, increment = keys(first, "manifests/")
    remedy = "store vault has a whole copy: --store vault reads that"
    _flipped(first, increment)
    listed = spoilt.sh("tb-list --stored --snapshots --json")
    assert (listed.status, remedy in listed.stderr) == (1, True)
    assert remedy in spoilt.sh(f"tb-restore --overwrite {orders}").stderr
    _put_back(first, {increment: copies(spoilt, "mended-vault").read(increment)})
    first.delete([base])
    spoilt.wipe()
    assert remedy in spoilt.sh(f"tb-restore --overwrite {orders}").stderr
    first.write(base, copies(spoilt, "mended-vault").read(base))
    first.delete([increment])
    asked = f"tb-restore --overwrite --snapshot {snapshot(increment)} {orders}"
    assert remedy in spoilt.sh(asked).stderr
    emptied(first)
    nowhere = spoilt.sh("tb-list --stored").stderr
    assert "copies lie in store vault: --store vault reads them" in nowhere
    spoilt.good(f"tb-restore --overwrite --store vault {orders}")


def test_copies_are_named_where_nobody_signed_what_the_first_store_has(spoilt: Host) -> None:
    with_vault(spoilt, "mended-vault", copy_to="vault", manifest_key=KEY)
    refused = spoilt.sh(f"tb-restore --overwrite {spoilt.table('orders')}")
    assert refused.status == 1
    assert "not signed by manifest_key" in refused.stderr
    assert "store vault has a whole copy: --store vault reads that" in refused.stderr


def test_what_is_encrypted_under_another_key_there_stands_in_too(host: Host, vault: str) -> None:
    """Nothing that is encrypted and damaged can be read: not even the pieces beside the damage."""
    with_vault(host, vault, f"encryption_key: {_THEIRS}", copy_to="vault", encryption_key=_OURS)
    host.execute(
        "create table orders as select n as id, md5(n::text) from generate_series(1, 200000) n"
    )
    host.good(TAKE.format("--base"))
    host.good(COPY)
    first, other = store(host), copies(host, vault)
    pack = _key(first, "s3.pack")
    assert first.read(pack) != other.read(pack)
    for of, part in ((first, 0.25), (other, 0.75)):
        body = bytearray(of.read(pack))
        body[int(len(body) * part)] ^= 1
        of.write(pack, bytes(body))
    _flipped(first, _key(first, "index.zst"))
    host.wipe()
    outcome = host.good(f"tb-restore --overwrite --json {host.table('orders')}")
    assert outcome.records[0]["restored"]["mended"]["vault"] > 1000
    assert host.rows("select count(*), bool_and(md5 = md5(id::text)) from orders") == [
        (200000, True)
    ]


def snapshot(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")
