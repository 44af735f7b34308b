"""Snapshots are copied into a further store, from which alone everything comes back."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Event

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from tests.pipeline.conftest import BIN, Host, store
from tests.pipeline.test_clickhouse import hits, mixed, words
from tests.pipeline.test_failures import started
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.errors import Exit
from three_backup.host.machine import Host as Machine
from three_backup.s3.multipart import keys_of_open_uploads
from three_backup.s3.ownership import claim
from three_backup.s3.store import Store
from three_backup.s3.volumes import PART_SIZE

__all__ = ["mixed"]
_NUMBERS = count(1)
STORES = """
- stores:
    vault:
        s3_endpoint: {endpoint}
        s3_bucket: {bucket}
        s3_access_key: {access_key}
        s3_secret_key: {secret_key}
        {more}
"""
TAKE = "tb-discover -s postgres | tb-snapshot {} | tb-upload"
COPY = "tb-copy --json --to vault '*'"
KEY = "5a" * 32
OTHER_KEY = "a5" * 32


def with_vault(host: Host, vault: str, more: str = "", **everything: object) -> None:
    s3 = host.s3
    keys = {"access_key": s3.access_key, "secret_key": s3.secret_key}
    endpoint = everything.pop("vault_endpoint", s3.endpoint)
    sections = STORES.format(endpoint=endpoint, bucket=vault, more=more, **keys)
    host.configure(sections, **everything)


def copies(host: Host, vault: str) -> Store:
    """Return the store of the copies."""
    return Store(replace(store(host).storage, bucket=vault))


def keys(of: Store, prefix: str = "") -> list[str]:
    return sorted(found.key for found in of.all_keys(prefix))


def emptied(of: Store) -> None:
    of.delete(keys(of))


@pytest.fixture
def vault(host: Host) -> Iterator[str]:
    """The bucket of a further store, which the configuration of the host names."""
    bucket = f"vault-{next(_NUMBERS)}"
    host.s3.create_bucket(bucket)
    with_vault(host, bucket)
    yield bucket
    host.s3.delete_bucket(bucket)


@pytest.fixture
def shop(host: Host, vault: str) -> Host:
    """A host with a table, of which a base and an incremental lie in S3."""
    host.execute("create table orders as select generate_series(1, 3) as id")
    host.good(TAKE.format("--base"))
    host.execute("insert into orders values (4)")
    host.good(TAKE.format("--incremental"))
    return host


def in_vault(host: Host) -> list[str]:
    listed = f"tb-list --stored --store vault --snapshots --json -s {host.table('orders')}"
    found = host.sh(listed).records
    return [each["id"] for record in found for each in record.get("snapshots", ())]


def snapshots(host: Host) -> list[str]:
    listed = f"tb-list --stored --snapshots --json -s {host.table('orders')}"
    return [each["id"] for each in host.sh(listed).records[0]["snapshots"]]


def test_a_chain_comes_back_from_the_copies_alone(shop: Host, vault: str) -> None:
    (copied,) = shop.good(COPY).records
    assert len(copied["copied"]["snapshots"]) == 2
    assert copied["copied"]["store"] == "vault"
    assert in_vault(shop) == copied["copied"]["snapshots"]
    again = shop.good(f"tb-discover --stored | {COPY.removesuffix(' ' + repr('*'))}").records[0]
    assert (again["copied"]["snapshots"], again["copied"]["bytes"]) == ([], 0)
    emptied(store(shop))
    shop.wipe()
    (proved,) = shop.good("tb-verify --json --store vault '*'").records
    assert proved["drilled"]["rows"] == 4
    assert shop.sh("tb-verify --sign --store vault '*'").status == 2
    shop.execute("drop table orders")
    shop.good(f"tb-restore --store vault {shop.table('orders')}")
    assert shop.rows("select count(*) from orders") == [(4,)]
    assert keys(store(shop)) == []


def test_a_server_that_holds_both_stores_copies_by_itself_what_was_read_and_compared(
    host: Host, vault: str
) -> None:
    host.execute("create table orders as select md5(n::text) from generate_series(1, 90000) n")
    host.good(TAKE.format("--base"))
    sent: list[int] = []

    def count_sent(request: Request, forward: Forward) -> Answer:
        sent.append(len(request.body))
        return forward()

    with proxy(host.s3.endpoint, count_sent) as endpoint:
        with_vault(host, vault, vault_endpoint=endpoint, s3_endpoint=endpoint)
        (copied,) = host.good(COPY).records
        assert copied["copied"]["bytes"] > 1 << 20
        assert sum(sent) < 1 << 16  # manifest, owner and drills
    with_vault(host, vault)
    emptied(store(host))
    host.wipe()
    rows = host.rows("select count(*), max(md5) from orders")
    host.execute("drop table orders")
    host.good(f"tb-restore --store vault {host.table('orders')}")
    assert host.rows("select count(*), max(md5) from orders") == rows


def test_copies_go_as_the_retention_of_their_store_says(shop: Host, vault: str) -> None:
    first = shop.good(COPY).records[0]["copied"]["snapshots"]
    shop.execute("insert into orders values (5)")
    shop.good(TAKE.format("--base"))
    few = "max_base_snapshots_s3: 1\n        max_incremental_snapshots_s3: 0"
    with_vault(shop, vault, few)
    assert len(shop.good(COPY).records[0]["copied"]["snapshots"]) == 1
    assert len(in_vault(shop)) == 3
    (pack, *_) = (key for key in keys(store(shop), "data/") if "core.pack" in key)
    body = store(shop).read(pack)
    (rotated,) = shop.good(COPY.replace("--to", "--rotate --to")).records
    assert sorted(rotated["copied"]["removed"]["snapshots"]) == sorted(first)
    assert len(in_vault(shop)) == 1
    assert all(first[0] not in key for key in keys(copies(shop, vault)))
    assert store(shop).read(pack) == body  # in the first store all stays
    assert len(snapshots(shop)) == 3
    shop.wipe()
    shop.execute("drop table orders")
    shop.good(f"tb-restore --store vault {shop.table('orders')}")
    assert shop.rows("select count(*) from orders") == [(5,)]
    assert "removed" not in shop.good(COPY.replace("--to", "--rotate --to")).records[0]["copied"]


def test_a_check_tries_the_further_store_as_well(host: Host, vault: str) -> None:
    with_vault(host, vault, copy_to="vault")
    checked = host.good("tb-check -s s3")
    assert f"store vault: S3 at {host.s3.endpoint}, bucket {vault}" in checked.stdout
    assert checked.stdout.count("a thousand keys are deleted by one request") == 2
    assert keys(copies(host, vault)) == []
    with_vault(host, "nowhere", copy_to="vault")
    refused = host.sh("tb-check -s s3")
    assert refused.status == 1
    assert "bucket nowhere" in refused.stdout.partition("store vault")[2]


def test_another_host_copies_so_that_this_one_has_no_keys_of_the_copies(
    shop: Host, vault: str
) -> None:
    """The keys of the first store that it has can only read, as those of an auditor."""
    claim(store(shop), Machine("the host that is backed up"), adopt=True)
    before = keys(store(shop))
    shop.local_dir = shop.folder / "elsewhere"
    with_vault(shop, vault, local_dir=shop.local_dir)
    (copied,) = shop.good(COPY).records
    assert len(copied["copied"]["snapshots"]) == 2
    shop.good(COPY.replace("--to", "--rotate --to"))
    assert keys(store(shop)) == before
    assert b"the host that is" in store(shop).read("owner.json")
    emptied(store(shop))
    (proved,) = shop.good("tb-verify --json --store vault '*'").records
    assert proved["drilled"]["rows"] == 4


def test_clickhouse_restores_a_chain_from_the_copies_alone(
    mixed: Host, clickhouse: ClickhouseServer, vault: str
) -> None:
    visits = mixed.environ["VISITS"]
    mixed.good("tb-discover -s clickhouse | tb-snapshot --base")
    for number in (1, 2):
        clickhouse.execute(f"INSERT INTO {visits}.hits VALUES ({number}000, 'later')")
        mixed.good(f"tb-discover -s {hits(mixed)} | tb-snapshot --incremental")
    done = {each["id"]: each for each in mixed.good(COPY).records}
    assert len(done[hits(mixed)]["copied"]["snapshots"]) == 3
    emptied(store(mixed))
    mixed.wipe()
    rows = clickhouse.rows(f"SELECT count(), sum(id) FROM {visits}.hits")
    clickhouse.execute(f"DROP TABLE {visits}.words SYNC")
    clickhouse.execute(f"DROP TABLE {visits}.hits SYNC")
    mixed.good(f"tb-restore --store vault {hits(mixed)} {words(mixed)}")
    assert clickhouse.rows(f"SELECT count(), sum(id) FROM {visits}.hits") == rows
    assert clickhouse.rows(f"SELECT count() FROM {visits}.words") == [(rows[0][0],)]


def test_a_large_key_of_clickhouse_is_copied_in_parts(
    mixed: Host, clickhouse: ClickhouseServer, vault: str
) -> None:
    table = f"{mixed.environ['VISITS']}.large"
    clickhouse.execute(
        f"CREATE TABLE {table} ENGINE = MergeTree ORDER BY id AS"
        " SELECT number AS id, randomString(1000) AS body FROM numbers(40000)"
    )
    rows = clickhouse.rows(f"SELECT count(), sum(cityHash64(body)) FROM {table}")
    large = hits(mixed).replace("hits", "large")
    mixed.good(f"tb-discover -s {large} | tb-snapshot --base")
    assert max(found.size for found in store(mixed).all_keys("data/")) > 2 * PART_SIZE
    mixed.good(COPY)
    emptied(store(mixed))
    clickhouse.execute(f"DROP TABLE {table} SYNC")
    mixed.good(f"tb-restore --store vault {large}")
    assert clickhouse.rows(f"SELECT count(), sum(cityHash64(body)) FROM {table}") == rows


def test_what_clickhouse_lacks_is_told_with_the_store_that_has_a_copy(
    mixed: Host, clickhouse: ClickhouseServer, vault: str
) -> None:
    with_vault(mixed, vault, copy_to="vault")
    mixed.good(f"tb-discover -s {hits(mixed)} | tb-snapshot --base")
    mixed.good(COPY)
    first = store(mixed)
    (largest, *_) = sorted(first.all_keys("data/"), key=lambda found: -found.size)
    first.delete([largest.key])
    failed = mixed.sh(f"tb-restore --overwrite {hits(mixed)}")
    assert failed.status == 1
    assert "restore the copy: tb-restore --store vault" in failed.stderr
    mixed.good(f"tb-restore --overwrite --store vault {hits(mixed)}")


def test_what_is_damaged_is_not_copied_and_the_rest_is(shop: Host, vault: str) -> None:
    base, increment = snapshots(shop)
    (pack,) = (key for key in keys(store(shop), "data/") if f"/{increment}/core.pack" in key)
    body = bytearray(store(shop).read(pack))
    body[len(body) // 2] ^= 1
    store(shop).write(pack, bytes(body))
    shop.wipe()
    outcome = shop.sh(COPY)
    assert outcome.status == 1
    assert f"snapshot {increment}: core.pack is damaged before byte" in outcome.stderr
    (record,) = outcome.records
    assert record["copied"]["snapshots"] == [base]
    assert record["error"]["code"] == "snapshot.damaged"
    assert in_vault(shop) == [base]
    assert not any(increment in key and "core.pack" in key for key in keys(copies(shop, vault)))


@contextmanager
def killed_copy(host: Host, vault: str) -> Iterator[None]:
    """Store a table, and kill its copy at the second part, once the first one is stored."""
    host.execute(
        "create table orders as select md5(random()::text) from generate_series(1, 2000000)"
    )
    host.good(TAKE.format("--base"))
    sizes = [found.size for found in store(host).all_keys("data/")]
    assert max(sizes) > 2 * PART_SIZE
    first = Event()

    def kill(request: Request, forward: Forward) -> Answer:
        answer = forward()
        if len(request.body) == PART_SIZE and "partNumber=1" in request.path:
            first.set()
        elif len(request.body) == PART_SIZE and process.poll() is None:
            assert first.wait(60)
            process.kill()
        return answer

    with proxy(host.s3.endpoint, kill) as endpoint:
        with_vault(host, vault, vault_endpoint=endpoint)
        with started(host, str(BIN / "tb-copy"), "--to", "vault", "*") as process:
            assert process.wait() < 0
        assert keys(copies(host, vault), "manifests/") == []
        assert in_vault(host) == []
        yield


def test_a_copy_that_is_killed_leaves_nothing_listed_and_the_next_one_goes_on_inside_the_upload(
    host: Host, vault: str
) -> None:
    with killed_copy(host, vault):
        (record,) = host.good(COPY).records
    assert record["copied"]["resumed"] >= PART_SIZE
    with_vault(host, vault)
    assert in_vault(host) == snapshots(host)
    assert not any((host.local_dir / "stores").rglob("*.journal"))


@pytest.mark.parametrize("gone", ["snapshot", "carrier"])
def test_what_a_killed_copy_left_goes_once_its_snapshot_was_rotated_away(
    host: Host, vault: str, gone: str
) -> None:
    with killed_copy(host, vault):
        there = copies(host, vault)
        assert keys_of_open_uploads(there, "data/")
        assert keys(there, "data/")
        if gone == "snapshot":
            host.execute("drop table orders")
            host.execute("create table orders as select 1 as id")
            host.good(TAKE.format("--base"))
        first = store(host)
        begun = next(path.parent.name for path in host.local_dir.rglob("*.journal"))
        first.delete(key for key in keys(first) if begun in key)
        shutil.rmtree(host.local_dir / "postgres", ignore_errors=True)
        host.sh(COPY)
        assert keys_of_open_uploads(there, "data/")
        rotated = host.sh(COPY.replace("--to", "--rotate --to"))
        assert (rotated.status == 0) == (gone == "snapshot")
        assert keys_of_open_uploads(there, "data/") == []
        assert not [key for key in keys(there) if begun in key]
        assert not any((host.local_dir / "stores").rglob("*.journal"))


def test_only_what_the_store_would_keep_is_copied_and_what_is_held_is_held_there(
    shop: Host, vault: str
) -> None:
    (held, *_) = snapshots(shop)
    shop.good(f"tb-keep --reason 'the audit' {shop.table('orders')} {held}")
    for _ in range(2):
        shop.good(TAKE.format("--base"))
    with_vault(shop, vault, "max_base_snapshots_s3: 1\n        max_incremental_snapshots_s3: 0")
    (record,) = shop.good(COPY).records
    newest = snapshots(shop)[-1]
    assert record["copied"]["snapshots"] == [newest, held]
    (hold,) = keys(copies(shop, vault), "keep/")
    assert held in hold
    assert shop.good(COPY).records[0]["copied"]["snapshots"] == []


def test_copies_are_held_and_released_in_their_store_and_a_release_says_where_others_stay(
    shop: Host, vault: str
) -> None:
    with_vault(shop, vault, copy_to="vault")
    orders = shop.table("orders")
    base, newest = snapshots(shop)
    shop.good(f"tb-keep --reason 'the audit' {orders} {base}")
    shop.good(COPY)
    (listed,) = shop.good("tb-keep --json --store vault").records
    assert (listed["kept"]["snapshot"], listed["store"]) == (base, "vault")
    carrier = listed["carrier"] if "carrier" in listed else listed["id"]
    told = shop.good(f"tb-keep --release {orders} {base}").stderr
    command = f"tb-keep --release --store vault {carrier} {base}"
    assert f"{base} stays held in store vault; {command} releases it there" in told
    assert keys(store(shop), "keep/") == []
    shop.good(f"tb-keep --until 30d --store vault {orders}")
    there = shop.good("tb-keep --json --store vault").records
    assert [each["kept"]["snapshot"] for each in there] == [base, newest]
    assert "held" not in shop.good(command).stderr
    assert [newest in key for key in keys(copies(shop, vault), "keep/")] == [True]
    shop.good(f"tb-keep {orders} {newest}")
    again = shop.good(f"tb-keep --release --store vault {orders}").stderr
    assert "is held in S3, so that the next tb-copy holds its copy again" in again
    with_vault(shop, vault, copy_to="vault", vault_endpoint="http://127.0.0.1:1")
    away = shop.good(f"tb-keep --release {orders}")
    assert f"{newest} may stay held in store vault: " in away.stderr


def test_copies_are_signed_with_the_key_of_their_store_and_nothing_unsigned_is_copied(
    host: Host, vault: str
) -> None:
    host.execute("create table orders as select generate_series(1, 3) as id")
    with_vault(host, vault, f"manifest_key: {OTHER_KEY}", manifest_key=KEY)
    host.good(TAKE.format("--base"))
    with_vault(host, vault, f"manifest_key: {OTHER_KEY}")
    host.good(TAKE.format("--base"))
    with_vault(host, vault, f"manifest_key: {OTHER_KEY}", manifest_key=KEY)
    signed, unsigned = (Path(key).stem for key in keys(store(host), "manifests/"))
    assert host.good(COPY).records[0]["copied"]["snapshots"] == [signed]
    assert in_vault(host) == [signed]
    assert unsigned not in "".join(keys(copies(host, vault)))
    host.execute("drop table orders")
    host.good(f"tb-restore --store vault {host.table('orders')}")
    with_vault(host, vault, f"manifest_key: {KEY}", manifest_key=KEY)
    refused = host.sh(f"tb-restore --overwrite --store vault {host.table('orders')}")
    assert refused.status == 1
    assert "not signed by manifest_key" in refused.stderr


def test_copies_are_encrypted_with_the_key_of_their_store_or_plain_where_that_is_asked_for(
    host: Host, vault: str
) -> None:
    host.execute("create table orders as select 'Marlene' as name from generate_series(1, 3)")
    with_vault(host, vault, encryption_key=KEY, wal="pull")
    host.good(f"{TAKE.format('--base')} && tb-wal pull")
    refused = host.sh(COPY)
    assert (refused.status, keys(copies(host, vault))) == (1, [])
    assert "store vault has no encryption_key" in refused.stderr
    for more in (f"encryption_key: {OTHER_KEY}", "encryption: optional"):
        emptied(copies(host, vault))
        with_vault(host, vault, more, encryption_key=KEY, wal="pull")
        (record,) = host.good(COPY).records
        assert record["copied"]["wal"]["keys"] > 0
        (manifest,) = keys(copies(host, vault), "manifests/")
        assert (b"orders" in copies(host, vault).read(manifest)) == ("optional" in more)
        with_vault(host, vault, more)  # the key of the first store is lost
        read = f"tb-cat --store vault {host.table('orders')}"
        assert len(host.good(read).stdout.splitlines()) == 4


def test_the_copies_are_only_read(shop: Host, vault: str) -> None:
    shop.good(COPY)
    (record,) = shop.good("tb-discover --stored --store vault").records
    assert record["store"] == "vault"
    assert "s3_prefix" not in record
    mixed_up = shop.sh("tb-restore --dry-run", json.dumps(record))
    assert mixed_up.status == 1
    assert "tb-restore --store vault" in mixed_up.stderr
    planned = shop.good(
        "tb-restore --overwrite --dry-run --store vault", json.dumps(record)
    ).records[0]
    assert planned["would_restore"]["read_from"].keys() == {"s3"}
    assert shop.good(f"tb-cat --store vault --limit 1 {shop.table('orders')}").stdout == "id\n1\n"


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("tb-copy --to valt '*'", 78, "there is no store 'valt'; did you mean vault?"),
        ("tb-list --stored --store valt", 78, "there is no store 'valt'; did you mean vault?"),
        ("tb-list --store vault", 2, "--store goes with --stored only"),
        ("tb-copy --to vault nothing", 1, "nothing: it matches no stored object"),
    ],
)
def test_a_slip_is_told(shop: Host, command: str, status: int, said: str) -> None:
    outcome = shop.sh(command)
    assert outcome.status == status
    assert said in outcome.stderr


def test_another_host_is_not_written_over(shop: Host, vault: str) -> None:
    copies(shop, vault).write("owner.json", b'{"v": 1, "host": "other", "name": "db9"}')
    outcome = shop.sh(COPY)
    assert outcome.status in (1, 78)
    assert "another host writes there (db9, other)" in outcome.stderr
    assert keys(copies(shop, vault)) == ["owner.json"]
    shop.good(COPY.replace("--json", "--json --adopt"))
    assert in_vault(shop) == snapshots(shop)


def test_the_bucket_of_the_snapshots_themselves_is_no_further_store(shop: Host) -> None:
    with_vault(shop, shop.bucket)
    outcome = shop.sh(COPY)
    assert outcome.status == 78
    assert "it is the bucket and the prefix of the snapshots themselves" in outcome.stderr


def test_a_run_copies_what_has_copy_to_and_its_failure_spoils_nothing_else(
    host: Host, vault: str
) -> None:
    host.execute("create table orders as select generate_series(1, 3) as id")
    with_vault(host, vault, copy_to="vault")
    outcome = host.good("tb-run")
    assert "copied" in outcome.stdout
    assert in_vault(host) == snapshots(host)
    away = {"copy_to": "vault", "vault_endpoint": "http://127.0.0.1:1"}
    with_vault(host, vault, "s3_timeout: 0s", **away)
    failed = host.sh("tb-run --json --base")
    assert failed.status == Exit.FAILED  # what can be reached was reached
    assert len(snapshots(host)) == 2
    (record,) = failed.records
    assert (record["error"]["tool"], record["uploaded"]["bytes"] > 0) == ("tb-copy", True)
    with_vault(
        host,
        vault,
        "s3_timeout: 0s",
        **away,
        on_failure=f"sh -c 'cat > {host.folder}/told'",
        on_success=f"touch {host.folder}/success",
    )
    again = host.sh("tb-run --incremental")
    assert again.status == Exit.FAILED
    sentence = "backups are complete, copies are not: 1 of 1 object not copied"
    assert again.stdout.startswith(sentence)
    assert "not copied:\n" in again.stdout
    assert ": copy into store vault: http" in again.stderr
    assert "failed" not in again.stdout
    assert sentence in (host.folder / "told").read_text()
    assert not (host.folder / "success").exists()
    assert "the runs fail since" in host.sh("tb-status").stdout
    with_vault(host, vault, copy_to="vault")
    host.good("tb-run")
    assert in_vault(host) == snapshots(host)
