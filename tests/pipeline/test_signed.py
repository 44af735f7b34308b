"""Who may write to the bucket, but lacks the key, cannot pass a snapshot off as this host's."""

import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import zstandard

from tests.pipeline.conftest import Host, store
from three_backup.catalog.catalog import Catalog
from three_backup.errors import ManifestError
from three_backup.model.signing import Keyring

_KEY, _NEW = "11" * 32, "22" * 32


class Signing(Host):
    """A host with a table that is stored, whose manifests are signed."""

    def sign_with(self, *keys: str) -> None:
        (self.folder / "signing.key").write_text("\n".join(keys))
        (self.folder / "signing.key").chmod(0o600)
        self.configure(manifest_key_file=self.folder / "signing.key" if keys else None)

    @property
    def orders(self) -> str:
        return self.table("orders")

    def manifests(self) -> list[str]:
        return sorted(store(self).all_names("manifests/"))

    @property
    def proved(self) -> object:
        (record,) = self.good(f"tb-list --stored --drills --json -s {self.orders}").records
        return record["drilled_at"]

    def snapshots(self) -> dict[str, dict[str, object]]:
        listed = self.sh("tb-list --stored --snapshots --json -s postgres").records
        found = (snapshot for record in listed for snapshot in record.get("snapshots", ()))
        return {str(snapshot["id"]): snapshot for snapshot in found}


@pytest.fixture
def signing(host: Host) -> Signing:
    host.__class__ = Signing
    assert isinstance(host, Signing)
    host.sign_with(_KEY)
    host.execute("create table orders as select n as id from generate_series(1, 100) n")
    host.good("tb-run")
    return host


def _forged(body: bytes, **changes: object) -> bytes:
    """Return a manifest as an attacker writes it: everything fits, but the signature."""
    fields = json.loads(body) | changes
    fields.pop("sha256")
    signature = fields.pop("signature", None)
    core = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    digest = hashlib.sha256(core + b"\n").hexdigest()
    sealed = core[:-1] + b',"sha256":"%s"}\n' % digest.encode()
    if signature is None:
        return sealed
    return sealed[:-2] + b',"signature":"%s"}\n' % str(signature).encode()


def test_a_forged_base_is_foreign_to_every_tool(signing: Signing) -> None:
    """It is newer than ours, so that retention would make room for it and a restore take it."""
    (key,) = signing.manifests()
    forged = key.replace(key.rpartition("/")[2], "20990101T000000Z-base.json")
    body = _forged(
        store(signing).read(key), snapshot="20990101T000000Z-base", time="2099-01-01T00:00:00Z"
    )
    store(signing).write(forged, body)
    signing.wipe()
    assert signing.snapshots()["20990101T000000Z-base"]["foreign"] is True
    status = signing.sh("tb-status --json -s postgres")
    assert status.status == 2
    assert "20990101T000000Z-base is not signed by manifest_key" in status.stdout
    signing.execute("drop table orders")
    outcome = signing.sh(f"tb-restore {signing.orders}")
    assert outcome.records[0]["restored"]["snapshot"] == key.rpartition("/")[2][:-5]
    assert "not signed by manifest_key" in outcome.stderr
    assert signing.sh(f"tb-restore --snapshot 20990101T000000Z-base {signing.orders}").status == 1
    planned = signing.sh("tb-discover -s postgres | tb-plan --base | tb-snapshot | tb-upload")
    assert planned.status == 0
    rotated = signing.sh("tb-discover -s postgres | tb-rotate")
    assert rotated.status == 0
    assert set(signing.manifests()) >= {key, forged}  # neither counted nor touched


def test_a_manifest_that_is_changed_in_its_place_is_not_restored(signing: Signing) -> None:
    (key,) = signing.manifests()
    body = store(signing).read(key)
    signing.good("tb-list --snapshots")  # remembered as genuine
    signing.wipe()
    signing.good("tb-list --stored --snapshots")  # and read into the cache
    store(signing).write(key, _forged(body, source_size=1))
    outcome = signing.sh(f"tb-cat {signing.orders}")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "not signed by manifest_key" in outcome.stderr
    assert len(signing.sh(f"tb-cat --unsigned {signing.orders}").stdout.splitlines()) == 101
    store(signing).write(key, body)
    assert len(signing.good(f"tb-cat {signing.orders}").stdout.splitlines()) == 101
    (listed,) = signing.good("tb-list --stored --snapshots --json -s postgres").records
    assert listed["snapshots"][0]["size"] > 0
    cached = [path.read_text() for path in signing.local_dir.rglob("*-base.json")]
    assert not any('"source_size":1,' in text for text in cached)  # --unsigned left nothing here


def test_a_genuine_manifest_counts_in_its_own_place_alone(signing: Signing) -> None:
    """Replayed as a newer snapshot, or below the prefix of another host."""
    (key,) = signing.manifests()
    body = store(signing).read(key)
    store(signing).write(re.sub(r"/2\d{3}(?=[^/]+$)", "/2098", key), body)
    assert [fields.get("foreign") for fields in signing.snapshots().values()] == [None, True]
    (cluster,) = {name.split("/")[-2] for name in signing.manifests()}
    store(signing).write(key.replace(cluster, "7000000000000000000"), body)  # another cluster's
    listed = signing.sh("tb-list --stored --snapshots -s 'postgres/cluster/7000000000000000000'")
    assert "not signed by manifest_key" in listed.stderr
    other = Keyring.parse(_KEY)
    assert other.is_genuine(body, f"host/{key}")
    assert not other.is_genuine(body, f"other/{key}")


def test_what_is_older_than_the_key_is_adopted_once_it_was_read(signing: Signing) -> None:
    signing.sign_with()
    signing.execute("insert into orders values (101)")
    signing.good("tb-discover -s postgres | tb-snapshot --incremental | tb-upload")
    signing.wipe()
    signing.sign_with(_NEW)  # the old key is lost as well
    assert signing.snapshots() == {}
    assert "not signed by manifest_key" in signing.sh("tb-list --stored -s postgres").stderr
    assert signing.sh(f"tb-cat {signing.orders}").status == 1
    assert signing.sh("tb-verify --sign").status == 2
    (record,) = signing.sh("tb-verify --sign 'postgres/*'").records
    assert len(record["signed"]) == 2
    assert [fields.get("foreign") for fields in signing.snapshots().values()] == [None, None]
    signing.wipe()
    assert len(signing.good(f"tb-cat {signing.orders}").stdout.splitlines()) == 102
    assert "signed" not in signing.sh("tb-verify --sign 'postgres/*'").stdout


def test_what_is_changed_while_it_is_read_is_not_adopted(signing: Signing) -> None:
    """An attacker waits for the moment between the look at a manifest and its signature."""
    (key,) = signing.manifests()
    storage = replace(store(signing).storage, manifest_key=Keyring.parse(_NEW))
    catalog = Catalog(storage, unsigned=True)
    (carrier,) = catalog.carriers("postgres")
    (stored,) = catalog.snapshots(carrier)
    verified = catalog.manifest(carrier, stored)
    forged = _forged(store(signing).read(key), source_size=1)
    store(signing).write(key, forged)
    with pytest.raises(ManifestError, match="changed while its snapshot was read"):
        catalog.sign(verified)
    assert store(signing).read(key) == forged


def test_what_is_damaged_is_not_adopted(signing: Signing) -> None:
    signing.sign_with(_NEW)
    signing.wipe()
    found = store(signing).keys("data/")
    name = max(found, key=lambda entry: entry.size).key
    body = bytearray(store(signing).read(name))
    body[len(body) // 2] ^= 1
    store(signing).write(name, bytes(body))
    outcome = signing.sh("tb-verify --sign 'postgres/*'")
    assert outcome.status == 1
    assert signing.snapshots() == {}


def test_a_new_key_above_the_old_one_keeps_all_that_is_stored(signing: Signing) -> None:
    signing.sign_with(_NEW, _KEY)
    signing.execute("insert into orders values (101)")
    signing.good("tb-discover -s postgres | tb-snapshot --incremental | tb-upload")
    signing.wipe()
    assert len(signing.good(f"tb-cat {signing.orders}").stdout.splitlines()) == 102
    signing.sign_with(_NEW)  # the old one is taken out too early
    found = {fields["kind"]: fields.get("foreign") for fields in signing.snapshots().values()}
    assert found == {"base": True, "incremental": None}


def test_a_forged_drill_proves_nothing(signing: Signing) -> None:
    """Its key says that everything was proved just now, so that nobody would look again."""
    (proved,) = signing.good(f"tb-verify {signing.orders}").records
    assert signing.proved == proved["drilled"]["time"]
    (key,) = store(signing).all_names("drills/")
    genuine = store(signing).read(key)
    store(signing).write(key, genuine)  # written again, it is as old as it says
    assert signing.proved == proved["drilled"]["time"]
    store(signing).write(key, genuine.replace(b'"rows": 100', b'"rows": 101'))
    assert (genuine != store(signing).read(key), signing.proved) == (True, None)
    signing.wipe()
    assert signing.proved is None
    signing.good(f"tb-verify {signing.orders}")
    assert signing.proved is not None


def test_an_owner_that_was_not_signed_is_not_believed(signing: Signing) -> None:
    """With the words of the genuine one, which everybody can read, and another host's name."""
    own = store(signing).read("owner.json")
    fields = json.loads(own)
    assert signing.sh("tb-run").status == 0
    forged = json.dumps({**fields, "host": "another", "name": "evil"}).encode()
    store(signing).write("owner.json", forged)
    refused = signing.sh("tb-discover -s postgres | tb-plan --base | tb-snapshot | tb-upload")
    assert refused.status == 78
    assert "owner.json: manifest_key did not sign it" in refused.stderr
    assert "evil" not in refused.stderr
    signing.good("tb-discover -s postgres | tb-snapshot --base | tb-upload --adopt")
    assert signing.sh("tb-run").status == 0


def test_the_owner_from_before_the_key_is_believed_by_its_word_alone(signing: Signing) -> None:
    signing.sign_with()
    signing.good("tb-discover -s postgres | tb-snapshot --base | tb-upload --adopt")
    signing.sign_with(_KEY)
    assert b"signature" not in store(signing).read("owner.json")
    signing.good("tb-discover -s postgres | tb-snapshot --base | tb-upload")
    assert b"signature" in store(signing).read("owner.json")


def test_a_hold_that_somebody_shortened_holds_for_ever(signing: Signing) -> None:
    (key,) = signing.manifests()
    snapshot = key.rpartition("/")[2].removesuffix(".json")
    signing.good(f"tb-keep --until 2099-01-01 {signing.orders} {snapshot}")
    (hold,) = store(signing).all_names("keep/")
    body = store(signing).read(hold)
    store(signing).write(hold, body.replace(b"2099", b"2020"))
    (record,) = signing.good("tb-keep --json").records
    assert record["kept"]["until"] is None
    assert "manifest_key did not sign this hold" in record["kept"]["reason"]


def test_what_is_slipped_into_the_log_is_not_replayed(host: Host) -> None:
    host.__class__ = Signing
    assert isinstance(host, Signing)
    host.sign_with(_KEY)
    (host.folder / "signing.key").write_text(_KEY)
    host.configure(manifest_key_file=host.folder / "signing.key", wal="pull")
    host.execute("create table orders as select n as id from generate_series(1, 100) n")
    host.good("tb-run")
    host.execute("insert into orders values (101)")
    host.good("tb-wal pull")
    host.wipe()
    now = datetime.now(UTC).isoformat()
    assert len(host.good(f"tb-cat --at '{now}' {host.orders}").stdout.splitlines()) == 102
    pieces = [key for key in store(host).all_names("wal/") if key.endswith(".zst")]
    for piece in pieces:
        body = store(host).read(piece)
        reader = zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True)
        content = reader.read()  # any reader skips the signature
        store(host).write(piece, zstandard.compress(content))
    refused = host.sh(f"tb-cat --at '{now}' {host.orders}")
    assert (refused.status, refused.stdout) == (1, "")
    assert "manifest_key did not sign it" in refused.stderr
    unsigned = host.good(f"tb-cat --unsigned --at '{now}' {host.orders}")
    assert len(unsigned.stdout.splitlines()) == 102
    (record,) = host.sh("tb-verify --sign 'postgres/*'").records
    assert (record["signed"], record["signed_log"]) == ([], len(pieces))
    assert len(host.good(f"tb-cat --at '{now}' {host.orders}").stdout.splitlines()) == 102
