"""The log beside the snapshots: tb-wal by itself and within tb-run."""

import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from tests.lab.forked import Forked
from tests.pipeline.conftest import Host, host_beside, store
from tests.pipeline.test_failures import started
from tests.postgres.archiving import covered, differing
from three_backup.catalog.catalog import Catalog
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.errors import Exit
from three_backup.host.locks import carrier_lock
from three_backup.model.objects import Carrier
from three_backup.sources.postgres.wal.archive import WalArchive
from three_backup.sources.postgres.wal.names import position

_NUMBERS = count(1)
PULL = "- postgres/*:\n    wal: pull\n"
NOISE = "select pg_logical_emit_message(true, 'x', repeat(md5(random()::text), 100000))"


@pytest.fixture
def host(server_folder: Path, seaweed: SeaweedServer, tools: Forked) -> Iterator[Host]:
    """A host with a server of its own, since a slot stays until its server ends."""
    number = next(_NUMBERS)
    bucket = f"log-{number}"
    seaweed.create_bucket(bucket)
    with (
        PostgresServer(server_folder / f"log{number}", 17) as server,
        host_beside(server_folder, server, seaweed, bucket, tools) as made,
    ):
        made.execute("create table orders as select generate_series(1, 100) as id")
        made.configure(PULL)
        yield made
    seaweed.delete_bucket(bucket)


def archive_of(host: Host) -> WalArchive:
    ((identifier,),) = host.rows("select system_identifier::text from pg_control_system()")
    return WalArchive(store(host), Carrier(f"postgres/cluster/{identifier}"))


def slots(host: Host) -> list[tuple[object, ...]]:
    return host.rows("select slot_name from pg_replication_slots where not temporary")


def test_a_run_pulls_the_log_from_before_its_base_to_after_it(host: Host) -> None:
    outcome = host.good("tb-run --json")
    first, *_, last = outcome.records
    assert first["wal"]["pieces"] == 1
    assert first["id"] == last["id"] == archive_of(host).carrier
    (stretch,) = covered(archive_of(host))
    catalog = Catalog(store(host).storage)
    (snapshot,) = catalog.snapshots(archive_of(host).carrier)
    facts = catalog.manifest(archive_of(host).carrier, snapshot).facts
    assert stretch.covers(position(facts["start_lsn"]))
    assert stretch.covers(position(facts["end_lsn"]))
    reached = archive_of(host).reached()
    assert reached is not None
    assert reached.lsn >= position(facts["end_lsn"])
    assert reached.at.isoformat() > facts["ended_at"].replace("Z", "+00:00")


def test_a_run_that_selects_nothing_of_postgresql_pulls_nothing(host: Host) -> None:
    host.sh("tb-run -s lxd -s clickhouse")
    assert slots(host) == []


def test_a_run_without_wal_pulls_nothing(host: Host) -> None:
    host.configure()
    host.good("tb-run")
    assert slots(host) == []


def test_a_disabled_source_is_not_pulled(host: Host) -> None:
    host.configure("- postgres/*:\n    wal: pull\n    disable: true\n")
    host.good("tb-run")
    assert slots(host) == []


def test_a_failed_pull_is_in_the_summary_and_stops_no_stage(host: Host) -> None:
    host.good("tb-run")
    slot = slots(host)[0][0]
    host.execute(f"select pg_drop_replication_slot('{slot}')")
    for _ in range(3):
        host.execute("select pg_switch_wal()")
        host.execute("checkpoint")
    outcome = host.sh("tb-run")
    assert outcome.status == Exit.FAILED
    assert "the run failed" in outcome.stdout
    assert "was removed by the server before it was archived" in " ".join(outcome.stdout.split())
    assert outcome.stderr.count("was removed by the server") == 1
    status = host.sh("tb-status")
    assert "was removed by the server before it was archived" in " ".join(status.stdout.split())
    assert host.good("tb-run").status == 0


def test_another_pull_at_work_is_no_failure_of_the_run(host: Host) -> None:
    identifier = archive_of(host).carrier.rpartition("/")[2]
    with carrier_lock(host.local_dir, Carrier(f"postgres/wal/{identifier}")):
        host.good("tb-run")
    assert slots(host) == []


def test_two_pulls_at_once_exclude_each_other(host: Host) -> None:
    host.good("tb-wal pull")
    for _ in range(20):
        host.execute(NOISE)
    outcome = host.sh("tb-wal pull & tb-wal pull; one=$?; wait $!; echo $one $? >&2; true")
    found = outcome.stderr.split("\n")[-2]
    assert found in ("0 0", "0 75", "75 0")
    assert len(covered(archive_of(host))) == 1


def test_without_a_server_the_record_fails_and_69_is_the_answer(host: Host) -> None:
    host.server.stop()
    outcome = host.tool("tb-wal", "pull")
    (record,) = outcome.records
    assert outcome.status == Exit.UNREACHABLE
    assert record["error"]["code"] == "postgres.unreachable"
    host.server.start()


def test_without_a_bucket_78_is_the_answer(host: Host) -> None:
    host.configure(PULL, s3_bucket=None)
    assert host.tool("tb-wal", "pull").status == Exit.CONFIGURATION


def test_another_hosts_prefix_is_not_written_to(host: Host) -> None:
    store(host).write("owner.json", b'{"v": 1, "host": "another", "name": "db1"}')
    assert host.tool("tb-wal", "pull").status == Exit.CONFIGURATION
    assert archive_of(host).pieces() == []
    host.good("tb-wal pull --adopt")


class Killer:
    """A meddler of the proxy that kills a program at its n-th request to S3."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = 0
        self.victim: subprocess.Popen[str] | None = None

    def __call__(self, request: Request, forward: Forward) -> Answer:
        self.seen += 1
        if self.seen < self.number:
            return forward()
        if self.seen == self.number and self.number % 2:
            forward()
        if self.victim is not None:
            self.victim.kill()
        return Answer(0, {}, b"")


def killed(host: Host, number: int, *argv: str) -> bool:
    """Run a program that is killed at its n-th request; return whether it was."""
    killer = Killer(number)
    with proxy(host.s3.endpoint, killer) as endpoint:
        host.configure(PULL, s3_endpoint=endpoint)
        with started(host, *argv) as killer.victim:
            killer.victim.communicate(timeout=60)
    host.configure(PULL)
    return killer.seen >= number


def test_a_pull_that_is_killed_at_any_request_is_healed_by_the_next(host: Host) -> None:
    host.good("tb-wal pull")
    for number in range(1, 40):
        for _ in range(2):
            host.execute(NOISE)
            host.execute("select pg_switch_wal()")
        if not killed(host, number, "tb-wal", "pull"):
            break
        host.execute("checkpoint")  # removes what a wrong slot would not keep
    assert number > 6
    host.good("tb-wal pull")
    assert len(covered(archive_of(host))) == 1
    assert differing(archive_of(host), host.server.pgdata / "pg_wal", 1, 16 << 20) == []


def test_a_push_that_is_killed_at_any_request_is_healed_by_the_next(host: Host) -> None:
    pg_wal = host.server.pgdata / "pg_wal"
    names: list[str] = []
    for number in range(1, 40):
        newest = [row[0] for row in host.rows("select pg_walfile_name(pg_current_wal_lsn())")]
        host.execute(NOISE)
        host.execute("select pg_switch_wal()")
        names += newest
        if not killed(host, number, "tb-wal", "push", str(pg_wal / newest[0])):
            break
    assert number > 4
    for name in names:
        host.good(f"tb-wal push {pg_wal / name}")
    assert len(covered(archive_of(host))) == 1
    assert differing(archive_of(host), pg_wal, 1, 16 << 20) == []


def test_what_a_call_before_stored_is_answered_without_a_request(host: Host) -> None:
    pg_wal = host.server.pgdata / "pg_wal"
    names = []
    for _ in range(3):
        ((name,),) = host.rows("select pg_walfile_name(pg_current_wal_lsn())")
        host.execute(NOISE)
        host.execute("select pg_switch_wal()")
        names.append(name)
        (pg_wal / "archive_status" / f"{name}.ready").touch()
    never = Killer(1 << 30)
    with proxy(host.s3.endpoint, never) as endpoint:
        host.configure(s3_endpoint=endpoint)
        host.good(f"tb-wal push {pg_wal / names[0]}")
        seen = never.seen
        assert seen > 0
        for name in names[1:]:
            host.good(f"tb-wal push {pg_wal / name}")
            host.good(f"tb-wal push {pg_wal / name} --config={host.config}")
        assert never.seen == seen
        host.configure(s3_endpoint=endpoint, s3_prefix="elsewhere")
        host.good(f"tb-wal push {pg_wal / names[1]}")
        assert never.seen > seen


def test_the_log_is_copied_with_the_snapshots_and_a_moment_comes_back_from_the_copies(
    host: Host,
) -> None:
    vault = f"{host.bucket}-copies"
    host.s3.create_bucket(vault)
    key = "\n        manifest_key: "
    stores = f"""
- stores:
    vault:
        s3_endpoint: {host.s3.endpoint}
        s3_access_key: {host.s3.access_key}
        s3_secret_key: {host.s3.secret_key}
        s3_bucket: {vault}{key}{"a5" * 32}
"""
    host.configure(f"{stores}{PULL}", manifest_key="5a" * 32)
    host.good("tb-run")
    ((moment,),) = host.rows("select clock_timestamp()")
    host.execute("delete from orders")
    host.good("tb-wal pull")
    (record,) = host.good("tb-copy --json --to vault '*'").records
    # What leads up to the base is needed by none.
    assert 0 < record["copied"]["wal"]["keys"] < len(archive_of(host).pieces())
    assert "wal" not in host.good("tb-copy --json --to vault '*'").records[0]["copied"]
    store(host).delete([found.key for found in store(host).all_keys("")])
    host.wipe()
    at = f"--at '{moment.isoformat()}' --exact --level3-suffix _then"
    host.good(f"tb-restore --store vault {at} {host.table('orders')}")
    assert host.rows("select count(*) from orders_then") == [(100,)]
    host.s3.delete_bucket(vault)
