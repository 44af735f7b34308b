"""Whoever may read the bucket, or write to it, but lacks the key: they learn and swap nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event

import pytest
import zstandard

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from tests.pipeline.conftest import BIN, Host, store
from tests.pipeline.test_failures import started
from three_backup.model.encryption import OVERHEAD, PIECE, EncryptionKeys
from three_backup.model.signing import Keyring
from three_backup.s3.volumes import PART_SIZE

_KEY, _NEW = "11" * 32, "22" * 32
_STEP = PIECE + OVERHEAD
_NAME = "Marlene"
TAKE = "tb-discover -s postgres | tb-snapshot {} | tb-upload"


def encrypt_with(host: Host, *keys: str, **everything: object) -> None:
    file = host.folder / "encryption.key"
    file.write_text("\n".join(keys))
    file.chmod(0o600)
    named = {"encryption_key_file": file if keys else None}
    host.configure("", **named, **everything)


@pytest.fixture(scope="module")
def taken(host_of_module: Host) -> Host:
    """A host whose table lies in S3 as a base and an incremental; all else of it is lost."""
    host = host_of_module
    encrypt_with(host, _KEY)
    host.execute(
        f"create table orders as select n as id, '{_NAME} ' || n as name"
        " from generate_series(1, 60000) n"
    )
    host.good("tb-run")
    host.execute(f"insert into orders values (0, '{_NAME} too')")
    host.good(TAKE.format("--incremental"))
    return host


@pytest.fixture
def shop(taken: Host) -> Iterator[Host]:
    """That host, before it comes back."""
    taken.wipe()
    encrypt_with(taken, _KEY)
    yield taken
    encrypt_with(taken, _KEY)


@contextmanager
def put_in_place(host: Host, bodies: dict[str, bytes]) -> Iterator[None]:
    """Replace keys as somebody does who may write to the bucket."""
    before = {key: store(host).read(key) for key in bodies}
    for key, body in bodies.items():
        store(host).write(key, body)
    yield
    for key, body in before.items():
        store(host).write(key, body)


def bodies(host: Host, part: str) -> dict[str, bytes]:
    found = (key for key in store(host).all_names("") if part in key)
    return {key: store(host).read(key) for key in sorted(found)}


def counted(host: Host, options: str = "") -> str:
    """Return how many lines of the table come out of S3, or what is said instead."""
    outcome = host.sh(f"tb-cat {options} {host.table('orders')}")
    assert (outcome.stdout == "") == (outcome.status != 0), outcome.stderr
    return str(len(outcome.stdout.splitlines())) if outcome.status == 0 else outcome.stderr


def test_a_chain_comes_back_from_s3_alone_where_nothing_is_legible(shop: Host) -> None:
    stored = b"".join(bodies(shop, "").values())
    assert not any(word in stored for word in (b"orders", _NAME.encode()))
    for command in ("tb-list --stored --snapshots", f"tb-verify {shop.table('orders')}"):
        shop.good(command)
    (drill,) = bodies(shop, "drills/").items()
    assert not any(b"orders" in each for each in (drill[0].encode(), drill[1]))
    for keys in ((_KEY,), (_NEW, _KEY)):
        encrypt_with(shop, *keys)
        (record,) = shop.good(
            f"tb-list --stored --drills --json -s {shop.table('orders')}"
        ).records
        assert record["drilled_at"]
    assert shop.good(f"tb-restore --dry-run --overwrite {shop.table('orders')}").records
    encrypt_with(shop, _KEY)
    shop.execute("drop table orders")
    shop.good(f"tb-restore {shop.table('orders')}")
    assert shop.rows("select count(*) from orders") == [(60001,)]


def test_what_is_swapped_cut_or_carried_elsewhere_is_not_restored(shop: Host) -> None:
    (pack,) = (key for key in bodies(shop, "-base/") if "s3.pack" in key)
    (core,) = (key for key in bodies(shop, "-base/") if "core.pack" in key)
    body = store(shop).read(pack)
    assert len(body) > 2 * _STEP
    swapped = body[_STEP : 2 * _STEP] + body[:_STEP] + body[2 * _STEP :]
    last = len(body) // _STEP * _STEP
    forged = {
        "swapped pieces": swapped,
        "a piece of another file": store(shop).read(core)[:_STEP] + body[_STEP:],
        "no last piece": body[:last],
        "a last piece of another length": body[:last] + body[-100:],
    }
    for attack, other in forged.items():
        with put_in_place(shop, {pack: other}):
            assert "s3.pack" in counted(shop), attack
    base, incremental = bodies(shop, "manifests/")
    shop.wipe()  # what is genuine was remembered
    with put_in_place(shop, {incremental: store(shop).read(base)}):
        assert "it cannot be decrypted" in counted(shop)
    shop.wipe()
    assert counted(shop) == "60002"


def test_which_key_is_needed_is_told(shop: Host) -> None:
    old, new = EncryptionKeys.parse(_KEY).writes.key, EncryptionKeys.parse(_NEW).writes.key
    encrypt_with(shop, _NEW, _KEY)
    told = " ".join(shop.good("tb-check -s s3").stdout.split())
    assert f"key {new} encrypts, 2 snapshots in S3 need {old}" in told
    assert "can put manifests of their own there, unencrypted" in told
    listed = f"tb-list --stored --snapshots --json -s {shop.table('orders')}"
    (record,) = shop.good(listed).records
    assert [each["encrypted"] for each in record["snapshots"]] == [old, old]
    encrypt_with(shop, _NEW)
    lacking = shop.sh("tb-check -s s3")
    assert lacking.status == 1
    assert f"cannot be restored without key {old}" in " ".join(lacking.stdout.split())


def test_what_is_encrypted_is_signed_as_it_lies_there(shop: Host) -> None:
    """Whoever has the signing key alone can tell what is genuine; both keys may come later."""
    signing = "5a" * 32
    encrypt_with(shop, _KEY, manifest_key=signing)
    assert "not signed by manifest_key" in counted(shop)
    (record,) = shop.sh("tb-verify --sign 'postgres/*'").records
    assert len(record["signed"]) == 2
    shop.wipe()
    assert counted(shop) == "60002"
    encrypt_with(shop, manifest_key=signing)
    told = shop.sh("tb-list --stored --snapshots").stderr
    assert "which the configuration does not have" in told
    assert "not signed" not in told
    for key, body in bodies(shop, "manifests/").items():
        assert Keyring.parse(signing).is_genuine(body, f"host/{key}")


def test_another_key_is_asked_for_by_its_name(shop: Host) -> None:
    encrypt_with(shop, _NEW)
    assert "which the configuration does not have; add that key" in counted(shop)
    encrypt_with(shop)
    outcome = shop.sh("tb-list --stored --snapshots")
    assert outcome.status == 1
    assert "which the configuration does not have; add that key" in outcome.stderr
    encrypt_with(shop, _NEW, _KEY)
    assert counted(shop) == "60002"


def test_nothing_plain_is_taken_in_its_place_where_encryption_is_required(host: Host) -> None:
    """Whoever lacks the keys puts there what they can write: a snapshot that is not encrypted."""
    encrypt_with(host)
    host.execute("create table orders as select 1 as id")
    host.good("tb-run")
    encrypt_with(host, _KEY, encryption="required")
    host.wipe()
    assert "encryption is required; if it is older than the key" in counted(host)
    encrypt_with(host, _KEY)
    assert counted(host) == "2"
    host.execute("insert into orders values (2)")
    host.good(TAKE.format("--incremental"))  # follows the base that is not encrypted
    listed = f"tb-list --stored --snapshots --json -s {host.table('orders')}"
    (record,) = host.good(listed).records
    assert [("encrypted" in each, "plain" in each) for each in record["snapshots"]] == [
        (False, True),
        (True, False),
    ]
    differing = f"- lxd:\n    encryption: required\n    encryption_key: '{_KEY}'"
    host.configure(differing, encryption_key=_KEY)
    assert host.table("orders") in host.good("tb-status --json -s postgres").stdout
    encrypt_with(host, _KEY)
    host.wipe()
    assert counted(host) == "3"


@pytest.mark.parametrize("names", [True, False], ids=["names encrypted", "names legible"])
def test_a_host_without_the_key_rotates_where_names_are_legible(host: Host, names: bool) -> None:
    """It needs the manifests: where they are encrypted it removes nothing, and says why."""
    host.execute("create table orders as select 1 as id")
    encrypt_with(host, _KEY, encrypt_names=names)
    host.good(f"{TAKE.format('--base')} && {TAKE.format('--base')}")
    host.wipe()
    encrypt_with(host, max_base_snapshots_s3=1, max_incremental_snapshots_s3=0)
    before = bodies(host, "manifests/")
    outcome = host.sh("tb-discover --stored -s postgres | tb-rotate")
    after = bodies(host, "manifests/")
    if names:
        assert (outcome.status, after) == (1, before)
        assert "which the configuration does not have; add that key" in outcome.stderr
    else:
        assert (outcome.status, list(after)) == (0, [max(before)])
        assert len({key.split("/")[4] for key in bodies(host, "data/")}) == 1


def test_any_moment_comes_back_out_of_a_log_that_nobody_can_read(host: Host) -> None:
    encrypt_with(host, _KEY, wal="pull", encryption="required")
    host.execute("create table orders as select 1 as id")
    host.good("tb-run")
    host.execute(f"create table later as select '{_NAME}' as name from generate_series(1, 99)")
    host.good("tb-wal pull")
    host.wipe()
    assert _NAME.encode() not in b"".join(map(_readable, bodies(host, "wal/").values()))
    now = datetime.now(UTC).isoformat()
    outcome = host.good(f"tb-cat --at '{now}' {host.table('later')}")
    assert len(outcome.stdout.splitlines()) == 100


def _readable(body: bytes) -> bytes:
    """Return what is in a body, if somebody takes it for what its name says."""
    try:
        return zstandard.ZstdDecompressor().decompress(body, 1 << 24)
    except zstandard.ZstdError:
        return body


def test_an_upload_that_was_killed_goes_on_inside(host: Host) -> None:
    host.execute(
        "create table orders as select md5(random()::text) from generate_series(1, 1600000)"
    )
    first = Event()

    def kill(request: Request, forward: Forward) -> Answer:
        """Kill the upload at its second part, once the first one is stored."""
        answer = forward()
        if len(request.body) == PART_SIZE and "partNumber=1" in request.path:
            first.set()
        elif len(request.body) == PART_SIZE and process.poll() is None:
            assert first.wait(60)
            process.kill()
        return answer

    with proxy(host.s3.endpoint, kill) as endpoint:
        encrypt_with(host, _KEY, s3_endpoint=endpoint)
        host.good("tb-discover -s postgres | tb-snapshot --base > taken")
        with started(host, "sh", "-c", f"exec {BIN}/tb-upload < taken") as process:
            assert process.wait() < 0
    encrypt_with(host, _KEY)
    uploaded = host.good("tb-upload < taken").records[0]["uploaded"]
    assert uploaded["resumed"] >= PART_SIZE
    host.wipe()
    assert counted(host) == "1600001"
